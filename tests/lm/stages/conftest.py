"""One base model that the stages of most tests begin with."""

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder in which there are a base model of three steps, and its text."""
    from tests.support.stage_runs import BASE_RATES, make_base

    folder = tmp_path_factory.mktemp("stages")
    make_base(folder, **BASE_RATES, weight_decay=0.25, checkpoint_every=2)
    return folder


@pytest.fixture
def folder(base, tmp_path):
    """A folder of its own, in which there is the base model, too."""
    (tmp_path / "base").symlink_to(base / "base")
    (tmp_path / "shards").symlink_to(base / "shards")
    return tmp_path
