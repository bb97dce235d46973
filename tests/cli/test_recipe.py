"""The recipe of 2026 by its commands: trained, written with, evaluated, accounted, taken apart."""

import json

import pytest

pytest.importorskip("torch")

from bytemill.cli import account
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.plan import plan
from tests.support.lm_runs import make_shards
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call

SWITCHES = {
    # Flags, and a field of the model or the optimizer that they change, with its value.
    ("--no-value-embeddings",): ("model", "value_embeddings", False),
    ("--no-resid-scalars",): ("model", "resid_scalars", False),
    ("--no-x0-scalars",): ("model", "x0_scalars", False),
    ("--no-smear",): ("model", "smear", False),
    ("--no-backout",): ("model", "backout", False),
    ("--qk-scale", 1): ("model", "qk_scale", 1.0),
    ("--rope-theta", 10000): ("model", "rope_theta", 10_000.0),
    ("--window-pattern", "L"): ("model", "window", None),
    ("--logit-softcap", "none"): ("model", "logit_softcap", None),
    ("--vocab-multiple", 1): ("model", "vocab_multiple", 1),
    ("--init", "normal"): ("model", "init", "normal"),
    ("--no-muon-row-norm",): ("optimizer", "muon_row_norm", False),
    ("--no-muon-unit-norm",): ("optimizer", "muon_unit_norm", False),
    ("--no-muon-cautious",): ("optimizer", "muon_cautious", False),
    ("--muon-beta2", "none"): ("optimizer", "muon_beta2", None),
    ("--ns-quintics", "best"): ("optimizer", "ns_quintics", "best"),
    ("--ns-divisor", "bound"): ("optimizer", "ns_divisor", "bound"),
    ("--no-own-betas",): ("optimizer", "own_betas", False),
    ("--no-own-decays",): ("optimizer", "own_decays", False),
    ("--weight-decay", 0): ("optimizer", "weight_decay", 0.0),
    ("--grad-clip", 1): ("optimizer", "grad_clip", 1.0),
    ("--recipe", "gpt"): ("optimizer", "ns_steps", 8),
    ("--momentum-start", "none"): ("schedule", "momentum_start", None),
    ("--momentum-end", "none"): ("schedule", "momentum_end", None),
    ("--decay-schedule", "constant"): ("schedule", "decay", "constant"),
}


def test_train_generate_evaluate_account(tmp_path, capsys):
    make_shards(tmp_path)
    run = tmp_path / "run"
    status, out, err = call(
        capsys, "train", "--preset", "nanochat-2026", "--depth", 2, "--context-length", 32,
        "--batch-size", 4, "--steps", 60, "--data", tmp_path / "shards", "--tokenizer",
        tmp_path / "tokenizer", "--out", run, "--eval-tokens", 512, "--device", "cpu", "--threads",
        1, "--dtype", "float32",
    )  # fmt: skip
    assert status == 0, err
    assert "2 layers, width 128, 1 head," in out
    assert "value_embeddings 0.184, resid 0.0025, x0 0.25, smear 0.1, matrices 0.01" in out
    losses = [row["loss"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] - 1
    config = load_model(run).config
    assert (config.smear, config.padded_vocab_size, config.head_dim) == (True, 320, 128)
    base = ["--model", run, "--device", "cpu"]
    status, out, _ = call(capsys, "generate", *base, "--prompt", "the cat", "--max-new-tokens", 9)
    assert status == 0 and out.startswith("the cat")
    text = tmp_path / "corpus.txt"
    status, out, _ = call(capsys, "evaluate", *base, "--json", "--text", text)
    assert status == 0 and json.loads(out)["bits_per_byte"] < 4
    status, out, _ = call(capsys, "account", "--model", run)
    assert status == 0
    # One layer of two: 320 ids of 128 numbers.
    assert "value embeddings" in out and "40,960 (" in out and "the decay x" in out


@pytest.mark.parametrize("flags", SWITCHES, ids=lambda flags: flags[0][2:])
def test_each_part_has_a_switch(flags, monkeypatch, capsys):
    plans = []
    monkeypatch.setattr(account, "plan", lambda *a, **k: plans.append(plan(*a, **k)) or plans[-1])
    common = ["--preset", "nanochat-2026", "--depth", 2, "--vocab-size", 300, "--steps", 50]
    for more in ((), flags):
        status, _, err = call(capsys, "account", *common, *more)
        assert status == 0, err
    part, name, value = SWITCHES[flags]
    usual, found = (getattr(getattr(of, part), name) for of in plans)
    assert found == value != usual
    assert plans[0].model.n_layer == plans[1].model.n_layer == 2
