"""`bytemill chat-eval` on a tiny model."""

import json

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = chat_tokenizer()
    model = small_model("cs336", vocab_size=tokenizer.n_vocab, context_length=160)
    CheckpointStore(folder / "run").save(
        1, model, [torch.optim.SGD(model.parameters(), lr=1.0)],
        model_config=model.config.to_dict(), metrics={"val_loss": 1.0},
    )  # fmt: skip
    tokenizer.save(folder / "run" / "tokenizer")
    (folder / "words.txt").write_text("the cat sat on the mat")
    arc = folder / "data" / "ai2_arc" / "ARC-Easy"
    arc.mkdir(parents=True)
    row = {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}}
    rows = [json.dumps({**row, "answerKey": key}) for key in "ABAB"]
    (arc / "test.jsonl").write_text("\n".join(rows))
    return folder


def test_scores_and_what_is_saved(folder, capsys):
    options = ["--model", folder / "run", "--device", "cpu", "--data", folder / "data"]
    options += ["--words", folder / "words.txt", "--max-items", 4, "--max-new-tokens", 8]
    options += ["--tasks", "arc-easy", "spelling", "counting-new-wordings", "--tasks", "arithmetic"]
    status, out, _ = call(capsys, "chat-eval", *options)
    assert status == 0
    # The four questions are one: the same letter each time is right in half of the cases.
    assert "50.00 % of 4" in out
    assert "ChatCORE" not in out
    saved = folder / "run" / "evaluation"
    whole = json.loads(call(capsys, "chat-eval", *options, "--json")[1])
    assert json.loads((saved / "chat.json").read_text()) == whole
    assert set(whole["tasks"]) == {"arc-easy", "spelling", "counting-new-wordings", "arithmetic"}
    assert whole["tasks"]["arc-easy"]["centred"] == pytest.approx(1 / 3)
    low, high = whole["tasks"]["arc-easy"]["interval"]
    assert low < 0.5 < high
    assert f"(95 %: {100 * low:.2f} to {100 * high:.2f})" in out
    head, *lines = map(json.loads, (saved / "chat" / "spelling.jsonl").read_text().splitlines())
    assert head["items"] == whole["tasks"]["spelling"]["content"]
    assert head["of"] == whole["identity"]
    assert [line["item"] for line in lines] == [0, 1, 2, 3]


def test_bad_input(folder, capsys):
    base = ["--model", folder / "run", "--device", "cpu", "--data", folder / "data"]
    for options, message in (
        (["--tasks", "gsm8k"], "bytemill download hf:openai/gsm8k"),
        (["--tasks", "spelling", "--words", folder / "none.txt"], "none.txt"),
        (["--tasks", "arc-easy", "--max-items", 0], "--max-items 0"),
        (["--tasks", "arc"], "arc"),
    ):
        status, _, err = call(capsys, "chat-eval", *base, *options)
        assert status == 2, err
        assert message in err
        is_one_line(err)
