"""Two runs in one folder: the second one is refused, and the first one loses nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from bytemill.folder_lock import locked
from bytemill.lm.checkpoint.one_file import CheckpointStore
from bytemill.lm.train import Trainer, events
from tests.support.lm_runs import config, make_ids

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from bytemill.folder_lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_is_refused(tmp_path, resume):
    make_ids(tmp_path)
    settings = config(tmp_path, checkpoint_every=2)
    refused = []

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == 3:
            half_written = tmp_path / "run" / "checkpoints" / ".step-00000004.abc.tmp"
            half_written.mkdir()
            with pytest.raises(ValueError, match=rf"run: another run .* process {os.getpid()};"):
                Trainer(settings, resume=resume).run()
            assert half_written.exists(), "what the first one writes is left alone"
            half_written.rmdir()
            refused.append(event.step)

    assert Trainer(settings, on_event=listen).run().is_finished
    assert refused == [3]
    assert CheckpointStore(tmp_path / "run").steps() == [4, 6]
    assert Trainer(settings, resume=True).run().is_finished, "the folder is free again"
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_leaves_no_lock(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=environment, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {other.pid};"), locked(tmp_path):
            pass
        other.kill()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
