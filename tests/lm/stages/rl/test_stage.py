"""Reinforcement learning as a stage: from a fine-tuned run's folder to a run's folder."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from bytemill.chat import Renderer
from bytemill.lm.checkpoint.loading import load_model
from bytemill.lm.checkpoint.state import read_file, take_snapshot
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.distributed.ranks import Ranks
from bytemill.lm.evaluate.pass_at_k import mean_pass_at_k
from bytemill.lm.stages import Sft, SftConfig
from bytemill.lm.stages.rl.config import RlConfig
from bytemill.lm.stages.rl.problems import Problems
from bytemill.lm.stages.rl.rollouts import Question, roll_out
from bytemill.lm.stages.rl.settings import RlSettings
from bytemill.lm.stages.rl.stage import REFERENCE, Rl
from bytemill.lm.train.metrics import read_metrics
from bytemill.lm.train.steps.world import ALONE
from tests.support.chats import chat_tokenizer
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.programs import call
from tests.support.ranks import on_ranks
from tests.support.rewards import Lengths, assistant

METRICS = "metrics.jsonl"
TASKS = "0.5=arithmetic; 0.5=identity"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run of SFT, of two steps."""
    folder = tmp_path_factory.mktemp("tuned")
    chat_tokenizer().save(folder / "base" / "tokenizer")
    model = assistant(context_length=64)
    CheckpointStore(folder / "base").write(
        1, take_snapshot(model, []), model_config=model.config.to_dict()
    )
    settings = SftConfig.of(
        init_from=str(folder / "base"), out=str(folder / "sft"), tasks=TASKS, steps=2,
        batch_size=4, ask_every=0, eval_tokens=64, threads=1, dtype="float32", device="cpu",
    )  # fmt: skip
    Sft(settings).run()
    return folder / "sft"


def config(tuned, out, **changes):
    fields = {
        "init_from": str(tuned), "out": str(out), "tasks": TASKS, "steps": 4, "questions": 2,
        "samples": 3, "max_new_tokens": 8, "updates": 2, "clip": 0.2, "kl": 0.1,
        "replay_rows": 2, "eval_problems": 4, "eval_samples": 2, "eval_every": 2,
        "checkpoint_every": 1, "threads": 1, "dtype": "float32", "device": "cpu",
        "lr_factor": 1.0,
    }  # fmt: skip
    return RlConfig.of(**{**fields, **changes})


def weights(run):
    return torch.cat([p.flatten() for p in load_model(run, which="last").model.parameters()])


def stopping(step):
    def listen(event):
        if getattr(event, "step", 0) == step:
            stage.stop()

    stage = None

    def start(*args, **options):
        nonlocal stage
        stage = Rl(*args, on_event=listen, **options)
        return stage.run()

    return start


def test_a_run_that_is_stopped_in_a_batch_goes_on_with_the_same_bits(tuned, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = Rl(config(tuned, whole)).run()
    assert result.is_finished and result.step == 4
    assert {path.name for path in whole.iterdir()} >= {
        "config.json", "tokenizer", "metrics.jsonl", "checkpoints", REFERENCE,
    }  # fmt: skip
    assert not torch.equal(weights(whole), weights(tuned))
    for step in (1, 2):
        assert not stopping(step)(config(tuned, parts), resume=step > 1).is_finished
    Rl(RlConfig.load(parts / "config.json"), resume=True).run()
    assert torch.equal(weights(whole), weights(parts))
    lines = [
        [{k: v for k, v in line.items() if "second" not in k and k != "time"} for line in lines]
        for lines in (read_metrics(whole / METRICS), read_metrics(parts / METRICS))
    ]
    assert lines[0] == lines[1]
    assert {"reward", "truncated", "skipped", "reply_tokens", "clipped", "kl"} <= lines[0][0].keys()
    validated = [line for line in lines[0] if "val_loss" in line]
    assert [line["step"] for line in validated] == [1, 2, 3, 4]
    assert all(line["val_loss"] == 1 - line["pass@1"] for line in validated)


def _on_ranks(group, settings):
    Rl(settings, world=Ranks(group)).run()


def test_the_stage_on_two_ranks(tuned, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    Rl(config(tuned, one)).run()
    on_ranks(2, _on_ranks, config(tuned, two))
    change = (weights(one) - weights(tuned)).norm()
    assert (weights(one) - weights(two)).norm() < 1e-3 * change
    figures = [
        [
            (line.get("reward"), line.get("pass@1"), line["tokens"])
            for line in read_metrics(run / METRICS)
        ]
        for run in (one, two)
    ]
    assert figures[0] == figures[1]


def test_problems_are_solved_as_often_as_is_counted_by_hand(tmp_path):
    model, renderer = assistant(), Renderer(chat_tokenizer())
    settings = RlSettings(max_new_tokens=8, top_k=20, truncated="keep")
    tasks = {"a": (Lengths(9), 3.0), "b": (Lengths(9, "tell {}"), 1.0)}
    problems = Problems(tasks, 12, 3, settings, seed=5)
    assert len(problems) == 12
    found = problems.solved(model, renderer, ALONE, None)
    rewards = []
    for number, (task, share) in enumerate(tasks.values()):
        items = [task[i] for i in range(int(3 * share))]
        asked = [
            Question(i, item, renderer.prompt(item.conversation)) for i, item in enumerate(items)
        ]
        own = RlSettings(samples=3, max_new_tokens=8, top_k=20)
        made = roll_out(model, renderer, task, asked, own, seed=5, batch=-1 - number)
        of_task = [[one.reward for one in made[3 * i : 3 * i + 3]] for i in range(len(asked))]
        name = f"pass@1 {'ab'[number]}"
        assert found[name] == pytest.approx(mean_pass_at_k(of_task, 1))
        rewards += of_task
    for k in (1, 2, 3):
        assert found[f"pass@{k}"] == pytest.approx(mean_pass_at_k(rewards, k))
    assert 0 < found["pass@1"] < found["pass@3"] <= 1
    assert problems.solved(model, renderer, ALONE, None) == found


def test_the_command(tuned, tmp_path, capsys):
    out = tmp_path / "run"
    words = (
        f"rl --init-from {tuned} --out {out} --tasks arithmetic-3[:40] --questions 2 --samples 2 "
        "--max-new-tokens 4 --steps 2 --eval-problems 2 --eval-samples 2 --threads 1 --device cpu"
    )
    status, told, err = call(capsys, *words.split())
    assert status == 0, err
    assert json.loads((out / "config.json").read_text())["format"] == RlConfig.FORMAT
    assert "2 questions, 2 replies to each" in told + err
    assert "reward" in told + err and "pass@2" in told + err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": "humaneval"}, "final table only"),
        ({"replay": "arithmetic; spelling[:0]"}, "has no items"),
        ({"steps": None}, "give steps"),
        ({"sample_prompt": "x" * 90, "sample_every": 9}, "and the context 64"),
        ({"tasks": "0.5=arithmetic; identity"}, "give all of them one"),
    ],
)
def test_what_cannot_be(tuned, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        Rl(config(tuned, tmp_path / "run", **changes)).run()
    assert not (tmp_path / "run").exists()


def test_with_adapters_the_reference_is_the_model_without(tuned, tmp_path):
    out = tmp_path / "run"
    Rl(config(tuned, out, lora_rank=2, steps=2, updates=1, truncated="keep")).run()
    lines = read_metrics(out / METRICS)
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-6)
    before = load_model(tuned).model.state_dict()
    kept = read_file(out / REFERENCE)
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[name], before[name]) for name in kept)


