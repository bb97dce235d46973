"""Ray's part in `bytemill.data.on_ray`, in this process: tasks in a disorder of their own."""

import contextlib
import pickle
import random

import bytemill
from bytemill.data.on_ray import counting, encoding, job
from bytemill.data.on_ray.cluster import Ticket


class LocalTasks:
    """Does tasks in any order, and some of them twice, as where a machine was thought dead.

    What goes to a task and comes from it is pickled. After `fail_after` tasks it raises
    KeyboardInterrupt, once.
    """

    seed = 0
    fail_after = None
    done = 0

    def __init__(self, job, workers):
        self._job = pickle.dumps(job)
        self._ticket = Ticket(None, job.key, bytemill.__version__)
        self._pending = []
        self._rng = random.Random(self.seed)

    def start(self, tag, function, *args):
        self._pending.append((tag, function, pickle.dumps(args)))

    def run(self, calls):
        left = iter(calls)
        while True:
            while len(self._pending) < 5 and (call := next(left, None)) is not None:
                self.start(*call)
            if not self._pending:
                return
            tag, function, args = self._pending.pop(self._rng.randrange(len(self._pending)))
            if LocalTasks.done == self.fail_after:
                LocalTasks.fail_after = None
                raise KeyboardInterrupt
            LocalTasks.done += 1
            results = [self._call(function, args) for _ in range(self._rng.choice([1, 1, 2]))]
            yield tag, *results[-1]

    def _call(self, function, args):
        shared = pickle.loads(self._job)
        shared.check()
        job._known[self._ticket.key] = shared
        return pickle.loads(pickle.dumps(function(self._ticket, *pickle.loads(args))))

    def get(self, value):
        return value

    def cancelling(self):
        return contextlib.nullcontext()


def stand_in(monkeypatch, seed=0):
    """Has `count` and `encode` do without Ray."""
    monkeypatch.setattr(LocalTasks, "seed", seed)
    monkeypatch.setattr(LocalTasks, "done", 0)
    monkeypatch.setattr(LocalTasks, "fail_after", None)
    for module in (counting, encoding):
        monkeypatch.setattr(module, "Tasks", LocalTasks)
        monkeypatch.setattr(module, "connect", lambda: None)
    return LocalTasks
