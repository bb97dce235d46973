"""`ModelConfig`: presets, round trips, and what it refuses."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bytemill.lm import ModelConfig
from tests.support.models import small_config


def test_presets():
    cs336 = small_config("cs336", d_model=384, n_kv_head=None)
    assert (cs336.mlp, cs336.d_ff, cs336.n_kv_head, cs336.head_dim) == ("swiglu", 1024, 4, 96)
    assert cs336.norm_weights
    assert not (cs336.qk_norm or cs336.embedding_norm or cs336.zero_init_output)
    assert (cs336.logit_softcap, cs336.rope_theta, cs336.norm_eps) == (None, 10_000.0, 1e-5)
    gpt = small_config("gpt", d_model=384)
    assert (gpt.mlp, gpt.d_ff, gpt.logit_softcap, gpt.n_kv_head) == ("relu2", 1536, 15.0, 2)
    assert gpt.qk_norm and gpt.embedding_norm and gpt.zero_init_output
    assert not gpt.norm_weights
    assert small_config("cs336", d_ff=100, rope_theta=5e5).d_ff == 100
    assert small_config("gpt", mlp="swiglu", d_model=768).d_ff == 2048


def test_round_trip():
    for config in (small_config("cs336"), small_config("gpt", logit_softcap=7.5)):
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_numbers_of_numpy_and_torch_are_kept_as_pythons():
    plain = {
        "vocab_size": 97, "d_model": 64, "n_layer": 2, "n_kv_head": 2, "d_ff": 96, "window": 8,
        "logit_softcap": 7.5, "rope_theta": 500.0, "norm_eps": 0.125, "dropout": 0.25,
    }  # fmt: skip
    expected = small_config(**plain, window_pattern="SL", tie_embeddings=True)
    wholes = [np.int64, np.uint8, np.array, torch.tensor]
    reals = [np.float64, np.float32, np.array, torch.tensor, Fraction]
    for whole, real in zip([*wholes, int], reals, strict=True):
        fields = {k: (whole if isinstance(v, int) else real)(v) for k, v in plain.items()}
        config = small_config(
            **fields, window_pattern=np.str_("SL"), tie_embeddings=np.True_, mlp=np.str_("swiglu")
        )
        assert config == expected
        types = [type(value) for value in config.to_dict().values()]
        assert types == [type(value) for value in expected.to_dict().values()]
        text = json.dumps(config.to_dict(), allow_nan=False)
        assert ModelConfig.from_dict(json.loads(text)) == expected
    # d_ff follows from the width, whatever kind of number that is.
    assert small_config(d_model=np.int64(384)).d_ff == 1024
    # An int where a float is meant is one: files say the same either way.
    assert type(small_config(rope_theta=500).rope_theta) is float


def test_windows_of_layers():
    config = small_config(n_layer=6, window=8, window_pattern="SSL")
    assert config.windows == (8, 8, None, 8, 8, None)
    assert small_config(n_layer=3, window=8, window_pattern="S").windows == (8, 8, None)
    assert small_config(n_layer=3).windows == (None, None, None)


def test_heads_are_even_only_for_rope():
    assert small_config(d_model=60, position="none").head_dim == 15


def test_every_field_says_its_meaning():
    for field in dataclasses.fields(ModelConfig):
        assert len(field.metadata["help"]) > 5


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"n_layer": 0}, ValueError, "n_layer=0"),
        ({"vocab_size": -5}, ValueError, "vocab_size=-5"),
        ({"context_length": 2.5}, TypeError, "context_length=2.5"),
        ({"d_model": "64"}, TypeError, "d_model='64'"),
        ({"n_head": True}, TypeError, "n_head=True"),
        ({"n_head": 5}, ValueError, "d_model=64 does not divide among n_head=5"),
        ({"d_model": 60}, ValueError, "heads of size 15"),
        ({"n_kv_head": 3}, ValueError, "n_head=4 is not a multiple of n_kv_head=3"),
        ({"d_ff": 0}, ValueError, "d_ff=0"),
        ({"mlp": "tanh"}, ValueError, "mlp='tanh'"),
        ({"rope_theta": 0.0}, ValueError, "rope_theta=0.0"),
        ({"rope_theta": None}, TypeError, "rope_theta=None"),
        ({"norm_eps": float("nan")}, ValueError, "norm_eps=nan"),
        ({"logit_softcap": -1.0}, ValueError, "logit_softcap=-1.0"),
        ({"qk_norm": 1}, TypeError, "qk_norm=1"),
        ({"mlp": None}, ValueError, 'mlp=None: it must be "swiglu", "silu", "relu2" or "gelu"'),
        ({"norm_position": "sandwich"}, ValueError, "norm_position='sandwich'.*post.*none"),
        ({"position": 3}, ValueError, "position=3"),
        ({"tie_embeddings": 0}, TypeError, "tie_embeddings=0"),
        ({"dropout": 1}, ValueError, "dropout=1: it must be below 1"),
        ({"dropout": -0.1}, ValueError, "dropout=-0.1"),
        ({"dropout": float("nan")}, ValueError, "dropout=nan"),
        ({"window": 0, "window_pattern": "S"}, ValueError, "window=0"),
        ({"window": 4.0, "window_pattern": "S"}, TypeError, "window=4.0: it must be an int"),
        ({"window": 4}, ValueError, "window=4 and window_pattern='L'"),
        ({"window_pattern": "SL"}, ValueError, "window=None and window_pattern='SL'"),
        ({"window_pattern": "SXL"}, ValueError, "window_pattern='SXL'"),
        ({"window_pattern": ""}, ValueError, "window_pattern=''"),
        ({"n_layer": np.float64(2)}, TypeError, "n_layer=.*2.0.*: it must be an int"),
        ({"n_layer": np.True_}, TypeError, "n_layer=.*True.*: it must be an int"),
        ({"n_layer": np.array([2])}, TypeError, r"n_layer=array\(\[2\]\)"),
        ({"n_layer": torch.tensor(True)}, TypeError, r"n_layer=tensor\(True\)"),
        ({"dropout": True}, TypeError, "dropout=True: it must be a number"),
        ({"norm_eps": np.float32("nan")}, ValueError, "norm_eps=.*nan"),
        ({"norm_eps": 10**400}, ValueError, "norm_eps=1000.*range of a float"),
        ({"rope_theta": "10"}, TypeError, "rope_theta='10'"),
        ({"mlp": ["swiglu"]}, ValueError, r"mlp=\['swiglu'\]"),
        ({"qk_norm": torch.tensor(1)}, TypeError, r"qk_norm=tensor\(1\)"),
        ({"label_smoothing": 0.1}, ValueError, "field of the model config: label_smoothing"),
    ],
)
def test_bad_fields(fields, error, message):
    with pytest.raises(error, match=message):
        small_config(**fields)


def test_bad_dicts():
    good = small_config().to_dict()
    with pytest.raises(ValueError, match="config: hidden_size"):
        ModelConfig.from_dict({**good, "hidden_size": 3})
    with pytest.raises(ValueError, match="without d_ff, mlp"):
        ModelConfig.from_dict({k: v for k, v in good.items() if k not in ("d_ff", "mlp")})
    with pytest.raises(ValueError, match=r"preset 'llama'.*cs336, gpt"):
        small_config("llama")


def test_the_shape_of_2026():
    config = small_config("nanochat-2026", context_length=2048, n_layer=6)
    # S: a quarter of 2,048, which is whole blocks of 128; the last layer sees all.
    assert config.windows == (512, 512, 512, None, 512, None)
    for length, window in ((48, 128), (512, 128), (513, 256), (2049, 640)):
        assert small_config("nanochat-2026", context_length=length).window == window
    assert small_config("nanochat-2026", window=3).windows == (3, None)
    assert small_config("nanochat-2026", window_pattern="L").window is None
    assert small_config("nanochat-2026", window=None).windows == (None, None)
    assert small_config("nanochat-2026", window_pattern="LS", n_layer=3).windows == (
        None,
        128,
        None,
    )
    with pytest.raises(ValueError, match="window=None and window_pattern='S'"):
        small_config("nanochat-2026", window=None, window_pattern="S")
    assert (config.rope_theta, config.logit_softcap, config.qk_scale) == (100_000, 15, 1.2)
    assert config.value_layers == (1, 3, 5) and config.backout_layer == 3
    assert small_config("nanochat-2026", n_layer=5).value_layers == (0, 2, 4)
    assert config.padded_vocab_size == 128
    assert small_config("nanochat-2026", vocab_size=128).padded_vocab_size == 128
    # `gpt` and what is switched on.
    switches = {
        "rope_theta": 10_000.0, "window_pattern": "L", "qk_scale": 1.0, "value_embeddings": False,
        "resid_scalars": False, "x0_scalars": False, "smear": False, "backout": False,
        "vocab_multiple": 1, "init": "normal",
    }  # fmt: skip
    assert small_config("nanochat-2026", **switches) == small_config("gpt")
