"""The benchmark of the language-model stack runs on a tiny model and compares rightly."""

import json
import math
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks import lm, lm_jobs, lm_models
from benchmarks.measure import Run
from tests.support.one_thread import one_thread  # noqa: F401

SHAPE = {"vocab_size": 100, "context_length": 80, "d_model": 32, "n_layer": 2, "n_head": 4}


@pytest.mark.parametrize("more", [{}, {"n_kv_head": 2}])
def test_llama_with_copied_weights_is_the_same_function(more):
    job = lm_jobs.equality({**SHAPE, **more}, 2)
    found = job.run()
    assert found["equal"], found
    assert found["logits"] < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nanochat_with_exported_weights_is_the_same_function(dtype, monkeypatch):
    found = lm_jobs.equality(SHAPE, 2, "nanochat", dtype).run()
    assert found["equal"], found
    if dtype == "float32":
        assert found["logits"] < 1e-5
    # Attention has a part in it: with keys in another order it is another function.
    export = lm_models.export_weights

    def wrong(model, to):
        export(model, to)
        with torch.no_grad():
            to.model.layers[0].self_attn.k_proj.weight.copy_(model.layers[0].attn.k_proj.weight)

    monkeypatch.setattr(lm_models, "export_weights", wrong)
    assert not lm_jobs.equality(SHAPE, 2, "nanochat", dtype).run()["equal"]


def test_equality_can_fail(monkeypatch):
    copy = lm_models.copy_weights

    def wrong(model, to):
        copy(model, to)
        with torch.no_grad():
            to.model.layers[0].self_attn.q_proj.weight.copy_(model.layers[0].attn.q_proj.weight)

    monkeypatch.setattr(lm_models, "copy_weights", wrong)
    assert not lm_jobs.equality(SHAPE, 2).run()["equal"]


def here(job, arguments, **options):
    """As `run_fresh`, in this process: a new one takes seconds to import what is compared."""
    prepared = getattr(lm_jobs, job.partition(":")[2])(**arguments)
    began = time.perf_counter()
    result = prepared.run()
    return Run(seconds=time.perf_counter() - began, outcome=prepared.outcome(result))


def test_it_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lm, "run_fresh", here)
    sizes = ["--d-model", "32", "--n-layer", "1", "--n-head", "2", "--vocab-size", "100"]
    sizes += ["--context-length", "80", "--batch-size", "2", "--steps", "1", "--new-tokens", "9"]
    out = ["--out", str(tmp_path), "--cores", "1"]
    assert lm.main([*sizes, *out, "--runs", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("equal: yes") == 3 and "equal: NO" not in printed
    assert "bytemill gpt" in printed and "transformers llama" in printed
    assert "bytemill nanochat-2026" in printed and "transformers nanochat" in printed
    lines = [json.loads(line) for line in (tmp_path / "lm.jsonl").read_text().splitlines()]
    in_turns = ["bytemill", "bytemill", "transformers"] * 2
    for measurement in ("train", "decode"):
        some = [line for line in lines if line["measurement"] == measurement]
        assert [line["library"] for line in some] == in_turns
        assert all(line["seconds"] > 0 and line["error"] is None for line in some)
    assert some[0]["outcome"] == {"tokens": 9}
    for measurement, dtype in (("nanochat", "float32"), ("nanochat-bf16", "bfloat16")):
        some = [line for line in lines if line["measurement"] == measurement]
        assert [line["library"] for line in some] == in_turns
        assert all(line["seconds"] > 0 and line["dtype"] == dtype for line in some)
        # The three compute something else from the same batch, a rank apart at most.
        assert all(abs(line["outcome"]["losses"][0] - math.log(100)) < 1 for line in some)


def test_an_unknown_measurement_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--only gpu: the measurements are train, decode, nano"):
        lm.main(["--only", "train,gpu", "--out", str(tmp_path)])
