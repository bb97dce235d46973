"""What ranks compare before the first step: contents and versions, and not where things are."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import bytemill
from bytemill import Tokenizer
from bytemill.lm.train import Trainer
from bytemill.lm.train.steps.world import Alone
from tests.support.lm_runs import BOS, documents, make_ids, make_shards
from tests.support.lm_runs import config as config_of


class AskedError(Exception):
    """Ends a run before its first step."""


class Asked(Alone):
    """Keeps what a rank would say of itself."""

    def agree(self, facts):
        self.facts = dict(facts)
        raise AskedError


def config(folder, **changes):
    return config_of(folder, optimizer="adamw", **changes)


def differs(one, other):
    """The names of what two ranks would have otherwise."""
    said = []
    for settings in (one, other):
        world = Asked()
        with pytest.raises(AskedError):
            Trainer(settings, world=world).run()
        said.append(world.facts)
    assert said[0].keys() == said[1].keys()
    return {name for name, value in said[0].items() if said[1][name] != value}


def test_one_other_token_is_other_data_and_another_place_is_not(tmp_path):
    path = make_ids(tmp_path)
    one = config(tmp_path)
    (tmp_path / "there").mkdir()
    shutil.copy(path, tmp_path / "there")
    moved = config(tmp_path / "there", threads=2)
    assert differs(one, moved) == set()
    ids = np.load(path)
    ids[1000] ^= 1
    np.save(tmp_path / "there/ids.npy", ids)
    assert differs(one, moved) == {"data"}
    validated = one.but(seed=1, val_data=str(tmp_path / "there/ids.npy"))
    assert differs(one, validated) == {"seed", "validation data"}


def test_another_tokenizer(tmp_path):
    make_shards(tmp_path)
    # Of the same size, so that nothing else tells them apart.
    Tokenizer.train([text[::-1] for text in documents()], 280, [BOS]).save(tmp_path / "other")
    ids = make_ids(tmp_path)
    one, other = (
        config(tmp_path, data=str(ids), tokenizer=str(tmp_path / name))
        for name in ("tokenizer", "other")
    )
    assert differs(one, other) == {"tokenizer"}


@pytest.mark.parametrize(("module", "name"), [(bytemill, "bytemill"), (torch, "torch")])
def test_another_version(tmp_path, monkeypatch, module, name):
    make_ids(tmp_path)
    said = []
    for version in (module.__version__, "0.0.1"):
        monkeypatch.setattr(module, "__version__", version)
        world = Asked()
        with pytest.raises(AskedError):
            Trainer(config(tmp_path), world=world).run()
        said.append(world.facts)
    assert {key for key in said[0] if said[0][key] != said[1][key]} == {name}
    assert said[1][name] == "0.0.1"


def test_another_checkpoint(tmp_path):
    make_ids(tmp_path)
    settings = config(tmp_path, steps=3)
    said = []
    for seed in (0, 1):
        own = settings.but(out=str(tmp_path / str(seed)), seed=seed)
        Trainer(own).run()
        world = Asked()
        with pytest.raises(AskedError):
            Trainer(own.but(steps=5), resume=True, world=world).run()
        said.append(world.facts)
    assert {key for key in said[0] if said[0][key] != said[1][key]} == {"seed", "checkpoint"}
