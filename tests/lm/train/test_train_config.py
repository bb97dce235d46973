"""`TrainConfig`: typed, checked, and the same after a file or the command line."""

import dataclasses
import json

import pytest

pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill.cli import train
from bytemill.lm import ModelConfig
from bytemill.lm.optim.groups import OptimConfig
from bytemill.lm.optim.schedule import ScheduleConfig
from bytemill.lm.settings import description
from bytemill.lm.settings_tree import groups, leaves
from bytemill.lm.train import TrainConfig
from bytemill.lm.train.config import RunConfig
from bytemill.lm.train.model_settings import ModelSettings, model_config

LEAVES = leaves(TrainConfig)


def read(args):
    """The configuration that a command line gives."""
    return train.read_config(args, TrainConfig, "data")


def simple(**fields):
    return TrainConfig.of(**{"data": "d", "out": "o", **fields})


def value_of(leaf):
    """Any value that the field can have."""
    kind, range_ = leaf.kind, leaf.field.metadata
    low, above, most, below = (range_[name] for name in ("least", "above", "most", "below"))
    if kind.choices:
        values = st.sampled_from(kind.choices)
    elif kind.plain is bool:
        values = st.booleans()
    elif kind.plain is str:
        values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
        values = values.filter(lambda text: text != "none")
    elif kind.plain is int:
        values = st.integers(low, most)
    else:
        values = st.floats(
            above if low is None else low,
            below if most is None else most,
            exclude_min=above is not None,
            exclude_max=below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    for word in kind.words:
        values |= st.just(word)
    return st.none() | values if kind.optional else values


CONFIGS = st.builds(TrainConfig.of, **{name: value_of(leaf) for name, leaf in LEAVES.items()})


@settings(max_examples=50, deadline=None)
@given(CONFIGS)
def test_a_file_gives_it_back(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "config.json"
    config.save(path)
    assert TrainConfig.load(path) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.of(**config.flat()) == config


def flags_of(fields):
    flags = []
    for name, value in fields.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-"))
        elif LEAVES[name].kind.plain is not bool:  # "auto" is said by saying nothing
            flags.append(f"{flag}={'none' if value is None else value}")
    return flags


@settings(max_examples=50, deadline=None)
@given(CONFIGS)
def test_flags_give_it_back(config):
    assert read(train.parser().parse_args(flags_of(config.flat()))) == config


def test_flags_go_over_a_file(tmp_path):
    simple(steps=7, seed=3).save(tmp_path / "c.json")
    args = ["--config", str(tmp_path / "c.json"), "--seed", "4", "--out", "p"]
    config = read(train.parser().parse_args(args))
    assert config == simple(steps=7, seed=4, out="p")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ModelConfig)])
@pytest.mark.parametrize("preset", ["gpt", "cs336"])
def test_every_field_of_a_model_is_a_flag_and_a_key(name, preset, tmp_path):
    usual = model_config(ModelSettings(preset=preset, depth=2), 512)
    value = another(usual, name)
    assert value != getattr(usual, name)
    # One is nothing without the other.
    also = {"window": {"window_pattern": "S"}, "window_pattern": {"window": 9}}.get(name, {})
    fields = {**also, name: value}
    flags = ["--data", "d", "--out", "o", "--preset", preset, "--depth", "2"]
    given_ = train.parser().parse_args([*flags, *flags_of(fields)])
    assert getattr(model_config(read(given_).model, 512), name) == value
    path = tmp_path / "c.json"
    part = {"preset": preset, "depth": 2, **fields}
    path.write_text(json.dumps({"model": part, "data": {"path": "d"}, "run": {"out": "o"}}))
    assert getattr(model_config(TrainConfig.load(path).model, 512), name) == value


def another(config, name):
    """A value for a field that it has not, and may have."""
    value, kind = getattr(config, name), LEAVES[name].kind
    by_name = {"n_head": 1, "n_kv_head": 1, "window_pattern": "SL", "dropout": 0.25, "d_model": 64}
    if name in by_name:
        return by_name[name]
    if kind.choices:
        return next(choice for choice in kind.choices if choice not in (value, "auto"))
    if isinstance(value, bool):
        return not value
    if kind.optional and value is not None:
        return None
    return 7 if value is None else 2 * value


def test_no_cap_is_not_the_presets_cap():
    assert model_config(simple(preset="gpt").model, 512).logit_softcap == 15.0
    assert model_config(simple(preset="gpt", logit_softcap=None).model, 512).logit_softcap is None


def test_every_field_is_documented():
    text = "".join(train.parser().format_help().split())  # lines break at spaces and hyphens
    for name, leaf in LEAVES.items():
        assert "--" + name.replace("_", "-") in text
        assert len(leaf.field.metadata["help"]) > 5
        assert "".join(description(leaf.field).split()) in text, name
        # Whoever leaves it out can read what it comes to.
        assert leaf.is_required or "(default: " in description(leaf.field), name
    for part in groups(TrainConfig):
        assert f"{part}:--" in text


