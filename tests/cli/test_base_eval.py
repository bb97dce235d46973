"""`bytemill base-eval` on a tiny model and made-up items."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from tests.support.lm_runs import make_shards, tiny_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call, is_one_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = make_shards(folder)
    model = tiny_model(vocab_size=tokenizer.n_vocab)
    CheckpointStore(folder / "run").save(
        1, model, [torch.optim.SGD(model.parameters(), lr=1.0)],
        model_config=model.config.to_dict(), metrics={"val_loss": 1.0},
    )  # fmt: skip
    tokenizer.save(folder / "run" / "tokenizer")
    (folder / "core").mkdir()
    items = [
        {"query": "the cat", "choices": ["sat", "on the mat"], "gold": i % 2} for i in range(6)
    ]
    (folder / "core" / "copa.jsonl").write_text("\n".join(map(json.dumps, items)))
    return folder


def test_table_json_and_what_is_kept(folder, capsys):
    options = ["--model", folder / "run", "--device", "cpu", "--core", folder / "core"]
    options += ["--data", folder / "shards"]
    status, out, _ = call(capsys, "base-eval", *options)
    assert status == 0
    assert "The capital of France is" in out
    # One of two answers, always the same one, is right in half of the cases.
    assert "copa" in out and " 50.00  " in out
    assert "the mean of these: 0.0000" in out and "not asked: hellaswag_zeroshot" in out
    saved = folder / "run" / "evaluation"
    status, out, _ = call(capsys, "base-eval", *options, "--json")
    assert status == 0
    whole = json.loads(out)
    assert whole["core"]["tasks"]["copa"]["accuracy"] == 0.5
    assert whole["core"]["core_v2"] == 0.0
    assert whole["bits_per_byte"] > 0
    assert json.loads((saved / "base.json").read_text()) == whole
    answers = (saved / "core" / "copa.jsonl").read_text()
    assert len(answers.splitlines()) == 7
    # What is kept counts; the same command does not ask again.
    (saved / "core" / "copa.jsonl").write_text(answers.replace('"right": false', '"right": true'))
    again = json.loads(call(capsys, "base-eval", *options, "--json")[1])
    assert again["core"]["tasks"]["copa"]["accuracy"] == 1.0
    shutil.rmtree(saved)


def test_bad_input(folder, capsys, tmp_path):
    base = ["--model", folder / "run", "--device", "cpu"]
    for options, message in (
        (["--core", tmp_path], "none of CORE's files is there"),
        (["--core", folder / "core", "--max-items", 0], "--max-items 0"),
        (["--core", folder / "core", "--batch-size", 0], "--batch-size 0"),
        (["--core", folder / "core", "--tasks", "copas"], "copas"),
    ):
        status, _, err = call(capsys, "base-eval", *base, *options)
        assert status == 2, err
        assert message in err
        is_one_line(err)
