"""Several writers to one tokenizer's folder: one after another, and what is read is whole."""

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bytemill import Tokenizer
from bytemill.folder_lock import locked
from bytemill.formats import folder
from tests.support.vocabularies import generated_text, train

SAVE = """
import sys
from bytemill import Tokenizer
from bytemill.formats import folder
folder._PATIENCE_S = 600.0
tokenizer = Tokenizer.load(sys.argv[1])
for _ in range(60):
    tokenizer.save(sys.argv[2])
"""


def test_threads_and_processes_that_save_and_load(tmp_path, monkeypatch):
    # On a busy machine any of them may be stopped for seconds while the others wait for it.
    monkeypatch.setattr(folder, "_PATIENCE_S", 600.0)
    texts = [generated_text()]
    tokenizers = {size: train(texts, size) for size in (300, 320, 340)}
    known = {tokenizer.fingerprint for tokenizer in tokenizers.values()}
    for size, tokenizer in tokenizers.items():
        tokenizer.save(tmp_path / str(size))
    shared = tmp_path / "shared"
    tokenizers[300].save(shared)
    command = [sys.executable, "-c", SAVE, str(tmp_path / "340"), str(shared)]
    seen = set()

    def work(tokenizer):
        for _ in range(60):
            tokenizer.save(shared)
            seen.add(Tokenizer.load(shared).fingerprint)

    with subprocess.Popen(command) as other, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, tokenizers[size]) for size in (300, 320)]:
            done.result()
        while other.poll() is None:
            seen.add(Tokenizer.load(shared).fingerprint)
    assert other.returncode == 0
    assert len(seen) > 1 and seen <= known
    assert len(list(shared.iterdir())) == 2, "the last one, and nothing of the others"
    assert Tokenizer.load(shared).fingerprint in known


FULL = """
import resource, sys
from bytemill import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    tokenizer.save(sys.argv[2])
except OSError as error:
    print(error.errno)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("room", [0, 1, 100, 4000])
def test_a_disk_without_room_keeps_what_was_there(tmp_path, room):
    small, large = (train([generated_text()], size) for size in (300, 340))
    large.save(tmp_path / "large")
    small.save(tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for out in ("out", "new"):
        words = [sys.executable, "-c", FULL, tmp_path / "large", tmp_path / out, str(room)]
        done = subprocess.run(words, capture_output=True, text=True)
        full = [str(errno.EFBIG)]
        assert (done.returncode, done.stdout.split()) == (0, full if room < 4000 else []), done
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    if room < 4000:
        assert after == before and not list((tmp_path / "new").iterdir())
    else:
        assert Tokenizer.load(tmp_path / "out") == Tokenizer.load(tmp_path / "new") == large


def test_a_folder_that_stays_taken_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "_PATIENCE_S", 0.2)
    tokenizer = train([generated_text()], 300)
    tokenizer.save(tmp_path)
    larger = train([generated_text()], 310)
    with locked(tmp_path, folder.DOING):
        began = time.monotonic()
        told = f"another process is making a tokenizer in this folder, process {os.getpid()};"
        with pytest.raises(ValueError, match=told):
            larger.save(tmp_path)
        assert time.monotonic() - began > 0.2
        assert Tokenizer.load(tmp_path) == tokenizer, "reading needs no lock"
    larger.save(tmp_path)
    assert Tokenizer.load(tmp_path) == larger
    assert not (tmp_path / ".lock").exists()
