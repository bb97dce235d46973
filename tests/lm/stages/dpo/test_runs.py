"""Runs of DPO: they learn what is preferred, go on with the same bits, and share out over ranks."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.stages.dpo.config import DpoConfig
from bytemill.lm.stages.dpo.reference import FILE
from bytemill.lm.stages.dpo.stage import Dpo, DpoStarted, Preferred
from bytemill.lm.train.events import Stepped, Warned
from bytemill.lm.train.metrics import read_metrics
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.pairs import make_assistant, polite_pairs, write_pairs
from tests.support.ranks import on_ranks


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    make_assistant(folder / "base")
    write_pairs(folder / "pairs.jsonl", polite_pairs(60))
    return folder


def settings(base, out, **changes):
    fields = {
        "init_from": str(base / "base"), "pairs": str(base / "pairs.jsonl"), "out": str(out),
        "steps": 4, "batch_size": 6, "device": "cpu", "dtype": "float32", "threads": 1,
        "log_every": 2, "checkpoint_every": 0, "eval_every": 0, "lr_factor": 0.02, **changes,
    }  # fmt: skip
    return DpoConfig.of(**fields)


def run(config, **options):
    told = []
    result = Dpo(config, on_event=told.append, **options).run()
    return result, told


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 4, "lr_factor": 3.0}], ids=["all", "lora"])
def test_it_learns_what_is_preferred(base, tmp_path, adapters):
    config = settings(base, tmp_path / "dpo", steps=30, eval_every=15, **adapters)
    result, told = run(config)
    assert result.is_finished
    started = next(event for event in told if isinstance(event, DpoStarted))
    assert (started.pairs, started.val_pairs, started.beta) == (59, 1, 0.1)
    losses = [event.loss for event in told if isinstance(event, Stepped)]
    # At the beginning the model is its own reference: log 2.
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] < 0.4
    figures = [event.figures for event in told if isinstance(event, Preferred)]
    assert figures[-1]["accuracy"] == 1.0 and figures[-1]["margin"] > 0.8
    assert result.validation.loss < 0.5
    assert result.validation.more["val_accuracy"] == 1.0
    logged = list(read_metrics(tmp_path / "dpo" / "metrics.jsonl"))
    assert {"margin", "reward_chosen", "val_margin"} <= set().union(*logged)
    load_model(tmp_path / "dpo")


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 2}], ids=["all", "lora"])
def test_a_run_that_goes_on_ends_with_the_same_bits(base, tmp_path, adapters):
    whole, _ = run(settings(base, tmp_path / "whole", **adapters))
    stopped = Dpo(settings(base, tmp_path / "parts", **adapters))
    stopped._tell = lambda event: stopped.stop() if isinstance(event, Stepped) else None
    assert stopped.run().step == 1
    # What the model at the beginning gave is read, and not made anew of the weights as they are.
    again, _ = run(settings(base, tmp_path / "parts", **adapters), resume=True)
    assert again.is_finished
    for name in ("model.safetensors", "optimizer.safetensors"):
        expected, found = read_file(whole.checkpoint / name), read_file(again.checkpoint / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor), key


def test_what_a_run_cannot_go_on_without(base, tmp_path):
    stopped = Dpo(settings(base, tmp_path / "run"))
    stopped._tell = lambda event: stopped.stop() if isinstance(event, Stepped) else None
    stopped.run()
    path = tmp_path / "run" / FILE
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match=r"reference_log_probs\.safetensors: the file is missing"):
        run(settings(base, tmp_path / "run"), resume=True)
    path.write_bytes(kept[:-7])
    with pytest.raises(ValueError, match="truncated"):
        run(settings(base, tmp_path / "run"), resume=True)
    path.write_bytes(kept)
    other = write_pairs(tmp_path / "other.jsonl", polite_pairs(60, seed=1))
    with pytest.raises(ValueError, match="pairs"):
        run(settings(base, tmp_path / "run", pairs=str(other)), resume=True)
    assert run(settings(base, tmp_path / "run"), resume=True)[0].is_finished


def test_what_a_person_may_want_to_know(base, tmp_path):
    pairs = [*polite_pairs(5), {"prompt": "x", "chosen": "same", "rejected": "same"}]
    path = write_pairs(tmp_path / "few.jsonl", pairs)
    _, told = run(settings(base, tmp_path / "run", pairs=str(path), steps=1, batch_size=2))
    notes = [event.message for event in told if isinstance(event, Warned)]
    assert "1 pairs have two equal answers and are left out" in notes
    assert "there are fewer than 20 pairs: none is kept back" in notes


def test_rows_at_a_time_change_nothing_but_rounding(base, tmp_path):
    found = []
    for rows in (1, 6):
        run(settings(base, tmp_path / str(rows), micro_batch_size=rows, steps=2))
        found.append(load_model(tmp_path / str(rows)).model.state_dict())
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-3, atol=1e-5)


def on_two(group, config):
    """Losses and validation of a run as one of two ranks."""
    told = []
    result = Dpo(config, on_event=told.append, world=Ranks(group)).run()
    figures = [event.figures for event in told if isinstance(event, Preferred)]
    steps = [event for event in told if isinstance(event, Stepped)]
    losses, tokens = [e.loss for e in steps], [e.tokens for e in steps]
    return losses, tokens, result.validation.loss, figures


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 2, "lr_factor": 1.0}], ids=["all", "lora"])
def test_two_ranks_are_one(base, tmp_path, adapters):
    write_pairs(tmp_path / "pairs.jsonl", polite_pairs(250))  # two of them are kept back
    pairs = {"pairs": str(tmp_path / "pairs.jsonl"), "batch_size": 5, **adapters}
    (losses, tokens, validation, figures), _ = on_ranks(
        2, on_two, settings(base, tmp_path / "2", **pairs)
    )
    result, told = run(settings(base, tmp_path / "1", **pairs))
    steps = [event for event in told if isinstance(event, Stepped)]
    assert tokens == [event.tokens for event in steps]
    assert 0 < tokens[0] < 2 * 5 * load_model(tmp_path / "1").model.config.context_length
    alone = [event.loss for event in steps]
    assert losses == pytest.approx(alone, abs=1e-5) and abs(alone[-1] - alone[0]) > 1e-3
    assert validation == pytest.approx(result.validation.loss, abs=1e-5)
    expected = [event.figures for event in told if isinstance(event, Preferred)]
    assert figures[-1] == pytest.approx(expected[-1], abs=1e-4)


def test_bad_settings(base, tmp_path):
    with pytest.raises(ValueError, match="beta=0"):
        settings(base, tmp_path / "x", beta=0.0)
    with pytest.raises(ValueError, match="document_mask=True"):
        settings(base, tmp_path / "x", document_mask=True)
    config = settings(base, tmp_path / "x")
    assert dataclasses.is_dataclass(config) and config.flat()["beta"] == 0.1
