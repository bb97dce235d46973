"""Set-up that all tests of the language-model stack share."""

import os

import pytest


@pytest.fixture(autouse=True)
def flushes(monkeypatch):
    """Files are not flushed to disk, which can take seconds; the list says which would have been.

    Killing a process loses nothing that it has written; only a crash of the system does.
    """
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.fstat(number).st_ino))
    return flushed
