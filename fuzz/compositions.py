"""Random compositions of a tokenizer.json's components against `tokenizers`, for some time.

    python -m fuzz.compositions --seconds 600 --seed 1

Prints how many files were equal, and how many were refused by whom; each difference with its seed.
"""

import argparse
import random
import time
from collections import Counter

from tests.support import compositions


def run(seed: int) -> str:
    """One file and ten texts."""
    rng = random.Random(seed)
    data = compositions.document(rng, *compositions.small(rng))
    return compositions.compare(data, [compositions.text(rng) for _ in range(10)])


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--seed", type=int, default=0, help="of the first file; others follow")
    parser.add_argument("--count", type=int, default=None, help="at most so many files")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    until, seed = time.monotonic() + arguments.seconds, arguments.seed
    while time.monotonic() < until and counts.total() != arguments.count:
        try:
            counts[run(seed)] += 1
        except BaseException as error:  # a panic is not an Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            counts["different"] += 1
            if counts["different"] <= 20:
                print(f"seed {seed}: {type(error).__name__}: {str(error)[:600]}")
        seed += 1
    print(f"{counts.total()} files: {dict(counts)}")
    raise SystemExit(counts["different"] > 0)


if __name__ == "__main__":
    main()
