"""The benchmark of the recipe of 2026 trains what it says, and goes on where it was stopped."""

import json

import pytest

pytest.importorskip("torch")

from benchmarks import recipe
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.plan import plan
from tests.support.lm_runs import documents
from tests.support.one_thread import one_thread  # noqa: F401


@pytest.mark.parametrize("name", [f"- {name}" for name in recipe.WITHOUT])
def test_a_part_left_out_is_one_that_the_recipe_has(name):
    plans = [
        plan(config.model, config.optimizer, config.schedule, 4096, dial="cpu")
        for fields in (recipe.BASES[recipe.WHOLE], recipe.rows()[name])
        for config in [TrainConfig.of(data="", out="", depth=4, steps=100, **fields)]
    ]
    differs = [
        part
        for part in ("model", "optimizer", "schedule")
        if getattr(plans[0], part) != getattr(plans[1], part)
    ]
    # The gates of value embeddings count among the parameters that the decay is scaled by.
    assert differs == (["model", "optimizer"] if name == "- value embeddings" else differs[:1])
    assert differs


def test_it_runs_and_goes_on(tmp_path, capsys, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text("<|endoftext|>".join(documents(80)))
    common = ["--text", str(text), "--vocab-size", "280", "--depth", "1", "--context-length", "16"]
    common += ["--batch-size", "2", "--eval-tokens", "200", "--minutes", "0.01", "--threads", "1"]
    common += ["--out", str(tmp_path / "out")]
    names = ["gpt", "nanochat-2026", "- smear"]
    assert recipe.main([*common, "--only", ",".join(names[:2])]) == 0
    # What was made is not made again.
    made, real = [], recipe.train
    monkeypatch.setattr(recipe, "train", lambda *args: made.append(args[0]) or real(*args))
    assert recipe.main([*common, "--only", ",".join(names), "--markdown"]) == 0
    assert [fields.get("smear") for fields in made] == [False]
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "out" / "recipe.jsonl").open()]
    assert [line["name"] for line in lines] == names
    assert all(line["steps"] >= 1 and 0 < line["bits_per_byte"] < 9 for line in lines)
    whole = next(line for line in lines if line["name"] == "nanochat-2026")
    for line in lines:
        apart = line["bits_per_byte"] - whole["bits_per_byte"]
        assert f"| {line['bits_per_byte']:.4f} | {apart:+.4f} |".replace(
            " ", ""
        ) in printed.replace(" ", "")
    # Other settings are other runs.
    assert recipe.main([*common, "--only", "gpt", "--depth", "2"]) == 0
    assert len(made) == 2


def test_a_trial_that_fails_ends_the_others(tmp_path, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text("<|endoftext|>".join(documents(30)))
    real = recipe._config
    monkeypatch.setattr(
        recipe,
        "_config",
        lambda fields, *rest: real(
            {**fields, "matrix_lr": 1e38} if "smear" in fields else fields, *rest
        ),
    )
    common = ["--text", str(text), "--vocab-size", "270", "--depth", "1", "--context-length", "16"]
    common += ["--batch-size", "2", "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="nan"):
        recipe.main([*common, "--only", "gpt,- smear,nanochat-2026"])
    assert not (tmp_path / "out" / "speeds.jsonl").exists()


def test_a_run_that_fails_is_told_and_made_again(tmp_path, capsys, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text("<|endoftext|>".join(documents(30)))

    def failing(*args):
        raise ValueError("step 3: the loss is nan")

    monkeypatch.setattr(recipe, "train", failing)
    common = ["--text", str(text), "--vocab-size", "270", "--out", str(tmp_path / "out")]
    for n in (1, 2):
        assert recipe.main([*common, "--only", "gpt"]) == 1
        assert len((tmp_path / "out" / "recipe.jsonl").read_text().splitlines()) == n
    assert "the loss is nan" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="--only chatgpt: the runs are gpt"):
        recipe.main([*common, "--only", "chatgpt"])
