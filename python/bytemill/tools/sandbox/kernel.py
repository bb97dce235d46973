"""Calls of the Linux kernel that Python has no function for.

Numbers are from the kernel's headers; those of system calls differ by machine.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MNT_DETACH: Final = 2
_ST_RELATIME: Final = 4096

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38

MACHINE: Final = platform.machine()
PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
CAPSET: Final = {"x86_64": 126, "aarch64": 91}
# Landlock's calls have one number everywhere.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Puts this process (for pids: its children) into namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    args = [None if a is None else os.fsencode(a) for a in (source, target, kind)]
    _check(_libc.mount(*args, ctypes.c_ulong(flags), data.encode() or None), f"mount on {target}")


def bind(source: str, target: str, *, read_only: bool = True) -> None:
    """Shows `source` at `target` as well, without set-user-ID bits."""
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        # What the mount may not do already has to be said again.
        has = os.statvfs(target).f_flag
        kept = has & (MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
        kept |= MS_RELATIME if has & _ST_RELATIME else 0
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | kept)


def pivot_root(new_root: str) -> None:
    """Makes a mount the root of the file system, and lets go of the old one."""
    os.chdir(new_root)
    os.mkdir("old")
    number = PIVOT_ROOT[MACHINE]
    _check(_libc.syscall(ctypes.c_long(number), b".", b"old"), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/old", ctypes.c_int(MNT_DETACH)), "umount")
    os.rmdir("/old")


def prctl(option: int, value: int = 0) -> None:
    """prctl(2) with one argument."""
    _check(
        _libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(a) for a in (value, 0, 0, 0))), "prctl"
    )


def drop_capabilities() -> None:
    """Gives up every capability, for good."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # the kernel has no more of them, or none are held
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)
    none = (ctypes.c_uint32 * 6)()
    _check(_libc.syscall(ctypes.c_long(CAPSET[MACHINE]), header, none), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64),)


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("fd", ctypes.c_int32))


def landlock(writable: str) -> bool:
    """Lets this process and its children write below one folder only; False without Landlock."""
    version = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    # Rights by version: 13 in the first, then renaming (2), truncating (3), devices' ioctl (5).
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    read = 0b1101  # execute, read files, read folders
    ruleset = _Ruleset(rights)
    fd = _check(
        _libc.syscall(
            ctypes.c_long(_LANDLOCK_CREATE), ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0
        ),
        "landlock",
    )
    try:
        for path, access in (("/", read), (writable, rights), ("/dev", read | 0b10)):
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = _PathRule(access & rights, opened)
            call = _libc.syscall(ctypes.c_long(_LANDLOCK_ADD), fd, 1, ctypes.byref(rule), 0)
            os.close(opened)
            _check(call, "landlock")
        _check(_libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), fd, 0), "landlock")
    finally:
        os.close(fd)
    return True


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def seccomp(program: bytes) -> None:
    """Filters the system calls of this process and its children by a BPF program."""
    data = ctypes.create_string_buffer(program, len(program))
    filter = _Filter(len(program) // 8, ctypes.addressof(data))
    _check(
        _libc.prctl(
            ctypes.c_int(PR_SET_SECCOMP), ctypes.c_ulong(2), ctypes.byref(filter),
            ctypes.c_ulong(0), ctypes.c_ulong(0),
        ),
        "seccomp",
    )  # fmt: skip
