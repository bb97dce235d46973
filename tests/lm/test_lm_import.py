"""Importing `bytemill.lm` does nothing but import."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

PROGRAM = """
import threading, torch
before = torch.get_num_threads(), torch.get_default_dtype(), torch.random.initial_seed()
import bytemill.lm, bytemill.lm.functional
after = torch.get_num_threads(), torch.get_default_dtype(), torch.random.initial_seed()
print(before == after, threading.active_count(), torch.cuda.is_initialized())
"""


def test_import_does_nothing():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True 1 False\n", "")
