"""Programs that try to pass without being right, to get out, or to stay."""

import concurrent.futures
import hashlib
import math
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest

from bytemill.tools.sandbox import (
    Limits,
    SandboxUnavailable,
    available,
    passes_tests,
    run,
    run_program,
)
from bytemill.tools.sandbox.codec import decode, encode
from tests.support.faulty_server import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or available() is None, reason="programs cannot be isolated here"
)

CHECK = """
def check(candidate):
    assert candidate(2) == 4
    assert candidate([1, (2, 3)]) == [1, (2, 3)] * 2
    assert candidate("a") == "aa"
"""
MAPPED = """
def check(candidate):
    for found, wanted in zip(map(candidate, [3, 4]), [6, 8]):
        assert found == wanted
    assert all(map(lambda x: candidate(x) == 2 * x, [1, 2]))
"""
RIGHT = "def f(x): return x * 2"
SHORT = Limits(seconds=1.5, memory_bytes=256 << 20, disk_bytes=1 << 20)
# For what ends by itself, on however busy a machine.
LONG = Limits(seconds=240.0, memory_bytes=256 << 20, disk_bytes=1 << 20)

# Each defines f wrongly, or does not define it, and wants to pass all the same.
ATTACKS = {
    "stops what tests it": "def f(x): raise StopIteration",
    "its own StopIteration":
        "class StopIteration(StopIteration): pass\ndef f(x): raise StopIteration",
    "forges an answer":
        "import sys\nfor m in [*sys.modules.values()]:\n if hasattr(m, 'receive'):\n"
        "  s = m.send\n  m.send = lambda c, a: s(c, ['raised', 'StopAsyncIteration'])\n"
        "def f(x): return x",
    "answers before it is asked":
        "import sys\nframe = sys._getframe()\nwhile 'channel' not in frame.f_locals:\n"
        " frame = frame.f_back\nfrom bytemill.tools.sandbox.codec import send\n"
        "for a in (['ready'], *[['value', ['int', '0x4']]] * 9): send(frame.f_locals['channel'], a)"
        "\ndef f(x): return 4",
    "a set that takes long": "def f(x): return {i * ((1 << 61) - 1) for i in range(60000)}",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "kills its group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
    "an expression that the parser crashes on": "x = " + "-" * 200_000 + "1",
    "not text": "x = '\ud800\0'",
    "wrong": "def f(x): return x",
    "nothing": "",
    "not a function": "f = 4",
    "syntax": "def f(x) return x * 2",
    "exit": "exit(0)",
    "sys.exit in the call": "import sys\ndef f(x): sys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "os._exit in the call": "import os\ndef f(x): os._exit(0)",
    "equal to everything": "class E:\n def __eq__(s, o): return True\ndef f(x): return E()",
    "int equal to everything":
        "class E(int):\n def __eq__(s, o): return True\n __hash__ = None\ndef f(x): return E(3)",
    "str equal to everything":
        "class E(str):\n def __eq__(s, o): return True\ndef f(x): return E('b')",
    "list equal to everything":
        "class E(list):\n def __eq__(s, o): return True\ndef f(x): return E()",
    "patched AssertionError": "import builtins\nbuiltins.AssertionError = None\ndef f(x): return x",
    "its own check": "def check(c): pass\ndef f(x): return x",
    "raises what tests catch": "def f(x): raise AssertionError",
    "prints a nonce": "import secrets\nprint(secrets.token_hex(32))\ndef f(x): return x",
    "writes to every file":
        "import os, secrets\nfor n in range(3, 64):\n try: os.write(n, secrets.token_bytes(32))\n"
        " except OSError: pass\ndef f(x): return x",
    "closes every file":
        "import os\nos.closerange(0, 64)\ndef f(x): return x",
    "walks up the frames":
        "import sys\nframe = sys._getframe()\nwhile frame:\n for v in [*frame.f_locals.values()]:\n"
        "  if isinstance(v, dict) and 'nonce' in v: print('NONCE', v['nonce'])\n"
        " frame = frame.f_back\ndef f(x): return x",
    "looks through memory":
        "import gc\nfor o in gc.get_objects():\n if isinstance(o, dict) and 'nonce' in o:"
        " print('NONCE', o['nonce'])\ndef f(x): return x",
    "patches what answers":
        "import json\njson.dumps = lambda m: '[\"value\", [\"int\", \"0x4\"]]'\ndef f(x): return 4",
    "answers what is not data":
        "import json\njson.dumps = lambda m: '[\"value\", [\"object\", []]]'\ndef f(x): return 4",
    "answers too deep":
        "import json\njson.dumps = lambda m: '[' * 100000\ndef f(x): return 4",
    "answers too long":
        "import struct\nstruct.pack = lambda *a: b'\\xff' * 4\ndef f(x): return 4",
    "hangs up": "def f(x):\n import os\n os.closerange(3, 64)\n return 4",
    "endless": "def f(x):\n while True: pass",
    "catches everything":
        "def f(x):\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
    "ignores signals":
        "import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\ndef f(x):\n while True: pass",
    "sleeps": "import time\ndef f(x): time.sleep(100)",
    "threads": "import threading\ndef g():\n while True: pass\n"
        "for _ in range(50):\n try: threading.Thread(target=g).start()\n"
        " except RuntimeError: pass\ndef f(x): return x",
    "forks": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "forks and answers": "import os\nos.fork()\ndef f(x): return x",
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 24))",
    "one large object": "def f(x): return 'a' * (1 << 40)",
    "a large answer": "def f(x): return 'a' * (1 << 25)",
    "recursion": "def f(x): return f(x)",
    "disk": "with open('/tmp/x', 'wb') as file:\n while True: file.write(bytes(1 << 20))",
    "files": "n = 0\nwhile True:\n n += 1\n open(f'/tmp/{n}', 'w').close()",
    "prints endlessly": "while True: print('x' * 1000)",
    "kills all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit(0)",
}  # fmt: skip