def test_parts_stand_alone():
    other = OptimConfig(kind="adamw", matrix_lr=0.5), ScheduleConfig(steps=3), RunConfig(out="o")
    whole = TrainConfig(
        optimizer=other[0],
        schedule=other[1],
        run=other[2],
        data=simple().data,
        model=simple().model,
    )
    assert whole == simple(optimizer="adamw", matrix_lr=0.5, steps=3)
    with pytest.raises(TypeError, match=r"schedule=.*it must be of type ScheduleConfig"):
        dataclasses.replace(whole, schedule={"steps": 3})


BAD = [
    ("depth", 0, ValueError, "it must be at least 1"),
    ("depth", True, TypeError, 'it must be an integer or "auto"'),
    ("depth", 2.0, TypeError, "it must be an integer"),
    ("steps", -5, ValueError, "it must be at least 1"),
    ("matrix_lr", float("inf"), ValueError, "it must be at least 0"),
    ("matrix_lr", float("nan"), ValueError, "it must be at least 0"),
    ("beta1", 1.0, ValueError, "it must be at least 0 and below 1"),
    ("ns_steps", 99, ValueError, "and at most"),
    ("final_fraction", 1.5, ValueError, "it must be at least 0 and at most 1"),
    ("preset", "gpt2", ValueError, "it must be one of"),
    ("data", None, TypeError, "it must be a string"),
    ("seed", None, TypeError, "it must be an integer"),
    ("val_data", 3, TypeError, "it must be a string or null"),
    ("tensorboard", 1, TypeError, "it must be true or false"),
    ("grad_clip", 0.0, ValueError, "it must be above 0"),
]


@pytest.mark.parametrize(("name", "value", "kind", "words"), BAD)
def test_values_are_checked(name, value, kind, words, tmp_path):
    leaf = LEAVES[name]
    with pytest.raises(kind, match=rf"^{leaf.field.name}={value!r}: .*{words}"):
        simple(**{name: value})
    parts = simple().to_dict()
    parts[leaf.part][leaf.field.name] = value
    with pytest.raises(kind, match=rf"^c.json: {leaf.part}.{leaf.field.name}=.*: .*{words}"):
        TrainConfig.from_dict(parts, "c.json")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--depth", "0"], "--depth 0: it must be at least 1"),
        (["--weight-decay", "-1"], "--weight-decay -1.0: it must be at least 0"),
        (["--optimizer", "adamw", "--beta2", "1"], "--beta2 1.0: it must be at least 0 and below"),
    ],
)
def test_flags_are_named_as_flags(flags, words):
    args = train.parser().parse_args(["--data", "d", "--out", "o", *flags])
    with pytest.raises(ValueError, match=words):
        read(args)


def test_an_integer_is_a_number():
    config = simple(eps=1, matrix_lr=1)
    assert repr(config.optimizer.eps) == "1.0"
    assert config == TrainConfig.from_dict(config.to_dict())


@pytest.mark.parametrize("fields", [{"dept": 4}, {"model": 4}])
def test_unknown_fields(fields):
    with pytest.raises(TypeError, match=f"unknown field '{next(iter(fields))}'"):
        simple(**fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is not JSON"),
        ("[]", "does not hold a JSON object"),
        ('{"model": {"layers": 3}}', 'unknown key "layers" in "model"; did you mean "n_layer"?'),
        ('{"run": {"n_layers": 3}}', 'in "run"; did you mean "n_layer" in "model"?'),
        ('{"run": {"steps": 3}}', 'unknown key "steps" in "run"; "steps" belongs in "schedule"'),
        ('{"steps": 3}', 'unknown key "steps"; "steps" belongs in "schedule"'),
        ('{"run": {"data": "d"}}', '"data" in "run"; "path" belongs in "data"'),
        ('{"optimizer": {"optimizer": "muon"}}', 'in "optimizer"; the key is "kind"'),
        ('{"optimiser": {}}', 'unknown key "optimiser"; did you mean "optimizer"?'),
        ('{"run": {"xyz": 1}}', 'in "run"; its keys are out, seed'),
        ('{"run": 3}', '"run" holds 3; it must hold an object'),
        ('{"data": {"path": "d"}}', '"run" has no "out"'),
        ('{"format": "bytemill-tokenizer"}', "'bytemill-tokenizer', not"),
        ('{"version": 9}', "version 9 of the format.*update"),
        ('{"schedule": {"steps": "3"}}', "schedule.steps='3': it must be an integer"),
    ],
)
def test_bad_files(text, words, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=rf"c.json: .*{words.replace('?', '[?]')}"):
        TrainConfig.load(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        TrainConfig.load(tmp_path / "none.json")


def test_numbers_too_large_for_any_field(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"schedule": {"minutes": 1' + "0" * 400 + '}, "run": {"out": "o"}}')
    with pytest.raises(ValueError, match="minutes"):
        TrainConfig.load(path)
    with pytest.raises(ValueError, match="seed=18446744073709551616"):
        simple(seed=2**64)


def test_a_file_that_is_nested_too_deep(tmp_path):
    path = tmp_path / "c.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"c\.json: it is not JSON"):
        TrainConfig.load(path)
