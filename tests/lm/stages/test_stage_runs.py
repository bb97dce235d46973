"""Stages as runs: what they begin with, their loss, exact resume, ranks, and wrong arguments."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill import Tokenizer
from bytemill.chat import SPECIAL_TOKENS, Conversation, Message, Renderer
from bytemill.lm.checkpoint.loading import find_checkpoint, load_model
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.stages import Asked, MidTraining, Sft, SftConfig, StageStarted
from bytemill.lm.stages.base import Base
from bytemill.lm.stages.recipes import RECIPES, recipe_of
from bytemill.lm.train import Trainer
from bytemill.lm.train.events import Stepped, Validated, Warned
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.steps.accumulate import accumulate
from tests.support.chats import chat_tokenizer
from tests.support.lm_runs import config, edit_state
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.ranks import on_ranks
from tests.support.stage_runs import T, make_base, mid, sft, write_chats

ROOT = Path(__file__).parents[3]
BASE_RATES = {"embedding_lr": 0.31, "head_lr": 0.007, "matrix_lr": 0.013, "vector_lr": 0.0071}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    make_base(folder, **BASE_RATES, weight_decay=0.25, checkpoint_every=2)
    return folder


@pytest.fixture
def folder(base, tmp_path):
    """A folder of its own, in which there is the base model, too."""
    (tmp_path / "base").symlink_to(base / "base")
    (tmp_path / "shards").symlink_to(base / "shards")
    return tmp_path


def run(stage, settings, **options):
    told = []
    made = stage(settings, on_event=told.append, **options)
    result = made.run()
    return made, result, told


def of_kind(told, kind):
    return [event for event in told if isinstance(event, kind)]


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


# The loss


def naive_loss(model, rows):
    """Mean cross-entropy over all counted targets, one row and one position at a time."""
    total, n = 0.0, 0
    for x, y in rows:
        logits = model(x[None])[0].double()
        for at, target in enumerate(y.tolist()):
            if target != -1:
                total -= torch.log_softmax(logits[at], 0)[target].item()
                n += 1
    return total / n


def uneven_rows(made):
    """Rows of the run's model, whose counted targets are very unequal in number."""
    random = torch.Generator().manual_seed(3)
    x = torch.randint(0, made.plan.model.vocab_size, (6, T), generator=random)
    y = torch.randint(0, made.plan.model.vocab_size, (6, T), generator=random)
    for row, counted in enumerate((1, 60, 2, 0, 17, 3)):
        y[row, : T - counted] = -1
    y[4] = torch.where(torch.arange(T) % 3 == 0, y[4], -1)
    y[5, 2:] = -1
    y[5, :2] = 7
    return x, y


def stopped(settings):
    """A run that is set up, and has made no step."""
    made = Sft(settings)
    made.stop()
    made.run()
    return made


def loss_of_ranks(group, settings):
    made = Sft(settings, world=Ranks(group))
    made.stop()
    made.run()
    x, y = uneven_rows(made)
    share = made.world.share((x, y))
    loss = accumulate(made._objective(), share, 2, world=made.world)
    assert not made.world.any(False)
    made.world.reduce(made.model.parameters())
    norm = made.world.clip(made.model.parameters(), float("inf"))
    return float(made.world.total(loss)), float(norm)


