"""The first process of a sandbox: builds the walls around itself, then does what it was asked to.

It runs as `python -I -S` and reads the request from its standard input. Walls, from the outside in:

- namespaces: users, mounts, processes, network, IPC, host name;
- a root of its own: an empty one, in memory, read-only, that shows Python's library and the
  libraries which that needs, and has a small /tmp;
- an ordinary user without any capability, also where root began it;
- limits on memory, processor time, processes, files;
- Landlock, where the kernel has it, and a filter of system calls.

When the first process ends, the kernel ends all others of its namespace and frees its mounts.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, Final

from bytemill.tools.sandbox import calls, kernel, roles

NOBODY: Final = 65534
_FIRST_USER: Final = 0x7000_0000
"""Of numbers that systems give to nobody: with a user of its own, no sandbox's processes count
against another's limit."""
_NAMESPACES: Final = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
_DEVICES: Final = ("null", "zero", "urandom")


def main() -> None:
    """Reads a request and serves it. The exit status is 3 if no walls could be built."""
    request = json.load(sys.stdin)
    signal.alarm(int(request["seconds"]) + 2)  # should nobody end this
    try:
        if request["walls"] == "namespaces":
            _enter_namespaces(request)
        elif request["walls"] == "bubblewrap":
            _lock(request)
        else:
            _limit(request)
    except OSError as error:
        os.write(request["status_fd"], f"no: {error}".encode())
        os._exit(3)
    os.write(request["status_fd"], b"in")
    os.close(request["status_fd"])
    _serve(request)


def _serve(request: dict[str, Any]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    channel = None
    if request["channel_fd"] is not None:
        channel = socket.socket(fileno=request["channel_fd"])
    status = 0
    try:
        if request["role"] == "tests" and channel is not None:
            roles.tests(request, channel)
        else:
            roles.program(request, channel)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n"[:2000])
        status = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        pass
    os._exit(status & 0xFF)


def _enter_namespaces(request: dict[str, Any]) -> None:
    user = _FIRST_USER + os.getpid()
    if os.geteuid() == 0:
        try:
            kernel.unshare(_NAMESPACES)
        except OSError:
            _unshare_as_user()  # root without its capabilities, as in a container
    else:
        _unshare_as_user()
    child = os.fork()
    if child:
        # Outside of the namespace of processes: waits, and takes all of it along when killed.
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                os.close(fd)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _make_root(request)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        try:
            os.setresuid(user, user, user)
        except OSError:  # in a container that has few numbers
            os.setresuid(NOBODY, NOBODY, NOBODY)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # changing the user resets it
    _lock(request)


def _unshare_as_user() -> None:
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | _NAMESPACES)
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {user} 1"),
        ("gid_map", f"{NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


def _make_root(request: dict[str, Any]) -> None:
    # Opened first: the new root may come to lie on top of them.
    shown = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in request["shown"]}
    hidden = request["hidden"]
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES}
    root = request["mount_point"]
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", root, "tmpfs", flags, "size=1m,mode=755")
    for path, fd in shown.items():
        os.makedirs(root + path, mode=0o755, exist_ok=True)
        kernel.bind(f"/proc/self/fd/{fd}", root + path)
    for path in hidden:
        kernel.mount("tmpfs", root + path, "tmpfs", flags | kernel.MS_RDONLY, "size=4k,mode=755")
    os.mkdir(f"{root}/dev", 0o755)
    for path, fd in devices.items():
        with open(root + path, "w"):
            pass
        kernel.bind(f"/proc/self/fd/{fd}", root + path, read_only=False)
    os.mkdir(f"{root}/tmp", 0o777)
    size = f"size={request['disk_bytes']},nr_inodes=1k,mode=777"
    kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", flags | kernel.MS_NOEXEC, size)
    for fd in (*shown.values(), *devices.values()):
        os.close(fd)
    kernel.pivot_root(root)
    socket.sethostname("sandbox")
    kernel.mount(None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)


def _lock(request: dict[str, Any]) -> None:
    """What is left to do inside of the namespaces."""
    os.chdir("/tmp")
    os.environ.clear()
    os.environ.update({"HOME": "/tmp", "PATH": "", "LC_ALL": "C.UTF-8"})
    _limit(request)
    kernel.drop_capabilities()
    kernel.landlock("/tmp")
    program = calls.filter_program()
    if program is None:
        raise OSError(f"no filter of system calls is known for {kernel.MACHINE}")
    kernel.seccomp(program)


def _limit(request: dict[str, Any]) -> None:
    cpu = int(request["seconds"]) + 1
    limits = {
        resource.RLIMIT_AS: request["memory_bytes"],
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: request["disk_bytes"],
        resource.RLIMIT_NPROC: request["processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if request["walls"] == "none":  # there, others' processes of the same user count
        del limits[resource.RLIMIT_NPROC]
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(which, (most, most))
