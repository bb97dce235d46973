"""Weights that most tests of the engine compute with."""

import pytest


@pytest.fixture(scope="session")
def plain():
    from tests.support.engine_rows import plain_weights

    return plain_weights()