# Each prints IN if a wall gave way.
ESCAPES = {
    "home": f"import os\nprint('IN' if os.path.exists({str(Path.home() / '.profile')!r}) or "
        f"os.path.exists({__file__!r}) else 'out')",
    "passwd": "print('IN', open('/etc/passwd').read())",
    "proc": "import os\nprint('IN', os.listdir('/proc'))",
    "devices": "import os\nassert sorted(os.listdir('/dev')) == ['null', 'urandom', 'zero']\n"
        "open('/dev/mem', 'rb')\nprint('IN')",
    "makes a device": "import os, stat\n"
        "os.mknod('/tmp/d', 0o600 | stat.S_IFBLK, os.makedev(254, 0))\nprint('IN')",
    "writes the library": "import os, json\nopen(json.__file__, 'a').write('x')\nprint('IN')",
    "writes the root": "open('/x', 'w')\nprint('IN')",
    "a link outside": "import os\nos.symlink('/../../../../etc/passwd', '/tmp/l')\n"
        "print('IN', open('/tmp/l').read())",
    "packages": "import sys\nsys.path += ['" + next(p for p in sys.path if "site-packages" in p)
        + "']\nimport pytest\nprint('IN')",
    "internet": "import socket\nsocket.create_connection(('1.1.1.1', 53), 1)\nprint('IN')",
    "loopback": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)\nprint('IN')",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX)\nprint('IN')",
    "becomes root": "import os\nos.setuid(0)\nprint('IN')",
    "a new user": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0\nprint('IN')",
    "a new user by clone": "import ctypes\nl = ctypes.CDLL(None)\n"
        "r = l.syscall(56, 0x10000011, 0, 0, 0, 0)\nassert r >= 0\nprint('IN')",
    "mounts": "import ctypes\n"
        "assert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0\nprint('IN')",
    "chroot": "import os\nos.mkdir('/tmp/c')\nos.chroot('/tmp/c')\nprint('IN')",
    "traces": "import ctypes, os\np = os.fork()\nif p == 0:\n import time; time.sleep(1)\n"
        "assert ctypes.CDLL(None).ptrace(16, p, 0, 0) == 0\nprint('IN')",
    "another program": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo IN'])",
    "a program from memory": "import os\nos.memfd_create('x')\nprint('IN')",
    "memory of the system's": "import ctypes\n"
        "assert ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0\nprint('IN')",
    "a queue of the system's": "import ctypes\n"
        "assert ctypes.CDLL(None).msgget(0, 0o1600) >= 0\nprint('IN')",
    "the machine's name": f"import os\n"
        f"print('IN' if os.uname().nodename == {os.uname().nodename!r} else 'out')",
    "raises its limits": "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\nprint('IN')",
    "environment": "import os\n"
        "print('IN' if set(os.environ) - {'HOME', 'PATH', 'LC_ALL'} else 'out')",
    "sees processes": "import os\nfor n in range(2, 3000):\n try:\n  os.kill(n, 0)\n"
        "  if n != os.getpid(): print('IN', n)\n except ProcessLookupError: pass",
}  # fmt: skip


