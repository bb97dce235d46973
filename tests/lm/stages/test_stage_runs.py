"""Stages as runs: what they begin with, where they lead, and exact resume."""

import signal

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Conversation, Message
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.stages import Asked, MidTraining, Sft, SftConfig, StageStarted
from bytemill.lm.stages.base import Base
from bytemill.lm.stages.recipes import RECIPES, recipe_of
from bytemill.lm.train.events import Validated, Warned
from bytemill.lm.train.metrics import read_metrics
from tests.support.chats import chat_tokenizer
from tests.support.killed_runs import killed
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.stage_runs import (
    BASE_RATES,
    T,
    make_base,
    mid,
    of_kind,
    run,
    sft,
    stopped,
    write_chats,
)

# What a stage begins with, and where it leads


def test_a_chain(folder):
    """Base, mid-training, SFT, and SFT again: each begins with the weights of the one before, and
    all of them with the base run's rates."""
    _, result, told = run(MidTraining, mid(folder, ask_every=2, eval_every=3))
    assert result.is_finished and result.step == 6
    started = of_kind(told, StageStarted)[0]
    assert started.packing == "stream" and started.counted == 1.0
    assert started.tasks == ("identity", "spelling", "arithmetic")
    optimizer = started.plan.optimizer
    assert {name: getattr(optimizer, name) for name in BASE_RATES} == BASE_RATES
    assert optimizer.weight_decay == 0.25
    assert (started.plan.schedule.decay_fraction, started.plan.schedule.warmup_steps) == (0.2, 0)
    # Asked with the validation at step 6, and not with that at 3, which is not a multiple of 2.
    (asked,) = of_kind(told, Asked)
    assert asked.step == 6 and set(asked.scores) == {"identity", "spelling", "arithmetic"}
    assert [v.step for v in of_kind(told, Validated)] == [3, 6]
    line = [row for row in read_metrics(folder / "mid" / "metrics.jsonl") if "val_loss" in row][-1]
    assert line["ask_identity"] == asked.scores["identity"] and line["val_bpb"] > 0

    of_mid = load_model(folder / "mid").model.state_dict()
    settings = sft(folder, init_from=str(folder / "mid"), head_lr=0.5, steps=2)
    made = Sft(settings)
    before = {}
    begin = made._begin

    def watched():
        begin()
        before.update({name: t.clone() for name, t in made.model.state_dict().items()})

    made._begin = watched
    made.run()
    assert all(torch.equal(before[name], of_mid[name]) for name in of_mid)
    assert made.plan.optimizer.matrix_lr == pytest.approx(0.02 * BASE_RATES["matrix_lr"])
    assert made.plan.optimizer.head_lr == 0.5  # given
    assert made.plan.schedule.decay_fraction == 1.0
    loaded = load_model(folder / "sft")
    assert loaded.tokenizer.fingerprint == chat_tokenizer().fingerprint and loaded.step == 2
    assert (folder / "sft" / "loss.png").exists()
    assert SftConfig.load(folder / "sft" / "config.json").flat() == settings.placed().flat()

    again = sft(folder, init_from=str(folder / "sft"), out=str(folder / "again"), steps=1)
    rates = run(Sft, again)[0].plan.optimizer
    assert rates.embedding_lr == pytest.approx(0.02 * BASE_RATES["embedding_lr"])


def test_the_optimizers_state_goes_on(folder):
    def first_state(**changes):
        made = Sft(sft(folder, **changes))
        found = []
        begin = made._begin

        def watched():
            begin()
            found.extend(v for o in made.optimizers for s in o.state.values() for v in s.values())
            made.stop()

        made._begin = watched
        made.run()
        return found, made

    cold, _ = first_state(out=str(folder / "cold"))
    warm, made = first_state(out=str(folder / "warm"), init_optimizer=True)
    assert not cold and any(torch.is_tensor(one) and one.abs().sum() > 0 for one in warm)
    assert not made._begins_with_optimizer() or made.config.run.init_optimizer
    preset = first_state(out=str(folder / "2026"), preset="nanochat-2026")[0]
    assert len(preset) == len(warm)


def test_recipes():
    """As the table of recipes has them."""
    first, of_2026 = RECIPES["sft", "first"], RECIPES["sft", "nanochat-2026"]
    assert (first.lr_factor, first.rows, first.mask, first.batch_size(2048)) == (
        0.02, "single", True, 32,
    )  # fmt: skip
    assert (of_2026.lr_factor, of_2026.decay_fraction, of_2026.rows) == (0.8, 0.5, "best-fit")
    assert of_2026.batch_size(2048) == RECIPES["mid", "first"].batch_size(2048) == 256
    assert of_2026.tasks == "smoltalk; mmlu*3; gsm8k*4" and of_2026.init_optimizer
    assert recipe_of("sft", "auto", "nanochat-2026") is of_2026
    assert recipe_of("sft", "auto", "gpt") is first
    assert recipe_of("mid", "auto", "nanochat-2026") is RECIPES["mid", "first"]
    with pytest.raises(ValueError, match="no mid-training"):
        recipe_of("mid", "nanochat-2026", "gpt")


