"""Which system calls a program in the sandbox may not make, as a filter for seccomp.

Everything here fails with EPERM. Files, memory, threads, time are left alone: the other walls deal
with those. Numbers are from the kernel's tables (arch/x86/entry/syscalls and
include/uapi/asm-generic).
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from bytemill.tools.sandbox.kernel import MACHINE

_REFUSED: Final[dict[str, tuple[int, int]]] = {
    # name: (x86_64, aarch64)
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "open_tree": (428, 428),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "quotactl": (179, 60), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162), "personality": (135, 92), "execve": (59, 221),
    "execveat": (322, 281), "vhangup": (153, 58), "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262), "move_pages": (279, 239), "mbind": (237, 235),
    "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "memfd_create": (319, 279),
    # Memory, and queues in the kernel, that no process's address space is charged for.
    "memfd_secret": (447, 447), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180),
}  # fmt: skip
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_AUDIT: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_NAMESPACES: Final = 0x7E02_0080  # every CLONE_NEW flag

_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
_KILL: Final = 0x8000_0000
_LOAD, _EQUAL, _MASKED, _ABOVE, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06


def filter_program() -> bytes | None:
    """The filter for this machine; None if its numbers are not known here."""
    if MACHINE not in _AUDIT:
        return None
    column = list(_AUDIT).index(MACHINE)
    code: list[bytes] = []

    def add(op: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        code.append(struct.pack("=HBBI", op, if_true, if_false, value))

    add(_LOAD, 4)  # the machine that the call is made for
    add(_EQUAL, _AUDIT[MACHINE], 1, 0)
    add(_RETURN, _KILL)
    add(_LOAD, 0)  # the number of the call
    if MACHINE == "x86_64":  # x32's calls are the same ones by other numbers
        add(_ABOVE, 0x4000_0000, 0, 1)
        add(_RETURN, _KILL)
    for numbers in _REFUSED.values():
        add(_EQUAL, numbers[column], 0, 1)
        add(_RETURN, _ERRNO | errno.EPERM)
    # clone3 keeps its flags in memory, where a filter cannot look; libraries go on to clone.
    add(_EQUAL, _CLONE3, 0, 1)
    add(_RETURN, _ERRNO | errno.ENOSYS)
    add(_EQUAL, _CLONE[MACHINE], 0, 3)
    add(_LOAD, 16)  # its flags
    add(_MASKED, _NAMESPACES, 0, 1)
    add(_RETURN, _ERRNO | errno.EPERM)
    add(_RETURN, _ALLOW)
    return b"".join(code)