@pytest.fixture(scope="module")
def pool():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        yield threads


def test_a_right_program_passes():
    found = passes_tests(RIGHT, CHECK, "f", limits=LONG)
    assert (found.passed, found.reason) == (True, "passed")
    wrong = passes_tests("def f(x): return g(x)", CHECK, "f", setup="", limits=LONG)
    assert wrong.reason == "failed"


def test_a_program_that_uses_the_library_and_prints():
    found = run_program(
        "import collections, hashlib, itertools, json, math, re, random, statistics\n"
        "print(hashlib.sha256(b'x').hexdigest(), math.pi, 'é')\n"
        "open('/tmp/a', 'w').write('kept'); print(open('/tmp/a').read())",
        limits=LONG,
    )
    assert found.passed
    digest = hashlib.sha256(b"x").hexdigest()
    assert found.output == f"{digest} {math.pi} é\nkept\n"
    assert run_program("import os; print(os.listdir('/tmp'))", limits=LONG).output == "[]\n"
    failed = run_program("print(1); 1 / 0", limits=LONG)
    assert (failed.passed, failed.reason) == (False, "failed")
    assert "ZeroDivisionError" in failed.output


def test_attacks_do_not_pass(pool):
    passed = pool.map(lambda a: passes_tests(a, CHECK, "f", limits=SHORT), ATTACKS.values())
    for name, found in zip(ATTACKS, passed, strict=True):
        assert not found.passed, name
        assert "NONCE" not in found.output, name
        assert found.seconds < 90, name  # the one that sleeps would take 100
        assert len(found.output) <= SHORT.output_bytes
    for name in ("stops what tests it", "its own StopIteration", "forges an answer"):
        assert not passes_tests(ATTACKS[name], MAPPED, "f", limits=LONG).passed, name
    for name, reason, limits in (
        ("endless", "time", SHORT), ("sleeps", "time", SHORT), ("prints endlessly", "output", LONG),
    ):  # fmt: skip
        assert passes_tests(ATTACKS[name], CHECK, "f", limits=limits).reason == reason


def test_nothing_gets_out(pool):
    listening = socket.create_server(("127.0.0.1", 0))
    port = str(listening.getsockname()[1])
    programs = [p.replace("PORT", port) for p in ESCAPES.values()]
    outcomes = pool.map(lambda p: run_program(p, limits=LONG), programs)
    for name, found in zip(ESCAPES, outcomes, strict=True):
        assert "IN" not in found.output, (name, found.output)
    listening.close()