def test_the_loss_is_the_mean_over_what_counts(folder):
    """Unevenly masked rows, all at once, some at a time, and split over ranks, against a naive
    loop over positions."""
    made = stopped(sft(folder, init_optimizer=False))
    with torch.no_grad():
        for weight in made.model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    x, y = uneven_rows(made)
    with torch.no_grad():
        expected = naive_loss(made.model, list(zip(x, y, strict=True)))
    grads = []
    for rows in (1, 4, 6):
        made.model.zero_grad()
        loss = accumulate(made._objective(), (x, y), rows)
        assert float(loss) == pytest.approx(expected, abs=1e-6)
        grads.append([p.grad.clone() for p in made.model.parameters()])
    for other in grads[1:]:
        for one, two in zip(grads[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-7, rtol=1e-4)
    # A mean of the rows' means, which is wrong, is far off.
    counted = [pair for pair in zip(x, y, strict=True) if (pair[1] >= 0).any()]
    of_rows = [naive_loss(made.model, [pair]) for pair in counted]
    assert abs(np.mean(of_rows) - expected) > 1e-3


def both_ranks(group, folder, trained):
    found = [loss_of_ranks(group, trained)]
    for name, stage, settings in two_rank_runs(folder):
        told = []
        settings = settings.but(out=str(folder / f"two-{name}"))
        result = stage(settings, on_event=told.append, world=Ranks(group)).run()
        steps = [(e.loss, e.grad_norm) for e in told if isinstance(e, Stepped)]
        asked = [e.scores for e in told if isinstance(e, Asked)]
        found.append((steps, result.validation.loss, asked))
    return found


def two_rank_runs(folder):
    # Five Newton-Schulz steps: with eight, rounding alone parts two runs.
    common = {"ns_steps": 5, "steps": 12, "batch_size": 5, "ask_every": 12, "checkpoint_every": 6}
    replay = {"replay": f"0.3={folder / 'base'}"}
    return [
        ("mid", MidTraining, mid(folder, **common)),
        ("sft", Sft, sft(folder, rows="best-fit", lr_factor=0.5, **common, **replay)),
    ]


def test_two_ranks_are_one(folder):
    trained = sft(folder, out=str(folder / "set up"))
    (loss, norm), *runs = on_ranks(2, both_ranks, folder, trained)[0]
    made = stopped(trained.but(out=str(folder / "alone")))
    x, y = uneven_rows(made)
    made.model.zero_grad()
    own = accumulate(made._objective(), (x, y), 6)
    assert loss == pytest.approx(float(own), abs=1e-5)
    own_norm = torch.stack([p.grad.square().sum() for p in made.model.parameters()]).sum().sqrt()
    assert norm == pytest.approx(float(own_norm), abs=1e-5)
    for (name, stage, settings), (steps, validation, asked) in zip(
        two_rank_runs(folder), runs, strict=True
    ):
        made, result, told = run(stage, settings.but(out=str(folder / f"one-{name}")))
        alone = [(e.loss, e.grad_norm) for e in of_kind(told, Stepped)]
        assert len(alone) == 12
        np.testing.assert_allclose(steps, alone, rtol=0, atol=1e-5 * max(map(max, alone)))
        assert validation == pytest.approx(result.validation.loss, abs=1e-5)
        assert asked == [e.scores for e in of_kind(told, Asked)]
        # A checkpoint of two ranks is one that one rank goes on from.
        two = CheckpointStore(folder / f"two-{name}").path(6)
        assert two.is_dir()


@pytest.mark.parametrize("rows", ["single", "best-fit", "stream"])
def test_tokens_are_those_that_are_not_padding(rows, folder):
    """The log has the conversations' tokens, and what is said of the rows is about the same."""
    length = 160
    shape = {"rows": rows, "steps": 4, "batch_size": 5, "context_length": length}
    made, _, told = run(Sft, sft(folder, **shape, log_every=1))
    logged = [r["tokens"] for r in read_metrics(folder / "sft" / "metrics.jsonl") if "loss" in r]
    batches = stopped(sft(folder, out=str(folder / "same"), **shape))._source()
    end = chat_tokenizer().special_tokens["<|assistant_end|>"]
    expected = [0]
    for _ in range(4):
        _, y = batches.next_batch()
        # The last target of a padded row ends a conversation.
        empty = [0 if rows == "stream" else row.tolist()[::-1].index(end) for row in y]
        expected.append(expected[-1] + 5 * length - sum(empty))
    assert logged == expected[1:]
    (started,) = of_kind(told, StageStarted)
    share = logged[-1] / (4 * 5 * length)
    assert started.filled == 1.0 if rows == "stream" else abs(started.filled - share) < 0.15
    assert started.counted < started.filled
    assert of_kind(told, Stepped)[-1].tokens == logged[-1]
    assert made._loop.pace.tokens == logged[-1]


# Exact resume

KILLED = """
import os, signal, sys, time
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.stages import MidConfig, MidTraining, Sft, SftConfig
from bytemill.lm.train.events import Stepped

kind, stage = {"mid": (MidConfig, MidTraining), "sft": (SftConfig, Sft)}[sys.argv[1]]

def listen(event):
    if isinstance(event, Stepped) and event.step == int(sys.argv[3]):
        last = (event.step - 1) // config.run.checkpoint_every * config.run.checkpoint_every
        while last and not CheckpointStore(config.run.out).path(last).is_dir():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

config = kind.load(sys.argv[2])
stage(config, on_event=listen, resume=len(sys.argv) > 4).run()
"""


def killed(name, settings, folder, step, *options):
    path = folder / "settings.json"
    settings.save(path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, name, str(path), str(step), *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


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
        killed(name, settings, folder, 3)
    killed(name, settings, folder, kill_at, "resume")
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


# Replay


def test_replay_of_a_base_run_a_stage_and_shards(folder):
    """Each share of the rows is the other data's: shards' rows count throughout, an earlier
    stage's are as that stage packs them."""
    run(MidTraining, mid(folder, steps=1))
    parts = f"0.25={folder / 'base'}; 0.25={folder / 'mid'}; 0.25={folder / 'shards'}"
    made = stopped(sft(folder, replay=parts, batch_size=200))
    x, y = made._source().next_batch()
    whole = (y != -1).all(dim=1).float().mean().item()  # all but SFT's own, which are masked
    assert abs(whole - 0.75) < 4 * (0.75 * 0.25 / 200) ** 0.5
    own = [i for i in range(200) if not (y[i] != -1).all()]
    assert all(int(x[i, 0]) == chat_tokenizer().special_tokens["<|bos|>"] for i in own)
    assert all((y[i] != -1).any() for i in own)


def test_relative_paths_are_right_in_another_working_folder(folder, monkeypatch):
    """What a run of relative paths keeps is enough to go on anywhere, and gives the same bits."""
    chats = [
        Conversation((Message("user", f"what of {i}"), Message("assistant", f"it is {i * i}")))
        for i in range(30)
    ]
    write_chats(folder / "own.jsonl", chats)
    monkeypatch.chdir(folder)
    fields = {"tasks": "own.jsonl[:20]*2; identity[:60]", "replay": " 0.3=base ;0.2=shards"}
    settings = sft(folder, **fields, init_from="base", out="whole")
    run(Sft, settings)
    made = Sft(
        settings.but(out="cut"),
        on_event=lambda event: (
            made.stop() if isinstance(event, Stepped) and event.step == 3 else None
        ),
    )
    assert made.run().step == 3
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    kept = SftConfig.load(folder / "cut" / "config.json")
    assert kept.data.replay == f"0.3={folder / 'base'}; 0.2={folder / 'shards'}"
    assert kept.data.tasks == f"{folder / 'own.jsonl'}[:20]*2; identity[:60]"
    assert kept.placed() == kept
    run(Sft, kept.but(out=str(folder / "cut")), resume=True)
    whole, went_on = (load_model(folder / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], went_on[name]) for name in whole)


@pytest.mark.parametrize(
    ("replay", "error", "message"),
    [
        ("shards", ValueError, "not like 0.1=runs/base"),
        ("1.5=x", ValueError, "not like 0.1=runs/base"),
        ("0.5={0}/shards;0.5={0}/base", ValueError, "must come to less than 1"),
        ("0.5={0}/none", FileNotFoundError, "none"),
        ("0.5={0}/others", ValueError, "tokenizer"),
    ],
)
def test_bad_replay(replay, error, message, folder):
    other = Tokenizer.train(["some other text " * 50], 270, list(SPECIAL_TOKENS))
    (folder / "other.txt").write_text("<|bos|>a text<|bos|>another" * 50)
    other.encode_files(
        folder / "other.txt", folder / "others", separator="<|bos|>", separator_at="start"
    )
    with pytest.raises(error, match=message):
        run(Sft, sft(folder, replay=replay.format(folder)))
    assert not (folder / "sft").exists()


# Wrong arguments: nothing is left behind


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"init_from": "{}/none"}, FileNotFoundError, "no checkpoint is there"),
        ({"tasks": "gsm8k"}, FileNotFoundError, "bytemill download hf:openai/gsm8k"),
        ({"tasks": "smoltalk"}, FileNotFoundError, "bytemill download hf:HuggingFaceTB"),
        ({"tasks": None}, FileNotFoundError, "bytemill download hf:allenai/ai2_arc"),
        ({"tasks": "humaneval"}, ValueError, "for the final table only"),
        ({"tasks": "spelling-new-wordings"}, ValueError, "for the final table only"),
        ({"tasks": "gsm8k:test"}, ValueError, "for the final table only"),
        ({"tasks": "speling"}, ValueError, "neither a task nor a file"),
        ({"tasks": ";"}, ValueError, "names no task"),
        ({"tasks": "identity*0"}, ValueError, "at least once"),
        ({"tasks": "identity*1000000000000"}, ValueError, "at most 1,000 times"),
        ({"sample_prompt": "x" * 90, "sample_every": 9}, ValueError, "and the context 64"),
        ({"sample_prompt": "\udc80", "sample_every": 9}, ValueError, "sample_prompt=.*surrogate"),
        ({"tasks": "identity[3]"}, ValueError, "a slice is"),
        ({"tasks": "identity[5:5]"}, ValueError, "has no items"),
        ({"tasks": "x=identity"}, ValueError, "neither a task nor a file"),
        ({"tasks": "0=identity"}, ValueError, "a weight is a number above 0"),
        ({"tasks": "0.5=identity*2"}, ValueError, "a weight and repeats"),
        ({"tasks": "0.5=identity; spelling"}, ValueError, "give all of them one, or none"),
        ({"tasks": "0.5=identity", "steps": None}, ValueError, "give steps"),
        ({"tasks": "0.5=identity", "epochs": 2.0}, ValueError, "give steps"),
        ({"tasks": "{}/none.jsonl"}, FileNotFoundError, "none.jsonl"),
        ({"tasks": "{}/base"}, ValueError, "whose data replay= takes"),
        ({"tasks": "{}/bad.jsonl"}, ValueError, "bad.jsonl:2: not a conversation"),
        ({"context_length": 2}, ValueError, "nothing to learn in any conversation"),
        ({"words": "{}/none.txt"}, FileNotFoundError, "none.txt"),
    ],
)
def test_wrong_arguments(changes, error, message, folder):
    write_chats(folder / "bad.jsonl", [Conversation((Message("user", "a"),))] * 3)
    lines = (folder / "bad.jsonl").read_text().splitlines()
    (folder / "bad.jsonl").write_text("\n".join([lines[0], '{"messages": []}', lines[1]]))
    changes = {k: v.format(folder) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(error, match=message):
        run(Sft, sft(folder, **{"data": str(folder / "data"), **changes}))
    assert not (folder / "sft").exists()


def test_fields():
    with pytest.raises(TypeError, match="'init_from' is missing"):
        SftConfig.of(out="x")
    with pytest.raises(ValueError, match="a stage's horizon is given by epochs"):
        SftConfig.of(out="x", init_from="y", flops=1.0)


@pytest.mark.parametrize("last", ["nothing", "too long"])
def test_a_validation_that_has_nothing_to_learn(folder, last):
    """What is kept back is of no use, what is trained on is."""
    good = Conversation((Message("user", "a"), Message("assistant", "b")))
    bad = Conversation((Message("user", "a"),))
    if last == "too long":
        bad = Conversation((Message("user", "long " * 200), *good.messages[1:]))
    path = write_chats(folder / "own.jsonl", [good] * 19 + [bad])
    _, result, told = run(Sft, sft(folder, tasks=str(path), steps=1))
    assert result.is_finished and result.validation is None
    assert any("nothing is validated" in event.message for event in of_kind(told, Warned))
    none = write_chats(folder / "none.jsonl", [bad] * 3)
    with pytest.raises(ValueError, match="nothing to learn in any conversation"):
        run(Sft, sft(folder, tasks=f"1={none}", out=str(folder / "none")))


def test_the_batch_stays_as_it_was_when_the_run_began(folder, monkeypatch):
    """It is derived from what there is then, such as the number of ranks."""
    settings = {"tasks": "identity[:640]", "batch_size": None, "checkpoint_every": 1}
    first = Sft(sft(folder, **settings, steps=1))
    first.run()
    assert first.plan.batch_size > 2
    monkeypatch.setattr("bytemill.lm.stages.stage._CPU_ROWS", 2)
    made, _, _ = run(Sft, sft(folder, **settings, steps=2), resume=True)
    assert made.plan.batch_size == first.plan.batch_size


def test_bad_lines_are_passed_over_and_counted(folder):
    good = Conversation((Message("user", "a"), Message("assistant", "b")))
    path = write_chats(folder / "own.jsonl", [good] * 30)
    path.write_text(path.read_text() + "nonsense\n[]\n")
    made, _, told = run(Sft, sft(folder, tasks=str(path), skip_bad=True, steps=1))
    assert len(made.mixture.bad) == 2
    assert any(
        w.message.startswith("2 lines are not conversations and are left out: ")
        for w in of_kind(told, Warned)
    )


def test_a_tokenizer_without_the_special_tokens(tmp_path):
    from tests.support.lm_runs import make_shards

    make_shards(tmp_path)
    Trainer(
        config(
            tmp_path, data=str(tmp_path / "shards"), tokenizer=str(tmp_path / "tokenizer"),
            out=str(tmp_path / "base"), steps=1,
        )
    ).run()  # fmt: skip
    with pytest.raises(ValueError, match=r"no special token <\|user_start\|>"):
        run(Sft, sft(tmp_path))
    (tmp_path / "sft").exists()


def test_another_tokenizer_in_the_models_folder(folder):
    """Of the same size, it would be taken without a word."""
    shutil.copytree(folder / "base", folder / "other")
    own = chat_tokenizer()
    Tokenizer.from_ranks(own.mergeable_ranks, own.special_tokens, pattern=r"\S+|\s+").save(
        folder / "other" / "tokenizer"
    )
    for load in (Base.of, load_model):
        with pytest.raises(ValueError, match=r"tokenizer: its fingerprint is .* put that one back"):
            load(str(folder / "other"))


def test_without_a_tokenizer(folder):
    from tests.support.lm_runs import make_ids

    make_ids(folder)
    Trainer(config(folder, out=str(folder / "plain"), steps=1)).run()
    with pytest.raises(FileNotFoundError, match="no tokenizer beside it"):
        run(Sft, sft(folder, init_from=str(folder / "plain")))


def test_a_stage_is_not_another_one(folder):
    run(MidTraining, mid(folder, steps=1))
    with pytest.raises(ValueError, match="of the kind 'bytemill-mid-train-config'"):
        run(Sft, sft(folder, out=str(folder / "mid")), resume=True)
    found = find_checkpoint(folder / "mid")

    def damaged(state):
        state["extra"]["more"]["base"]["head_lr"] = "high"
        return state

    edit_state(found.path, damaged)
    with pytest.raises(ValueError, match="its base rates are damaged"):
        run(Sft, sft(folder, init_from=str(folder / "mid")))


def test_what_is_kept_for_validation_is_not_trained_on(folder):
    chats = [Conversation((Message("user", f"a{i}"), Message("assistant", "b"))) for i in range(60)]
    path = write_chats(folder / "own.jsonl", chats)
    made = stopped(sft(folder, tasks=f"{path}; {path}[:30]*2"))
    train = [
        share.task[i].conversation.messages[0].text
        for share in made.mixture.train
        for i in range(len(share.task))
    ]
    val = {
        share.task[i].conversation.messages[0].text
        for share in made.mixture.val
        for i in range(len(share.task))
    }
    assert (
        len(val) == 3 and not val & set(train) and val | set(train) == {f"a{i}" for i in range(60)}
    )
    rendered = {tuple(Renderer(chat_tokenizer()).render(chats[int(t[1:])]).ids[:-1]) for t in val}
    rows = [row for x, _ in made._val_batches for row in x.tolist()]
    assert {tuple(row[: len(next(iter(rendered)))]) for row in rows} & rendered
    json.dumps(dataclasses.asdict(made.config))
