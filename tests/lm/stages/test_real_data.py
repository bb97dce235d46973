"""The published data sets' own rows through the stages: GSM8K as it is, the others by schema."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.stages import Sft, SftConfig
from bytemill.lm.stages.conversations import Conversations
from bytemill.lm.stages.mixture import mixture
from bytemill.lm.stages.recipes import RECIPES
from bytemill.lm.stages.rows import rows_of
from bytemill.tasks.named import Sources
from tests.support.chats import chat_tokenizer
from tests.support.evaluation import EVAL
from tests.support.stage_runs import make_base

pytestmark = pytest.mark.skipif(
    not (EVAL / "gsm8k" / "train.jsonl").is_file(), reason=f"no data in {EVAL}"
)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as downloads leave it: GSM8K's files, ARC's and MMLU's questions of what CORE has,
    and conversations of GSM8K's as SmolTalk's."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "gsm8k").symlink_to(EVAL / "gsm8k")

    def write(name, rows):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")

    for subset, name in (("ARC-Easy", "arc_easy"), ("ARC-Challenge", "arc_challenge")):
        rows = []
        for row in lines(EVAL / "core" / f"{name}.jsonl"):
            labels = "ABCDE"[: len(row["choices"])]
            choices = {"text": row["choices"], "label": list(labels)}
            question = row["query"].removeprefix("Question: ")
            rows.append(
                {"question": question, "choices": choices, "answerKey": labels[row["gold"]]}
            )
        write(f"ai2_arc/{subset}/train.jsonl", rows)
        of_four = [row for row in rows if len(row["choices"]["text"]) == 4]
        write(
            f"mmlu/all/auxiliary_train-{name}.jsonl",
            [
                {"question": r["question"], "choices": r["choices"]["text"],
                 "answer": "ABCD".index(r["answerKey"]), "subject": ""}
                for r in of_four
            ],
        )  # fmt: skip
    (folder / "mmlu/all/auxiliary_train-arc_easy.jsonl").rename(
        folder / "mmlu/all/auxiliary_train.jsonl"
    )
    write(
        "smol-smoltalk/data/train.jsonl",
        [
            {"messages": [{"role": "user", "content": row["question"]},
                          {"role": "assistant", "content": row["answer"]}]}
            for row in lines(EVAL / "gsm8k" / "train.jsonl")[:2000]
        ],
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("key", RECIPES, ids=lambda key: "-".join(key))
def test_the_recipes_rows(key, data):
    """Each recipe's tasks, packed as it says: all ids are there, and what counts is what the
    renderer's masks say."""
    recipe, renderer, length = RECIPES[key], Renderer(chat_tokenizer()), 1024
    mixed = mixture(recipe.tasks, Sources(data, split="train"))
    most = None if recipe.rows == "stream" else length + 1
    made = Conversations(mixed.train, renderer, most, mask=recipe.mask)
    of_all = sum(len(share.task) * share.repeats for share in mixed.train)
    assert made.epoch == of_all
    n_val = sum(len(share.task) for share in mixed.val)
    assert 0 < n_val < of_all / 20
    rows = rows_of(recipe.rows, made, length, renderer.special["<|bos|>"])
    x, y = np.empty((2, length), np.int64)
    counted = n_rows = 0
    while rows.at.number < 400:
        rows.fill(x, y)
        counted += int((y != -1).sum())
        n_rows += 1
    at = rows.at
    used = [n for n in range(at.number) if n not in at.waiting]
    known = [made.encoded(n) for n in used]
    if recipe.rows == "stream":
        n_ids = sum(len(one.ids) for one in known) + at.offset
        assert n_rows * length == n_ids  # no id is lost, none comes twice
        assert counted == n_rows * length
    else:
        assert counted == sum(int(one.counts[1:].sum()) for one in known)
    if recipe.rows == "best-fit":
        of_ids = sum(len(one.ids) for one in known) / (n_rows * (length + 1))
        assert of_ids > 0.93  # padding is little
    # A calculator's call is a call, in training as in evaluation.
    gsm8k = next(s for s, name in zip(mixed.train, mixed.names, strict=True) if name == "gsm8k")
    call = renderer.render(gsm8k.task[0].conversation)
    assert renderer.special["<|python_start|>"] in call.ids


def test_a_run_on_the_recipe_of_2026(data, tmp_path):
    make_base(tmp_path, context_length=512, steps=1)
    config = SftConfig.of(
        init_from=str(tmp_path / "base"), out=str(tmp_path / "sft"), data=str(data), steps=2,
        preset="nanochat-2026", batch_size=2, device="cpu", dtype="float32", threads=1,
        eval_tokens=1024, ask_items=1, checkpoint_every=0,
    )  # fmt: skip
    result = Sft(config).run()
    assert result.is_finished and {"ask_mmlu", "ask_gsm8k"} == set(result.validation.more)