def test_replaying_needs_to_know_what(tuned, tmp_path):
    base = tuned.parent / "base"
    with pytest.raises(ValueError, match="say with replay"):
        Rl(config(base, tmp_path / "run")).run()


def test_the_recipe(tuned, tmp_path):
    stage = Rl(config(tuned, tmp_path / "run", lr_factor=None, steps=1, updates=1, kl=None))
    stage.run()
    plan, base = stage.plan, stage.base.optimizer
    assert plan.optimizer.matrix_lr == pytest.approx(0.05 * base.matrix_lr)
    assert plan.schedule.multiplier(0) == 1 and plan.schedule.decay_fraction == 1
    usual = RlConfig.of(init_from="a", out="b")
    settings = usual.rollouts
    assert (settings.questions, settings.samples, settings.max_new_tokens) == (16, 16, 256)
    assert (settings.temperature, settings.top_k, usual.data.tasks) == (1.0, 50, "gsm8k")
    assert settings.clip is None and settings.kl is None and not settings.divide_by_deviation


def test_a_reference_that_another_beginning_left(tuned, tmp_path):
    """A run that saved nothing leaves its reference; the next one in the folder has its own."""
    out, changes = tmp_path / "run", {"steps": 1, "updates": 1, "replay_rows": 0}
    Rl(config(tuned.parent / "base", out, **changes)).run()
    (other,) = (out / "checkpoints").glob("step-*")
    shutil.rmtree(out / "checkpoints")
    left = read_file(out / REFERENCE)
    Rl(config(tuned, out, **changes)).run()
    own, wanted = read_file(out / REFERENCE), load_model(tuned).model.state_dict()
    assert all(torch.equal(own[name], wanted[name]) for name in wanted)
    assert not all(torch.equal(left[name], wanted[name]) for name in wanted), other
    (out / REFERENCE).unlink()
    with pytest.raises(ValueError, match="without which the run cannot go on"):
        Rl(config(tuned, out, **{**changes, "steps": 2}), resume=True).run()


def test_other_questions_at_resume(tuned, tmp_path):
    """Where data and words lie may change; what is in them may not."""
    for name, words in (("a", "apple banana cherry"), ("b", "elppa ananab yrrehc")):
        (tmp_path / name).write_text(words)
    changes = {"tasks": "spelling[:40]", "updates": 1, "replay_rows": 0, "kl": None}
    out = tmp_path / "run"
    Rl(config(tuned, out, **changes, words=str(tmp_path / "a"), steps=1)).run()
    with pytest.raises(ValueError, match="questions of content"):
        Rl(config(tuned, out, **changes, words=str(tmp_path / "b"), steps=2), resume=True).run()
    (tmp_path / "a").rename(tmp_path / "c")
    result = Rl(config(tuned, out, **changes, words=str(tmp_path / "c"), steps=2), resume=True)
    assert result.run().step == 2


def test_a_run_with_bad_lines_is_replayed(tuned, tmp_path):
    good = {"messages": [{"role": r, "content": r} for r in ("user", "assistant")]}
    chats = tmp_path / "chats.jsonl"
    chats.write_text("\n".join([json.dumps(good)] * 3 + ["[]"]))
    settings = SftConfig.of(
        init_from=str(tuned), out=str(tmp_path / "sft"), tasks=str(chats), steps=1, batch_size=1,
        ask_every=0, skip_bad=True, threads=1, dtype="float32", device="cpu",
    )  # fmt: skip
    Sft(settings).run()
    run = config(tmp_path / "sft", tmp_path / "run", steps=1, updates=1, kl=None)
    assert Rl(run).run().is_finished
