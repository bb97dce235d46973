"""`TrainConfig`: typed, checked, and the same after a file or the command line."""

import dataclasses
import json

import pytest

pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from bytemill.cli import train
from bytemill.lm.train import config
from bytemill.lm.train.config import TrainConfig

SIMPLE = TrainConfig(data="d", out="o")


def value_of(field):
    """Any value that the field can have."""
    plain, choices, optional = config.split_type(config.hints()[field.name])
    low, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    if choices:
        values = st.sampled_from(choices)
    elif plain is bool:
        values = st.booleans()
    elif plain is str:
        values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
        values = values.filter(lambda text: text != "none")
    elif plain is int:
        values = st.integers(low, most)
    else:
        least = above if low is None else low
        values = st.floats(
            least, most, exclude_min=low is None, allow_nan=False, allow_infinity=False
        )
    return st.none() | values if optional else values


CONFIGS = st.builds(TrainConfig, **{f.name: value_of(f) for f in config.options()})


@settings(max_examples=50, deadline=None)
@given(CONFIGS)
def test_a_file_gives_it_back(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "config.json"
    config.save(path)
    assert TrainConfig.load(path) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=50, deadline=None)
@given(CONFIGS)
def test_flags_give_it_back(config):
    flags = []
    for name, value in config.to_dict().items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-"))
        else:
            flags.append(f"{flag}={'none' if value is None else value}")
    assert train.read_config(train.parser().parse_args(flags)) == config


def test_flags_go_over_a_file(tmp_path):
    dataclasses.replace(SIMPLE, steps=7, seed=3).save(tmp_path / "c.json")
    args = ["--config", str(tmp_path / "c.json"), "--seed", "4", "--out", "p"]
    config = train.read_config(train.parser().parse_args(args))
    assert config == dataclasses.replace(SIMPLE, steps=7, seed=4, out="p")


def test_every_field_is_documented():
    assert all(len(field.metadata["help"]) > 5 for field in config.options())
    text = " ".join(train.parser().format_help().split())
    for field in config.options():
        assert "--" + field.name.replace("_", "-") in text


@pytest.mark.parametrize(
    ("field", "value", "kind", "words"),
    [
        ("depth", 0, ValueError, "depth=0: it must be at least 1"),
        ("depth", True, TypeError, "depth=True: it must be an integer or null"),
        ("depth", 2.0, TypeError, "depth=2.0: it must be an integer"),
        ("steps", -5, ValueError, "steps=-5"),
        ("rope_theta", 0, ValueError, "rope_theta=0: it must be above 0"),
        ("rope_theta", float("nan"), ValueError, "rope_theta=nan"),
        ("matrix_lr", float("inf"), ValueError, "matrix_lr=inf"),
        ("final_fraction", 1.5, ValueError, "it must be at least 0 and at most 1"),
        ("preset", "gpt2", ValueError, 'preset=\'gpt2\': it must be one of "gpt", "cs336"'),
        ("data", None, TypeError, "data=None: it must be a string"),
        ("seed", None, TypeError, "seed=None"),
        ("tensorboard", 1, TypeError, "tensorboard=1: it must be true or false"),
        ("grad_clip", 0.0, ValueError, "grad_clip=0.0: it must be above 0"),
    ],
)
def test_values_are_checked(field, value, kind, words):
    with pytest.raises(kind, match=words):
        TrainConfig(**{"data": "d", "out": "o", field: value})
    with pytest.raises(kind, match=words):
        TrainConfig.from_dict({"data": "d", "out": "o", field: value})


def test_an_integer_is_a_number():
    config = TrainConfig(data="d", out="o", rope_theta=500_000, matrix_lr=1)
    assert repr(config.rope_theta) == "500000.0"
    assert config == TrainConfig.from_dict(config.to_dict())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON"),
        ("[]", "holds no JSON object"),
        ('{"data": "d", "out": "o", "layers": 3}', "unknown field 'layers'"),
        ('{"data": "d", "out": "o", "n_layers": 3}', "did you mean 'n_layer'?"),
        ('{"data": "d"}', "'out' is missing"),
        ('{"format": "bytemill-tokenizer"}', "'bytemill-tokenizer', not"),
        ('{"version": 9}', "version 9 of the format.*update"),
        ('{"data": "d", "out": "o", "steps": "3"}', "steps='3': it must be an integer"),
    ],
)
def test_bad_files(text, words, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises((TypeError, ValueError), match=f"c.json: .*{words}"):
        TrainConfig.load(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        TrainConfig.load(tmp_path / "none.json")
