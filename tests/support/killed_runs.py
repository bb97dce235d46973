"""Runs that are killed without warning, in processes of their own."""

import os
import signal
import time

from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.train.events import Stepped
from tests.support.ranks import forking


def killed(stage, settings, step, *, resume=False):
    """Kills a run after a step, once the last save before it is written.

    Args:
        stage: The class of runs.
        settings: Its configuration.
        step: After which it is killed.
        resume: Whether it goes on from its last checkpoint.
    """
    process = forking().Process(target=_run, args=(stage, settings, step, resume))
    process.start()
    process.join(timeout=900)
    assert process.exitcode == -signal.SIGKILL


def _run(stage, settings, step, resume):
    def listen(event):
        if isinstance(event, Stepped) and event.step == step:
            every = settings.run.checkpoint_every
            last = (event.step - 1) // every * every
            while last and not CheckpointStore(settings.run.out).path(last).is_dir():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    stage(settings, on_event=listen, resume=resume).run()
