"""SFT of low-rank adapters: what is trained and kept, exact resume, what comes after it."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.loading import find_checkpoint, load_model
from bytemill.lm.checkpoint.state import read_file
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.stages import Sft, SftConfig
from bytemill.lm.stages.base import Base
from bytemill.lm.stages.rl.config import RlConfig
from bytemill.lm.stages.rl.stage import REFERENCE, Rl
from bytemill.lm.train.events import Stepped, Warned
from tests.support.chats import chat_tokenizer
from tests.support.models import small_model
from tests.support.one_thread import one_thread  # noqa: F401

SIZES = {"lora_rank": 3, "lora_alpha": 6.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "base"
    tokenizer = chat_tokenizer()
    model = small_model("gpt", vocab_size=tokenizer.n_vocab, context_length=64)
    CheckpointStore(folder).save(7, model, [], model_config=model.config.to_dict())
    tokenizer.save(folder / "tokenizer")
    return folder


def settings(base, out, **changes):
    fields = {
        "init_from": str(base), "out": str(out), "tasks": "identity[:40]", "steps": 4,
        "batch_size": 3, "device": "cpu", "dtype": "float32", "threads": 1, "log_every": 1,
        "checkpoint_every": 0, "eval_every": 0, "eval_tokens": 128, "ask_every": 0,
        "schedule": "constant", **SIZES, **changes,
    }  # fmt: skip
    return SftConfig.of(**fields)


def run(config, **options):
    told = []
    result = Sft(config, on_event=told.append, **options).run()
    return result, told


def test_adapters_alone_are_trained(base, tmp_path):
    result, told = run(settings(base, tmp_path / "sft", steps=12))
    losses = [event.loss for event in told if isinstance(event, Stepped)]
    assert losses[-1] < losses[0] - 0.1
    notes = [event.message for event in told if isinstance(event, Warned)]
    # In each of two layers, times 3: q, output 64 + 64; k, v 64 + 32; w1, w2 64 + 256.
    assert "trains adapters of rank 3, 6,528 weights" in notes
    before = read_file(find_checkpoint(base).path / "model.safetensors")
    after = read_file(result.checkpoint / "model.safetensors")
    for name, weight in before.items():
        assert torch.equal(after[name], weight), name
    more = find_checkpoint(tmp_path / "sft").extra["more"]["lora"]
    assert (more["rank"], more["alpha"], more["base"]["step"]) == (3, 6.0, 7)
    assert more["base"]["files"] == find_checkpoint(base).files
    # Whoever takes the run gets a plain model.
    merged = load_model(tmp_path / "sft").model.state_dict()
    assert merged.keys() == before.keys()
    assert not torch.equal(merged["layers.0.ffn.w1.weight"], before["layers.0.ffn.w1.weight"])
    assert torch.equal(merged["lm_head.weight"], before["lm_head.weight"])


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_run_that_goes_on_ends_with_the_same_bits(base, tmp_path, ema):
    whole, _ = run(settings(base, tmp_path / "whole", ema=ema))
    stopped = Sft(settings(base, tmp_path / "parts", ema=ema))
    stopped._tell = lambda event: stopped.stop() if isinstance(event, Stepped) else None
    assert not stopped.run().is_finished
    again, _ = run(settings(base, tmp_path / "parts", ema=ema), resume=True)
    assert again.is_finished
    for name in ("model.safetensors", "optimizer.safetensors"):
        expected, found = read_file(whole.checkpoint / name), read_file(again.checkpoint / name)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor), key
    kept = find_checkpoint(tmp_path / "parts").extra["more"]
    assert kept == find_checkpoint(tmp_path / "whole").extra["more"]
    with pytest.raises(ValueError, match=r"lora_rank was 3 .* and is 4 now"):
        run(settings(base, tmp_path / "parts", lora_rank=4, ema=ema), resume=True)


def test_what_comes_after_begins_with_the_merged_weights(base, tmp_path):
    run(settings(base, tmp_path / "first"))
    assert not Base.of(str(tmp_path / "first")).has_optimizer
    merged = load_model(tmp_path / "first").model.state_dict()
    for name, sizes in (("plain", {"lora_rank": None, "lora_alpha": None}), ("more", SIZES)):
        # Rates of nothing: what it ends with is what it began with.
        rates = dict.fromkeys(("embedding_lr", "head_lr", "matrix_lr", "vector_lr"), 0.0)
        changes = {**sizes, **rates, "steps": 1}
        run(settings(tmp_path / "first", tmp_path / name, **changes))
        found = load_model(tmp_path / name).model.state_dict()
        for key, weight in merged.items():
            assert torch.equal(found[key], weight), key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_rank": None}, "lora_alpha=6.0: it needs lora_rank"),
        ({"lora_rank": None, "lora_alpha": None, "lora_targets": "w1"}, "lora_targets='w1': it"),
        ({"lora_targets": "w1, head"}, "there is no 'head'"),
        ({"lora_targets": "w3"}, "the model has no 'w3'"),
        ({"init_optimizer": True}, "init_optimizer=True: adapters are new"),
    ],
)
def test_what_does_not_go_together(base, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(settings(base, tmp_path / "sft", **changes))
    assert not (tmp_path / "sft" / "checkpoints").exists()


def test_rewards_and_a_divergence_are_for_adapters_too(base, tmp_path):
    fields = {
        "init_from": str(base), "out": str(tmp_path / "rl"), "tasks": "arithmetic", "steps": 2,
        "questions": 2, "samples": 3, "max_new_tokens": 6, "updates": 2, "clip": 0.2,
        "kl": 0.1, "replay_rows": 2, "replay": "identity[:40]", "eval_problems": 2,
        "eval_samples": 2, "threads": 1, "dtype": "float32", "device": "cpu", **SIZES,
    }  # fmt: skip
    stopped = Rl(RlConfig.of(**fields))
    stopped._tell = lambda event: stopped.stop() if isinstance(event, Stepped) else None
    assert stopped.run().step == 1
    result = Rl(RlConfig.of(**fields), resume=True).run()
    assert result.is_finished
    before = read_file(find_checkpoint(base).path / "model.safetensors")
    reference = read_file(tmp_path / "rl" / REFERENCE)
    after = read_file(result.checkpoint / "model.safetensors")
    for name, weight in before.items():
        assert torch.equal(after[name], weight) and torch.equal(reference[name], weight), name
    # The second step is of replayed rows at least: B is not 0 any more.
    assert any(tensor.any() for name, tensor in after.items() if name.endswith("lora_b"))
