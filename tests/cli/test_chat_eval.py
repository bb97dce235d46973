"""`bytemill chat-eval` on a tiny model."""

import errno
import json
import os

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.evaluate import kept
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


def test_pass_at_k_of_samples(folder, capsys):
    options = ["--model", folder / "run", "--device", "cpu", "--words", folder / "words.txt"]
    options += ["--tasks", "spelling", "arithmetic", "--max-items", 3, "--max-new-tokens", 6]
    options += ["--samples", 4, "--pass-at", 1, "--pass-at", 3, 1, "--top-k", 50, "--seed", 7]
    options += ["--out", folder / "drawn"]
    status, out, _ = call(capsys, "chat-eval", *options)
    assert status == 0
    names = ["spelling, pass@1", "spelling, pass@3", "arithmetic, pass@1", "arithmetic, pass@3"]
    assert [line.split("  ")[0] for line in out.splitlines()[:4]] == names
    assert "% of 3, 4 replies each (95 %:" in out
    kept = folder / "drawn" / "samples" / "arithmetic.jsonl"
    before = kept.stat().st_mtime_ns
    whole = json.loads(call(capsys, "chat-eval", *options, "--json")[1])
    assert kept.stat().st_mtime_ns == before  # nothing was asked again
    assert json.loads((folder / "drawn" / "pass.json").read_text()) == whole
    assert (whole["samples"], whole["temperature"], whole["seed"]) == (4, 1.0, 7)
    lines = [json.loads(line) for line in kept.read_text().splitlines()[1:]]
    right = [sum(one["score"] for one in line["samples"]) for line in lines]
    found = whole["tasks"]["arithmetic"]["pass"]
    assert set(found) == {"1", "3"}
    assert found["1"]["score"] == pytest.approx(sum(right) / 12)
    # What greedy answers gave is somewhere else.
    assert not (folder / "drawn" / "chat.json").exists()


def test_what_is_longer_than_the_context_is_told(folder, capsys):
    """It counts as wrong, which nobody would guess of a score of 0."""
    row = {"question": "Q" * 200, "choices": {"text": ["x", "y"], "label": ["A", "B"]}}
    arc = folder / "long" / "ai2_arc" / "ARC-Easy"
    arc.mkdir(parents=True)
    (arc / "test.jsonl").write_text(json.dumps({**row, "answerKey": "A"}))
    options = ["--model", folder / "run", "--device", "cpu", "--data", folder / "long"]
    options += ["--tasks", "arc-easy", "--out", folder / "asked"]
    status, out, _ = call(capsys, "chat-eval", *options)
    assert status == 0 and "0.00 % of 1" in out
    assert "; 1 longer than the context, counted as wrong\n" in out
    saved = json.loads((folder / "asked" / "chat.json").read_text())
    assert saved["tasks"]["arc-easy"]["too_long"] == 1


def test_a_full_disk(folder, capsys, monkeypatch):
    """What was answered is kept, and one line says how to go on."""
    options = ["--model", folder / "run", "--device", "cpu", "--out", folder / "full"]
    options += ["--tasks", "identity", "--max-items", 20, "--batch-size", 2]
    options += ["--max-new-tokens", 2]
    write, n = kept.write_bytes, []

    def full(path, data):
        n.append(path)
        if len(n) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data)

    monkeypatch.setattr(kept, "write_bytes", full)
    status, _, err = call(capsys, "chat-eval", *options)
    assert status == 2
    is_one_line(err, "identity.jsonl", "make room and run the same command again")
    path = folder / "full" / "chat" / "identity.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 8
    assert call(capsys, "chat-eval", *options)[0] == 0
    assert len(path.read_text().splitlines()) == 1 + 20


def test_bad_input(folder, capsys):
    base = ["--model", folder / "run", "--device", "cpu", "--data", folder / "data"]
    for options, message in (
        (["--tasks", "gsm8k"], "bytemill download hf:openai/gsm8k"),
        (["--tasks", "spelling", "--words", folder / "none.txt"], "none.txt"),
        (["--tasks", "arc-easy", "--max-items", 0], "--max-items 0"),
        (["--tasks", "arc"], "arc"),
        (["--tasks", "arc-easy", "--samples", 2], "--samples 2: arc-easy is answered by a letter"),
        (["--tasks", "arithmetic", "--samples", 0], "--samples 0"),
        (["--tasks", "arithmetic", "--samples", 2, "--pass-at", 3], "--pass-at 3"),
        (["--tasks", "arithmetic", "--samples", 2, "--pass-at", 0], "--pass-at 0"),
        (["--tasks", "arithmetic", "--samples", 2, "--temperature", 0], "--temperature 0"),
        (["--tasks", "arithmetic", "--samples", 2, "--top-k", 0], "--top-k 0"),
        (["--tasks", "arithmetic", "--pass-at", 1], "--samples how many"),
        (["--tasks", "arithmetic", "--seed", 1], "--seed is for replies that are drawn"),
    ):
        status, _, err = call(capsys, "chat-eval", *base, *options)
        assert status == 2, err
        assert message in err
        is_one_line(err)
