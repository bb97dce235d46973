"""A Python that has imported torch already: what tests start by the dozen are forks of it.

To import torch and what the first optimizer of a process imports takes four seconds of a processor,
and `runs/speedrun.sh` starts 27 processes. What these do is done as ever: arguments, environment,
folder, standard streams, signals, exit and its status are those of a process of its own. Not so
what a start decides: a forgotten import, and another order of hashes. Tests of the programs
themselves start them afresh.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRELOADED = ["torch", "torch._dynamo", "matplotlib.figure", "bytemill.lm.train"]
FORWARDED = [signal.SIGINT, signal.SIGTERM]

# What takes the interpreter's place: it hands on what it was given, and waits for the end.
WARM = """#!{python} -IS
import array, json, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
call = {{"words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
call["group"] = os.getpgrp()
server.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
answers = server.makefile("rwb", 0)
answers.write(json.dumps(call).encode() + b"\\n")
child = int(answers.readline())
for number in {forwarded}:
    signal.signal(number, lambda number, _: os.kill(child, number))
status = int(answers.readline() or -signal.SIGKILL)
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
# Where a process that has imported torch may not be forked: the same, started afresh.
COLD = """#!{python}
import os, sys

sys.path[:0] = {paths}
from tests.support.warm import become

become(sys.argv[1:], os.getpgrp(), {before!r})
"""


@contextlib.contextmanager
def warm_python(folder, before=""):
    """The path of a program that takes an interpreter's place while the block runs.

    Args:
        folder: Where it is written, and the socket that it calls.
        before: Code that each process runs first; it has `words`, what the program was given, and
            `group`, the process group of whoever started it.
    """
    path, program = folder / "warm", folder / "python"
    if sys.platform != "linux":
        text = COLD.format(python=sys.executable, paths=[str(ROOT), *sys.path], before=before)
        program.write_text(text)
        program.chmod(0o755)
        yield program
        return
    forwarded = [int(number) for number in FORWARDED]
    text = WARM.format(python=sys.executable, path=str(path), forwarded=forwarded)
    program.write_text(text)
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(listener.fileno()), before],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    try:
        yield program
    finally:
        server.stdin.close()  # which it ends by
        server.wait(timeout=60)


def serve(listener, before):
    """Forks for each call, until stdin ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _answer(connection, before)
            os._exit(0)
        connection.close()


def _answer(connection, before):
    """Runs one program in a fork, and tells its number and its status."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    answers = connection.makefile("rwb", 0)
    call = json.loads(answers.readline())
    child = os.fork()
    if child == 0:
        answers.close()
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(call["folder"])
        os.environ.clear()
        os.environ.update(call["environment"])
        become(call["words"], call["group"], before)
        sys.exit()
    for stream in streams:
        os.close(stream)
    answers.write(b"%d\n" % child)
    threading.Thread(target=_kill_after, args=(connection, child), daemon=True).start()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        answers.write(b"%d\n" % os.waitstatus_to_exitcode(status))


def _kill_after(connection, child):
    """Kills the program when who waits for it is killed."""
    connection.recv(1)
    os.kill(child, signal.SIGKILL)


def become(words, group, before):
    """Does what `python WORDS` does, for a module or a file; see `warm_python`."""
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = words[1:] if words[0] == "-u" else words
    exec(before, {"words": words, "group": group})
    sys.argv = words[1:] if words[0] == "-m" else words
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    for name in PRELOADED:
        __import__(name)
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
