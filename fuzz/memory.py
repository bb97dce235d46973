"""Streams, texts and counting under memory limits: the right result, or MemoryError, nothing lost.

    python -m fuzz.memory --seconds 60
    python -m fuzz.memory --case 1234

Each case runs in a process of its own, forked so that no case pays for imports, whose address
space may grow by a few megabytes only. It must end: with what comes without a limit, or with
MemoryError, after which the same tokenizer does the same work without the limit. A process that
dies, hangs or gives something else is a failure. A case is determined by `--seed` and its number.
Exit status 1 if one failed. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bytemill import BpeTrainer, Tokenizer

SAMPLE = "low lower lowest, newest 42 été 你好 <|end|>\r\n  x = don't "
SLOW_S = 60
MIB = 1 << 20
RIGHT, NO_MEMORY, WRONG = range(3)

Work = Callable[[Tokenizer, list[str]], Any]


def _decode(tokenizer: Tokenizer, pieces: list[str]) -> str:
    decoder = tokenizer.stream_decoder()
    parts = [decoder.push(tokenizer.encode_ordinary(piece)) for piece in pieces]
    return "".join(parts) + decoder.finish()


def _counts(_: Tokenizer, pieces: list[str]) -> list[tuple[bytes, int]]:
    trainer = BpeTrainer(pattern="gpt2")
    trainer.feed(pieces)
    return sorted(trainer.counts.items())


def _superwords(_: Tokenizer, pieces: list[str]) -> tuple[Any, list[int]]:
    trainer = BpeTrainer(pattern="gpt2", superwords_from=270)
    trainer.feed(pieces)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few texts have so many merges
        tokenizer = trainer.train(300)
    return tokenizer.merges, tokenizer.encode_ordinary("".join(pieces))


WORKS: dict[str, Work] = {
    "encode_iterable": lambda t, pieces: list(t.encode_iterable(pieces)),
    "stream_decoder": _decode,
    "encode": lambda t, pieces: t.encode_ordinary("".join(pieces)),
    "encode_batch": lambda t, pieces: t.encode_ordinary_batch(pieces),
    "encode_with_offsets": lambda t, pieces: t.encode_with_offsets("".join(pieces)),
    "count": lambda t, pieces: t.count("".join(pieces)),
    "truncate": lambda t, pieces: t.truncate("".join(pieces), 1000),
    "feed": _counts,
    "superwords": _superwords,
}


def make_pieces(rng: random.Random) -> list[str]:
    """Up to two megabytes of text: words, or few pretokens that are long; cut anywhere."""
    alphabet = rng.choice(["abcde ", "abcdefghijklmnop", "你好世界の", "aé你👍 \n", "0123456789 "])
    length = int(10 ** rng.uniform(2, 6.3))
    block = "".join(rng.choices(alphabet, k=min(length, 5000)))
    text = (block * (length // len(block) + 1))[:length]
    size = max(1, int(length / 10 ** rng.uniform(0, 2.5)))
    return [text[i : i + size] for i in range(0, length, size)]


def address_space() -> int:
    """Bytes of this process's address space."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def limited(work: Callable[[], Any], room: int) -> Any:
    """What `work` returns when the address space may only grow by `room` bytes."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + room, most))
    try:
        return work()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, most))


def in_child(work: Work, ranks: dict[bytes, int], pieces: list[str], room: int) -> int:
    """What became of the work; only for a process that is thrown away."""
    fresh = Tokenizer.from_ranks(ranks, pattern="gpt2")
    outcome = RIGHT
    try:
        found = limited(lambda: work(fresh, pieces), room)
    except MemoryError:
        outcome, found = NO_MEMORY, work(fresh, pieces)
    # Not before, or the memory that it leaves behind would be there for the case.
    if found != work(Tokenizer.from_ranks(ranks, pattern="gpt2"), pieces):
        print("another result", file=sys.stderr)
        return WRONG
    return outcome


def run_case(name: str, ranks: dict[bytes, int], pieces: list[str], room: int) -> int | str:
    """`RIGHT` or `NO_MEMORY`; or what went wrong."""
    child = os.fork()
    if child == 0:
        outcome = WRONG
        signal.alarm(SLOW_S)
        try:
            outcome = in_child(WORKS[name], ranks, pieces, room)
        except BaseException:  # a Rust panic is no Exception
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(outcome)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "it hangs" if number == signal.SIGALRM else f"it dies: {signal.Signals(number).name}"
    code = os.WEXITSTATUS(status)
    return code if code in (RIGHT, NO_MEMORY) else f"exit status {code}"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", action="append", choices=list(WORKS), help="default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, metavar="I", help="run this case alone")
    args = parser.parse_args(argv)
    tokenizer = Tokenizer.train([SAMPLE * 20], vocab_size=290, pattern="gpt2")
    ranks = dict(tokenizer.mergeable_ranks)
    end = time.monotonic() + args.seconds
    counts = {name: [0, 0] for name in args.work or WORKS}
    n_failures = 0
    for case in itertools.count() if args.case is None else [args.case]:
        if args.case is None and time.monotonic() > end:
            break
        rng = random.Random(f"memory {args.seed} {case}")
        name = rng.choice(list(counts))
        pieces, room = make_pieces(rng), int(MIB * 2 ** rng.uniform(-2, 7))
        outcome = run_case(name, ranks, pieces, room)
        if isinstance(outcome, str):
            n_failures += 1
            size = sum(map(len, pieces))
            print(f"--case {case}: {name}, {size:,} characters, {room:,} bytes more: {outcome}")
        else:
            counts[name][outcome] += 1
    for name, (right, without) in counts.items():
        print(f"{name}: {right:,} right, {without:,} without memory", flush=True)
    print(f"{n_failures} failures" if n_failures else "no failures")
    return 1 if n_failures else 0


if __name__ == "__main__":
    sys.exit(main())
