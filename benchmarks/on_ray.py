"""Two Ray workers of one core against two threads: processor time, wall time, bytes between them.

    python -m benchmarks.on_ray --corpus books.txt code.txt --vocab-size 32768

Both sides count and encode the same files, by turns; what they make is compared. Both encode with
a tokenizer that has encoded nothing yet, as a worker's is in each run. The cluster is two nodes of
one CPU on this machine. Processor time is that of the driver and of the workers; of threads that of
the process. Linux only, as it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bytemill import BpeTrainer, Tokenizer
from bytemill.data import expand_inputs, on_ray

SPECIAL = "<|endoftext|>"
MEMORY = 400 << 20


def worker_seconds() -> float:
    """Processor time of all workers of this process's cluster so far."""
    ticks: dict[int, int] = {}
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            name = (folder / "cmdline").read_bytes()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        parents[int(folder.name)] = int(fields[1])
        if name.startswith(b"ray::"):
            ticks[int(folder.name)] = int(fields[11]) + int(fields[12])

    def is_ours(pid: int) -> bool:
        while pid > 1 and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    return sum(n for pid, n in ticks.items() if is_ours(pid)) / os.sysconf("SC_CLK_TCK")


def measured(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and processor seconds of a call, and what it returns."""
    wall, cpu, workers = time.perf_counter(), time.process_time(), worker_seconds()
    result = run()
    cpu, workers = time.process_time() - cpu, worker_seconds() - workers
    return time.perf_counter() - wall, cpu + workers, result


def compare(
    name: str, n_bytes: int, rounds: int, threads: Callable[[], Any], ray: Callable[[], Any]
) -> Any:
    """Times both by turns and prints the best of each."""
    sides: dict[str, list[tuple[float, float, Any]]] = {"threads": [], "ray": []}
    for _ in range(rounds):
        sides["threads"].append(measured(threads))
        sides["ray"].append(measured(ray))
    for side, results in sides.items():
        wall, cpu = (min(result[i] for result in results) for i in (0, 1))
        print(
            f"{name} {side}: {wall:.2f} s, {n_bytes / wall / 1e6:.0f} MB/s; processor {cpu:.2f} s, "
            f"{n_bytes / cpu / 1e6:.0f} MB/s a core",
            flush=True,
        )
    ratio = min(r[1] for r in sides["threads"]) / min(r[1] for r in sides["ray"])
    rounds_ = zip(sides["threads"], sides["ray"], strict=True)
    by_round = ", ".join(f"{one[1] / other[1]:.2f}" for one, other in rounds_)
    print(
        f"{name}: ray has {ratio:.2f} of the threads' speed by processor time; by round {by_round}",
        flush=True,
    )
    return sides["ray"][-1][2]


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpus", nargs="+", required=True, metavar="PATH")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=3, help="by turns, of which the best counts")
    args = parser.parse_args()

    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    n_bytes = sum(file.size for file in expand_inputs(args.corpus))
    options: dict[str, Any] = {"pattern": "cl100k", "special_tokens": [SPECIAL]}

    def count_here() -> Any:
        trainer = BpeTrainer(num_threads=2, **options)
        trainer.feed_files(args.corpus)
        return trainer.counts

    trainer = BpeTrainer(num_threads=2, **options)
    trainer.feed_files(args.corpus)
    tokenizer: Tokenizer = trainer.train(args.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        # Once before: starting workers and importing are not what is measured.
        on_ray.encode(args.corpus, tokenizer, Path(folder, "first"))
        counts = compare(
            "count", n_bytes, args.rounds, count_here, lambda: on_ray.count(args.corpus, **options)
        )
        if counts.items() != trainer.counts.items():
            raise SystemExit("the counts differ")
        print(f"counts: {len(counts):,} pretokens, {len(counts.to_bytes()):,} bytes as sent")
        unused = [pickle.loads(pickle.dumps(tokenizer)) for _ in range(args.rounds)]
        n = 0

        def fresh() -> Path:
            nonlocal n
            n += 1
            return Path(folder, str(n))

        compare(
            "encode",
            n_bytes,
            args.rounds,
            lambda: unused.pop().encode_files(args.corpus, fresh(), num_threads=2),
            lambda: on_ray.encode(args.corpus, tokenizer, fresh()),
        )
        one, other = (Path(folder, str(i)) for i in (1, 2))
        names = sorted(path.name for path in one.iterdir())
        if any((one / name).read_bytes() != (other / name).read_bytes() for name in names):
            raise SystemExit("the shards differ")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
