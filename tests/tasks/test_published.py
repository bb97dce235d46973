"""Published data sets, read from small files of their schemas, and GSM8K whole where it is."""

import gzip
import json
from fractions import Fraction

import pytest

from bytemill.chat import Message, Part
from bytemill.tasks import Arc, Gsm8k, HumanEval, Messages, Mmlu, SmolTalk
from bytemill.tasks.gsm8k import final_number, parts_of
from tests.support.evaluation import EVAL

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq


def write(path, rows, row_group_size=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)


def says(text):
    return Message("assistant", text)


def test_arc(tmp_path):
    for part in range(2):
        rows = [
            {"id": f"{part}{i}", "question": f"Q{part}{i}?",
             "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}, "answerKey": "2"}
            for i in range(3)
        ]  # fmt: skip
        write(tmp_path / "ARC-Easy" / f"train-0000{part}-of-00002.parquet", rows)
    task = Arc(tmp_path)
    assert len(task) == 6
    item = task[4]
    assert item.conversation.messages[0].content == (
        "Multiple Choice question: Q11?\n- x=1\n- y=2\n- z=3\n\n"
        "Respond only with the letter of the correct answer."
    )
    assert item.conversation.messages[1].content == "2"
    assert item.letters == ("1", "2", "3")
    assert [task.judge(item, says(t)) for t in ("2", " 2\n", "1", "2 or 1", "")] == [1, 1, 0, 0, 0]
    assert task[-1].conversation == task[5].conversation
    with pytest.raises(IndexError, match="item 6 of ARC-Easy"):
        task[6]
    with pytest.raises(FileNotFoundError, match=r"ARC-Challenge/train-.*bytemill download"):
        Arc(tmp_path, "ARC-Challenge")


def test_mmlu_in_both_of_its_shapes(tmp_path):
    row = {"question": "Q?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 3}
    write(tmp_path / "all" / "test-00000-of-00001.parquet", [row])
    write(tmp_path / "auxiliary_train" / "train-00000-of-00001.parquet", [{"train": row}])
    for split in ("test", "auxiliary_train"):
        item = Mmlu(tmp_path, split)[0]
        assert item.answer == "D"
        assert item.more["subject"] == "anatomy"
        assert "- d=D\n" in item.conversation.messages[0].content
    write(tmp_path / "all" / "dev-00000-of-00001.parquet", [{**row, "answer": 4}])
    with pytest.raises(ValueError, match="row 0: the answer is 4"):
        Mmlu(tmp_path, "dev")[0]
    write(tmp_path / "all" / "validation-00000-of-00001.parquet", [{"question": "Q?"}])
    with pytest.raises(ValueError, match="no column 'choices'"):
        Mmlu(tmp_path, "validation")[0]


def test_smoltalk_and_messages(tmp_path):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    bad = [messages[1]]
    rows = [{"messages": messages, "source": "x"}, {"messages": bad, "source": "y"}]
    write(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    task = SmolTalk(tmp_path)
    assert [m.content for m in task[0].conversation.messages] == ["Hi", "Hello"]
    with pytest.raises(ValueError, match=r"row 1: message 1 is of the role 'assistant'"):
        task[1]
    with pytest.raises(TypeError, match="cannot be judged"):
        task.judge(task[0], says("Hello"))
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n[]\n")
    left_out = []
    assert len(Messages(path, on_bad=left_out.append)) == 1
    assert "own.jsonl:2" in left_out[0]
    with pytest.raises(ValueError, match=r"own\.jsonl:2"):
        Messages(path)


def test_files_that_are_not_what_they_are_called(tmp_path):
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="not readable as parquet"):
        Gsm8k(tmp_path)
    (tmp_path / "test.jsonl").write_text('{"question": "Q", "answer": "no number"}\n[1]\n')
    with pytest.raises(ValueError, match=r"test\.jsonl:2: not a JSON object"):
        Gsm8k(tmp_path, "test")
    (tmp_path / "test.jsonl").write_text('{"question": "Q", "answer": "no number"}\n')
    with pytest.raises(ValueError, match="row 0: no number after ####"):
        Gsm8k(tmp_path, "test")[0]
    (tmp_path / "test.jsonl").write_text('{"question": "Q"}\n')
    with pytest.raises(ValueError, match="row 0: no column 'answer'; there are: 'question'"):
        Gsm8k(tmp_path, "test")[0]


def test_packed_problems_that_are_damaged(tmp_path):
    path = tmp_path / "HumanEval.jsonl.gz"
    whole = gzip.compress(b'{"prompt": 1}\n' * 1000)
    for data, message in (
        (b"not packed", "not readable as gzip"),
        (whole[:-20], "not readable as gzip"),
        (gzip.compress(b"{}\n[1]\n"), r"HumanEval\.jsonl\.gz:2: not a JSON object"),
        (gzip.compress(b'{"a": "\xff"}\n'), "invalid UTF-8 at byte 7"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            HumanEval(tmp_path)
    path.write_bytes(gzip.compress(b"{}\n"))
    with pytest.raises(ValueError, match="row 0: no column 'prompt'"):
        HumanEval(tmp_path)[0]


def test_rows_of_other_types(tmp_path):
    """One error that names file and row, whatever a row holds."""
    (tmp_path / "ARC-Easy").mkdir()
    (tmp_path / "all").mkdir()
    arc = {"question": "q", "choices": {"text": ["x"], "label": ["A"]}, "answerKey": "A"}
    gsm8k = {"question": "q", "answer": "#### 1"}
    mmlu = {"question": "q", "choices": list("abcd"), "answer": 0}
    for task, file, good, changes in (
        (Gsm8k, "test.jsonl", gsm8k, {"question": 3}),
        (Gsm8k, "test.jsonl", gsm8k, {"answer": None}),
        (Gsm8k, "test.jsonl", gsm8k, {"answer": "#### " + "1" * 5000}),
        (Arc, "ARC-Easy/test.jsonl", arc, {"question": None}),
        (Arc, "ARC-Easy/test.jsonl", arc, {"choices": []}),
        (Arc, "ARC-Easy/test.jsonl", arc, {"choices": {"text": ["x"], "label": [1]}}),
        (Mmlu, "all/test.jsonl", mmlu, {"question": 3}),
        (Mmlu, "all/test.jsonl", mmlu, {"choices": ["a", "b", "c", 4]}),
    ):
        (tmp_path / file).write_text(f"{json.dumps(good)}\n{json.dumps({**good, **changes})}\n")
        items = task(tmp_path, split="test")
        assert items[0].answer
        with pytest.raises(ValueError, match=r"test\.jsonl, row 1: "):
            items[1]


def test_calls_in_an_answer():
    assert parts_of("a 1+1=<<1+1=2>>2 b <<3=3=3>>.\n#### 2") == (
        Part("text", "a 1+1="),
        Part("python", "1+1"),
        Part("python_output", "2"),
        Part("text", "2 b "),
        Part("python", "3=3"),
        Part("python_output", "3"),
        Part("text", ".\n#### 2"),
    )
    assert parts_of("<<5>>") == (Part("python", "5"),)
    assert parts_of("") == ()


SAME = [
    "18", "$18", " 18.",
    "18.00", "+18", "18 dollars", "18%", "**18**", "\\boxed{18}", "= 18", "$ 18",
    "$18.", "18,", "018", "  18  ", "18\n", "18\nand 19", "€18", "USD 18", "18.0000", "18.)",
]  # fmt: skip
OTHER = [
    "", "-18", "\u221218",
    "- 18", "-$18", "$-18", "1.8", "180", "18 or 19", "18/1", "1 8", "18e0", "1.8e1",
    "eighteen", "x 18", "18" + "0" * 5000, "1" * 100_000, "," * 5000, "18.0.0", "١٨", "18²", "\n18",
]  # fmt: skip


@pytest.mark.parametrize("written", SAME)
def test_the_same_number(written):
    assert final_number(f"#### 5\nso #### {written}") == 18


@pytest.mark.parametrize("written", OTHER)
def test_another_number(written):
    assert final_number(f"18\n#### {written}") != 18


@pytest.mark.skipif(not (EVAL / "gsm8k").is_dir(), reason="GSM8K is not here")
@pytest.mark.parametrize(("split", "n"), [("train", 7473), ("test", 1319)])
def test_every_reference_of_gsm8k(split, n):
    task = Gsm8k(EVAL / "gsm8k", split)
    assert len(task) == n
    lines = (EVAL / "gsm8k" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    for item, line in zip(task, lines, strict=True):
        written = json.loads(line)["answer"]
        assert item.answer == Fraction(written.rsplit("#### ", 1)[1].replace(",", ""))
        reply = item.conversation.messages[-1]
        assert task.judge(item, reply) == 1
        assert task.judge(item, says(f"{reply.text}0.5")) == 0