def test_a_base_of_2026_gives_its_recipe(tmp_path):
    make_base(tmp_path, preset="nanochat-2026", n_layer=2, n_head=1, d_model=128, steps=1)
    base = Base.of(str(tmp_path / "base"))
    assert base.optimizer.weight_decay == 0.0  # it went down to 0
    made, _, told = run(Sft, sft(tmp_path, steps=2))
    started = of_kind(told, StageStarted)[0]
    assert started.packing == "best-fit" and started.plan.schedule.decay_fraction == 0.5
    assert made.plan.optimizer.matrix_lr == pytest.approx(0.8 * base.optimizer.matrix_lr)
    assert "optimizer's state" in of_kind(told, Warned)[0].message


def test_epochs_decide_the_steps(folder):
    """Single rows: as many steps as there are conversations, by the batch."""
    made, result, told = run(
        Sft, sft(folder, tasks="identity[:64]", steps=None, epochs=1.5, batch_size=8)
    )
    assert result.step == made.plan.steps == 12
    assert of_kind(told, StageStarted)[0].epochs == 1.5
    other = {"tasks": "identity[:130]", "steps": None, "batch_size": None}
    made = stopped(sft(folder, **other, out=str(folder / "2")))
    assert (made.plan.batch_size, made.plan.steps) == (2, 65)  # a 64th of the horizon


def test_a_longer_context(folder):
    made, _, _ = run(Sft, sft(folder, context_length=2 * T, steps=2))
    assert load_model(folder / "sft").config.context_length == 2 * T
    assert made.rows.context_length == 2 * T


def test_an_average_is_what_is_kept(folder):
    run(Sft, sft(folder, ema=0.5, steps=3))
    resumed, result, _ = run(Sft, sft(folder, ema=0.5, steps=5), resume=True)
    assert result.step == 5 and resumed._average is not None


# Exact resume


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("name", "changes", "kill_at"),
    [
        ("mid", {"minutes": None}, 7),
        ("sft", {"rows": "best-fit", "replay": "0.3={}/base", "ema": 0.9, "ask_every": 5}, 8),
        ("sft", {"tasks": "0.6=spelling; 0.4=arithmetic", "init_optimizer": True}, 6),
    ],
)
def test_killed_and_resumed_is_the_same_bits(name, changes, kill_at, folder):
    stage, make = {"mid": (MidTraining, mid), "sft": (Sft, sft)}[name]
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    settings = make(folder, steps=12, checkpoint_every=5, eval_every=4, lr_factor=1.0, **changes)
    straight = settings.but(out=str(folder / "straight"))
    run(stage, straight)
    torch.manual_seed(12345)
    if name == "mid":  # before the first checkpoint: all is made again
        killed(stage, settings, 3)
    killed(stage, settings, kill_at, resume=True)
    assert CheckpointStore(folder / name).steps() == [5]
    _, result, told = run(stage, settings, resume=True)
    assert of_kind(told, StageStarted)[0].step == 5 and result.step == 12
    for step in (5, 10, 12):
        for file in ("model.safetensors", "optimizer.safetensors"):
            one, two = (
                CheckpointStore(folder / run_).path(step) / file for run_ in (name, "straight")
            )
            assert one.exists() == two.exists()
            if one.exists():
                assert one.read_bytes() == two.read_bytes(), (step, file)
    rows = [read_metrics(folder / r / "metrics.jsonl") for r in (name, "straight")]
    for row in rows[0] + rows[1]:
        row.pop("tokens_per_second", None)
        row.pop("time")
    assert rows[0] == rows[1]


def test_resumed_without_what_it_began_with(folder):
    """The base run may have gone; the seed's state may not."""
    settings = sft(folder, steps=4, checkpoint_every=2)
    run(Sft, settings)
    (folder / "base").unlink()
    _, result, told = run(Sft, settings.but(steps=6), resume=True)
    assert result.step == 6
    assert any("was begun for 4 steps and goes on to 6" in w.message for w in of_kind(told, Warned))
    for changes, message in (
        ({"tasks": "identity"}, "tasks was"),
        ({"mask": False}, "mask was None"),
        ({"preset": "nanochat-2026"}, "preset was 'auto'"),
        ({"lr_factor": 0.5}, "lr_factor was None"),
    ):
        with pytest.raises(ValueError, match=message):
            run(Sft, settings.but(**changes), resume=True)
    with pytest.raises(ValueError, match="there is a run in this folder already"):
        run(Sft, settings)


def test_other_data_at_resume(folder):
    chats = [
        Conversation((Message("user", f"a{i}"), Message("assistant", "b"))) for i in range(200)
    ]
    path = write_chats(folder / "own.jsonl", chats)
    settings = sft(folder, tasks=str(path), steps=2)
    run(Sft, settings)
    edited = Conversation((Message("user", "a77"), Message("assistant", "c")))
    for others in (chats[1:], [*chats[:77], edited, *chats[78:]]):
        write_chats(path, others)
        with pytest.raises(ValueError, match=r"resume with the tasks .*; items .* were edited"):
            run(Sft, settings.but(steps=4), resume=True)
    write_chats(path, chats)
    assert run(Sft, settings.but(steps=4), resume=True)[1].is_finished


def test_the_batch_stays_as_it_was_when_the_run_began(folder, monkeypatch):
    """It is derived from what there is then, such as the number of ranks."""
    settings = {"tasks": "identity[:640]", "batch_size": None, "checkpoint_every": 1}
    first = Sft(sft(folder, **settings, steps=1))
    first.run()
    assert first.plan.batch_size > 2
    monkeypatch.setattr("bytemill.lm.stages.stage._CPU_ROWS", 2)
    made, _, _ = run(Sft, sft(folder, **settings, steps=2), resume=True)
    assert made.plan.batch_size == first.plan.batch_size