def test_nothing_stays(pool, tmp_path, monkeypatch):
    """Neither processes nor files nor mounts nor open files, whatever the programs do."""
    # By which this test's processes are known from those of others on the machine.
    mark = f"# {tmp_path}\n"
    monkeypatch.setattr(run, "_BOOT", run._BOOT + mark)
    left_file = Path("/tmp/left")
    assert not left_file.exists()

    def state():
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if mark.encode() in command:
                left.append(process.name)
        return left, len(Path("/proc/self/mounts").read_text().splitlines())

    def n_open():
        return len(list(Path("/proc/self/fd").iterdir()))

    programs = [
        "import os\nfor _ in range(5): os.fork()\nimport time; time.sleep(60)",
        "import os\nif os.fork():\n os._exit(0)\nos.setsid()\nimport time; time.sleep(60)",
        "open('/tmp/left', 'w').write('x')",
        "while True: pass",
    ]
    limits = Limits(seconds=0.7)
    list(pool.map(lambda p: run_program(p, limits=limits), programs))
    before, opened = state(), n_open()
    list(pool.map(lambda p: run_program(p, limits=limits), programs * 2))
    list(pool.map(lambda _: passes_tests(RIGHT, CHECK, "f", limits=LONG), range(8)))
    wait_until(lambda: state()[0] == [])
    assert state()[1] == before[1]
    assert n_open() == opened
    assert not left_file.exists()


def own_users():
    """Whether a sandbox can be given a user of its own: as root, with all numbers at hand."""
    path = Path("/proc/self/uid_map")
    return path.is_file() and os.geteuid() == 0 and int(path.read_text().split()[2]) > 1 << 31


@pytest.mark.skipif(not own_users(), reason="needs root; a namespace of users counts by itself")
def test_each_has_a_user_of_its_own():
    """The system counts processes by user: no program may use up what another one may have."""
    found = [run_program("import os\nprint(os.getuid())", limits=LONG).output for _ in range(2)]
    assert len(set(found)) == 2 and all(int(user) > 65535 for user in found)


def test_limits_that_cannot_be():
    for limits, said in (
        ({"seconds": math.inf}, "seconds=inf"), ({"seconds": math.nan}, "seconds=nan"),
        ({"memory_bytes": 1 << 70}, "memory_bytes"), ({"processes": 0}, "processes=0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Limits(**limits)


def test_from_several_threads():
    found = []

    def work():
        found.append(passes_tests(RIGHT, CHECK, "f", limits=LONG).passed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_bubblewrap_in_place_of_our_own_namespaces(monkeypatch):
    monkeypatch.setattr(run, "available", lambda: "bubblewrap")
    assert passes_tests(RIGHT, CHECK, "f", limits=LONG).passed
    assert not passes_tests(ATTACKS["wrong"], CHECK, "f", limits=LONG).passed
    for name in ("home", "passwd", "packages", "internet", "becomes root", "a new user"):
        found = run_program(ESCAPES[name], limits=LONG)
        assert "IN" not in found.output, (name, found.output)
    assert run_program("while True: pass", limits=SHORT).reason == "time"


def test_where_nothing_can_be_isolated(monkeypatch):
    monkeypatch.setattr(run, "_try", lambda: (None, "there are no namespaces"))
    with pytest.raises(SandboxUnavailable, match=r"no namespaces; .*--unsafe"):
        passes_tests(RIGHT, CHECK, "f")
    assert passes_tests(RIGHT, CHECK, "f", limits=LONG, unsafe=True).passed
    assert not passes_tests(ATTACKS["wrong"], CHECK, "f", limits=LONG, unsafe=True).passed
    assert run_program("while True: pass", limits=SHORT, unsafe=True).reason == "time"


VALUES = [
    None, True, 0, -5, 10**40, 1.5, float("inf"), 1 + 2j, "", "é\ud800\0", b"\x00\xff", [], (),
    set(), frozenset({1, (2, 3)}), {"a": [1, {2: (3,)}], (1, 2): None}, [[], [()]],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_data_comes_through(value):
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "data",
    [[], None, 3, "int", ["int"], ["int", 5], ["str", 5], ["object", 1], ["list", [1]],
     ["set", [["list", []]]], ["dict", [[["list", []], ["none"]]]], ["float", "x"]],
    ids=repr,
)  # fmt: skip
def test_what_is_not_data_is_refused(data):
    with pytest.raises(ValueError, match="not a value"):
        decode(data)
