"""What tests of the server need: its packages, and one server for most of them."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

import torch

from tests.support.serving import calling_weights, served


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    """Tiny models are only slowed down by threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def calling():
    return calling_weights()


@pytest.fixture(scope="session")
def client(calling):
    with served(calling) as made:
        yield made
