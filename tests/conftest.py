"""What all tests share, and those of files and shards."""

import signal

import pytest

from tests.support.input_forms import DOCUMENTS, SPECIAL, as_text
from tests.support.shard_cases import BOS, KEPT
from tests.support.vocabularies import generated_text, train


@pytest.fixture(autouse=True, scope="session")
def heard():
    """A shell sets Ctrl-C to be ignored by what it runs in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tokenizer():
    return train([generated_text(), *DOCUMENTS[:5]], 600, [SPECIAL, BOS])


@pytest.fixture(scope="session")
def expected(tokenizer):
    return [tokenizer.encode_ordinary(document) for document in KEPT]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(as_text(DOCUMENTS))
    return path
