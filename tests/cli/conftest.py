"""What several tests of the command line begin with."""

from functools import partial

import pytest

from tests.support.programs import TEXT, call


@pytest.fixture
def train(capsys):
    """Runs the program in this process: status, stdout, stderr."""
    return partial(call, capsys, "tok-train")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path
