"""The programs and the notebook in examples/, run as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHARED = {"small.py"}

# What each has to print: a regex, found in its output.
PROGRAMS = {
    "train_tokenizer.py": r"gpt2 +8,192 tokens  [2-5]\.\d+ bytes per token",
    "encode_corpus.py": r"(?s)val +\d.*begins '<\|bos\|>.*owns its memory: False",
    "train_model.py": r"40 steps took the loss from (\d\.\d+) to (\d\.\d+)",
    "own_model.py": r"(?s)step 1: loss (\d\.\d+).*step 199: loss (\d\.\d+)\n.*equal, bit for bit",
    "sampling_loop.py": r"with and without the cache: equal",
    "continue_and_evaluate.py": r"(?s)stopped after 8 steps.*on to 20.*equal, bit for bit",
    "export.py": r"tiktoken: True\ntokenizers: True\nGPT-2's files: True\nread back: True\n"
    r"read back: True",
}
NEEDS = {
    "train_model.py": ["torch"],
    "own_model.py": ["torch"],
    "sampling_loop.py": ["torch"],
    "continue_and_evaluate.py": ["torch"],
    "export.py": ["tiktoken", "tokenizers"],
}


def test_each_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == SHARED | set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_shows_what_it_should(name, tmp_path):
    for module in NEEDS.get(name, []):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(PROGRAMS[name], done.stdout)
    assert found, done.stdout
    if found.groups():
        first, last = map(float, found.groups())
        assert last < first
    assert not list(tmp_path.iterdir())  # nothing is left in the reader's folder


def test_the_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # committed without outputs
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    nbclient.NotebookClient(
        notebook, timeout=1500, startup_timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    ]
    cut = printed[0].rstrip("\n")
    assert cut.replace("|", "") == "def main(argv):\n    return 0"
    assert cut.count("|") >= 5
    samples = printed[-1].splitlines()
    assert len(set(samples)) == len(samples) == 3
