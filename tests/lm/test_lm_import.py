"""Importing the language-model stack does nothing but import."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

PROGRAM = """
import importlib, pkgutil, sys, threading, torch
before = torch.random.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
import bytemill.lm
for module in pkgutil.walk_packages(bytemill.lm.__path__, "bytemill.lm."):
    # What is a class of another package needs that package.
    if module.name != "bytemill.lm.evaluate.harness":
        importlib.import_module(module.name)
after = torch.random.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
heavy = {"transformers", "matplotlib", "wandb", "tensorboard", "pyarrow", "tiktoken"}
# torch's compiler: importing it takes as long as torch itself, and 150 MB.
heavy |= {"torch._dynamo", "sympy"}
print(
    sorted(heavy & set(sys.modules)),
    threading.active_count(),
    torch.equal(before[0], after[0]) and before[1:] == after[1:],
    torch.is_grad_enabled(),
    torch.cuda.is_initialized(),
)
"""


def test_import_does_nothing_else():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] 1 True True False\n"
    assert done.stderr == ""


def test_the_assignments_parts_are_on_one_page():
    from bytemill.lm import functional

    parts = {
        "linear", "embedding", "silu", "swiglu", "rmsnorm", "rope", "softmax", "cross_entropy",
        "scaled_dot_product_attention", "clip_gradients", "cosine_schedule", "get_batch", "AdamW",
    }  # fmt: skip
    assert parts <= set(functional.__all__)
    for name in functional.__all__:
        assert getattr(functional, name).__doc__
