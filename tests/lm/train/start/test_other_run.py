"""Runs that begin with another's weights, and runs that go on for longer than was planned."""

import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.lm.checkpoint.one_file import CheckpointStore, load_model
from bytemill.lm.optim.schedule import Schedule
from bytemill.lm.train import Trainer, events
from tests.support.lm_runs import BOS, TEXT, config, make_ids, make_shards


def stop_after(settings, step=0, **options):
    """A run that is stopped after a step; what it told."""
    told = []

    def listen(event):
        told.append(event)
        if isinstance(event, events.Stepped) and event.step == step:
            trainer.stop()

    trainer = Trainer(settings, on_event=listen, **options)
    trainer.run()
    return trainer, told


def notes(told):
    return [event.message for event in told if isinstance(event, events.Warned)]


@pytest.fixture
def folder(tmp_path):
    make_ids(tmp_path)
    Trainer(config(tmp_path, out=str(tmp_path / "first"), optimizer="adamw", steps=5)).run()
    return tmp_path


def second(folder, **changes):
    fields = {"init_from": str(folder / "first"), "optimizer": "adamw", "seed": 9, "steps": 3}
    return config(folder, **{**fields, **changes})


@pytest.mark.parametrize("with_optimizer", [False, True])
def test_a_run_begins_with_the_weights_of_another(folder, with_optimizer):
    # Again by hand: the first run's weights, and its moments where they are asked for.
    settings = second(folder, init_optimizer=with_optimizer, matrix_lr=3e-3, warmup_steps=0)
    trainer, told = stop_after(settings, 1)
    first = CheckpointStore(folder / "first").last()
    plain = {"init_from": None, "init_optimizer": False, "steps": 1}
    hand, _ = stop_after(settings.but(out=str(folder / "hand"), **plain))
    model, optimizers = hand.model, hand.optimizers
    rates = [group["base_lr"] for group in optimizers[0].param_groups]
    optimizers[0].state.clear()
    (first.load if with_optimizer else lambda m, o: first.load_weights(m))(model, optimizers)
    for group, rate in zip(optimizers[0].param_groups, rates, strict=True):
        group["lr"] = group["base_lr"] = rate
    loader = hand.data.loader(settings.data, 4, 16, 9, torch.device("cpu"))
    model.zero_grad()
    model.loss(*loader.next_batch()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers[0].step()
    for name, weight in trainer.model.state_dict().items():
        assert torch.allclose(weight, model.state_dict()[name], rtol=0, atol=1e-7), name
    begun = load_model(folder / "first").model.state_dict()
    moved = max((trainer.model.state_dict()[n] - w).abs().max().item() for n, w in begun.items())
    assert moved > 1e-4, "a step is much larger than the tolerance"
    state = trainer.optimizers[0].state_dict()["state"][0]["step"].item()
    assert state == (6 if with_optimizer else 1)
    assert trainer.optimizers[0].param_groups[2]["base_lr"] == 3e-3
    (said,) = [note for note in notes(told) if note.startswith("begins with")]
    assert ("the optimizer's state" in said) == with_optimizer
    assert "first" in said and "step 5" in said


def test_a_run_that_goes_on_has_its_own_weights(folder):
    straight = Trainer(second(folder, out=str(folder / "straight")))
    straight.run()
    stop_after(second(folder), 2)
    resumed, told = stop_after(second(folder), resume=True)
    assert not any("begins with" in note for note in notes(told))
    for name, weight in resumed.model.state_dict().items():
        assert torch.equal(weight, straight.model.state_dict()[name])


BAD = [
    ({"d_model": 64, "n_layer": 2}, r"d_model is 32 there and 64 here; n_layer is 1 there and 2"),
    ({"n_head": 4}, "n_head is 2 there and 4 here"),
    ({"preset": "cs336"}, "is another one: .* there and .* here"),
    ({"optimizer": "muon", "init_optimizer": True}, "the state of 1 optimizers, not of 2"),
    ({"init_from": None, "init_optimizer": True}, "init_optimizer=True: it needs init_from"),
    ({"init_from": "nowhere"}, "nowhere: no checkpoint is there"),
]


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_what_does_not_go_together(folder, changes, words):
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        Trainer(second(folder, **changes)).run()
    assert not (folder / "run").exists()


def test_another_context_goes_together(folder):
    assert Trainer(second(folder, context_length=24)).run().is_finished


def test_tokenizers_are_compared(tmp_path):
    own = make_shards(tmp_path)
    shards = {"data": str(tmp_path / "shards"), "tokenizer": str(tmp_path / "tokenizer")}
    Trainer(config(tmp_path, out=str(tmp_path / "first"), steps=2, **shards)).run()
    init = {"init_from": str(tmp_path / "first"), "steps": 1}
    assert Trainer(config(tmp_path, out=str(tmp_path / "a"), **shards, **init)).run().is_finished
    other = Tokenizer.train([TEXT + "x" * 40, *map(str, range(99))], 280, [BOS])
    assert other.n_vocab == own.n_vocab == 280
    other.save(tmp_path / "other")
    other.encode_files(
        tmp_path / "corpus.txt", tmp_path / "shards2", separator=BOS, separator_at="start"
    )
    both = rf"fingerprint {own.fingerprint}, and this data is of {other.fingerprint}"
    for tokenizer in (str(tmp_path / "other"), None):  # the shards themselves say whose they are
        settings = config(tmp_path, data=str(tmp_path / "shards2"), tokenizer=tokenizer, **init)
        with pytest.raises(ValueError, match=both):
            Trainer(settings).run()
    make_ids(tmp_path)
    _, told = stop_after(config(tmp_path, vocab_size=280, **init))
    assert any("does not say which tokenizer" in note for note in notes(told))


def lengths(folder, schedule, first, then):
    """A run of `first` steps that goes on to `then`: its multipliers and its notes."""
    settings = config(
        folder, schedule=schedule, steps=first, warmup_steps=2, out=str(folder / schedule)
    )
    _, before = stop_after(settings)
    trainer, after = stop_after(settings.but(steps=then), resume=True)
    assert trainer.step == then
    steps = [event for event in before + after if isinstance(event, events.Stepped)]
    return [event.lr_multiplier for event in steps], notes(after), trainer


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_longer_run_has_the_longer_schedule_from_there_on(folder, schedule):
    found, said, _ = lengths(folder, schedule, 8, 20)
    short, long = (Schedule(schedule, 2, n, decay_fraction=0.5) for n in (8, 20))
    assert found == [short.multiplier(n) for n in range(8)] + [
        long.multiplier(n) for n in range(8, 20)
    ]
    assert found[8] > found[7] + 0.4, "they go up again"
    (note,) = [note for note in said if "was begun for 8 steps and goes on to 20" in note]
    assert f"had {found[7]:.3g} of the peak learning rates, the next one has {found[8]:.3g}" in note


def test_a_longer_run_of_constant_rates_is_one_that_was_always_longer(folder):
    _, _, trainer = lengths(folder, "constant", 6, 11)
    straight = Trainer(
        config(folder, schedule="constant", steps=11, warmup_steps=2, out=str(folder / "straight"))
    )
    straight.run()
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, straight.model.state_dict()[name])


def test_fewer_steps(folder):
    settings = config(folder, steps=20, warmup_steps=0)
    stop_after(settings, 7)
    with pytest.raises(ValueError, match="steps=5: the run has made 7 already"):
        Trainer(settings.but(steps=5), resume=True).run()
    trainer, told = stop_after(settings.but(steps=9), resume=True)
    assert trainer.step == 9
    assert any("begun for 20 steps and goes on to 9" in note for note in notes(told))


def test_a_run_of_limited_time_keeps_its_steps(folder):
    stop_after(config(folder, steps=20, minutes=5.0), 3)
    with pytest.raises(ValueError, match=r"steps was 20 .* and is 30 now"):
        Trainer(config(folder, steps=30, minutes=5.0), resume=True).run()
