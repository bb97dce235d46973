"""`bytemill base-eval` on a tiny model and made-up items."""

import json
import os
import shutil
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore
from tests.support.lm_runs import make_shards, tiny_model
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import ROOT, call, command, is_one_line, run


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


@pytest.mark.skipif(sys.platform != "linux", reason="its processes are started by hand")
def test_two_processes(folder, tmp_path):
    """The same files as one writes, but for times."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
        "WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    base = ["base-eval", "--model", folder / "run", "--device", "cpu", "--core", folder / "core"]
    base += ["--data", folder / "shards", "--out"]

    def both(*options):
        processes = [
            subprocess.Popen(
                command(*base, *options), cwd=ROOT, text=True, env={**environment, "RANK": rank},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for rank in "01"
        ]  # fmt: skip
        ended = [process.communicate(timeout=900) for process in processes]
        return [(p.returncode, *e) for p, e in zip(processes, ended, strict=True)]

    first, second = both(tmp_path / "two")
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "the mean of these" in first[1]
    assert second[1:] == ("", "")
    assert run(*base, tmp_path / "one", env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    one, two = (json.loads((tmp_path / n / "base.json").read_text()) for n in ("one", "two"))
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    for whole in (one, two):
        del whole["time"], whole["seconds"], whole["core"]["tasks"]["copa"]["seconds"]
    assert one == two
    kept = [(tmp_path / n / "core" / "copa.jsonl").read_bytes() for n in ("one", "two")]
    assert kept[0] == kept[1]


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
