"""A soak: random operations for as long as one likes, each checked against naive versions.

    python -m tests.soak --minutes 30

Two processes of four threads each encode, decode and stream text, train, extend and prune
tokenizers, save and load them in folders that all of them share, hand them to transformers, encode
files to shards and write checkpoints. Children are killed (SIGKILL) while they write, and disks run
full (a small tmpfs where one can be mounted, or else a limit on the size of files). pytest does not
collect this file. It needs Linux or macOS.

The exit status is 0 if nothing failed. Each failure is printed with the seed that chose it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zlib
from collections import Counter
from multiprocessing import Pipe
from pathlib import Path

import regex
import torch

from bytemill import BpeTrainer, Counts, Tokenizer, files
from bytemill.data import iter_documents, open_shards
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.optim.groups import OptimConfig, build_optimizers
from tests.support import naive
from tests.support.lm_runs import tiny_model
from tests.support.vocabularies import PIECES, generated_text

PROCESSES, THREADS = 2, 4
SPECIAL = ["<|end|>", "<|end|><|end|>"]
PATTERNS = {"gpt2": naive.GPT2, r"\w+|\s+|[^\w\s]": r"\w+|\s+|[^\w\s]"}
SIZES = (300, 400, 490)
SUPERWORDS = "superwords"
DISK = 3_000_000
"""Bytes of the disk that runs full."""
WORDS = ["low", "lower", "lowest", "new", "newer", "newest", "wide", "the", "a", "of", "and"]


def text_of(rng: random.Random, n: int) -> str:
    """Text with hard places, special tokens among them."""
    return "".join(rng.choice(PIECES) if rng.random() < 0.4 else rng.choice(WORDS) + " "
                   for _ in range(n))  # fmt: skip


def naive_ids(tokenizer: Tokenizer, pattern: str, text: str, special: bool = True) -> list[int]:
    """The ids by the definition: cut at special tokens, into pretokens, and merge by rank."""
    ranks, ids = tokenizer.mergeable_ranks, []
    known = tokenizer.special_tokens if special else {}
    longest_first = sorted(known, key=len, reverse=True)
    parts = [text]
    if longest_first:
        parts = regex.split("(" + "|".join(map(regex.escape, longest_first)) + ")", text)
    for i, part in enumerate(parts):
        if i % 2:
            ids.append(known[part])
            continue
        for found in regex.finditer(pattern, part):
            word = [bytes([byte]) for byte in found[0].encode()]
            while len(word) > 1:
                pairs = [ranks.get(a + b, len(ranks)) for a, b in itertools.pairwise(word)]
                best = min(pairs)
                if best == len(ranks):
                    break
                at = pairs.index(best)
                word[at : at + 2] = [word[at] + word[at + 1]]
            ids += [ranks[token] for token in word]
    return ids


class Victim:
    """A process with one thread that forks children to be killed at their work."""

    def __init__(self) -> None:
        self._mine, theirs = Pipe()
        self._lock = threading.Lock()
        if os.fork() == 0:
            self._mine.close()  # or the end of this process would not be seen
            self._serve(theirs)
        theirs.close()

    def _serve(self, pipe) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            try:
                name, arguments, delay, limit = pipe.recv()
            except EOFError:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                status = 1
                with contextlib.suppress(BaseException):
                    if limit is not None:
                        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                    globals()[name](*arguments)
                    status = 0
                os._exit(status)
            until = time.monotonic() + delay
            while time.monotonic() < until and not os.waitid(
                os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
            ):
                time.sleep(0.0005)
            os.kill(pid, signal.SIGKILL)
            pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def run(self, name: str, arguments: tuple, delay: float, limit: int | None = None) -> int:
        """Lets a function run for so many seconds: -9 if it was killed, 1 if it raised, or 0."""
        with self._lock:
            self._mine.send((name, arguments, delay, limit))
            return self._mine.recv()


# What is done in children, too


def save_tokenizer(fingerprint_from: Path, folder: Path) -> None:
    Tokenizer.load(fingerprint_from).save(folder)


def save_counts(items: list, path: Path) -> None:
    Counts.from_items("gpt2", SPECIAL, items).save(path)


def encode_shards(tokenizer: Path, text: Path, out: Path) -> None:
    Tokenizer.load(tokenizer).encode_files(text, out, **SHARDS)


SHARDS = {"separator": SPECIAL[0], "shard_tokens": 4000, "validation_fraction": 0.25,
          "num_threads": 2}  # fmt: skip


def save_checkpoint(run: Path, step: int) -> None:
    model, optimizers = trained(step)
    store = CheckpointStore(run)
    store.clean()
    store.save(step, model, optimizers, model_config=model.config.to_dict())


def trained(step: int):
    """A model that is known by its step, with optimizers that have a state."""
    model = tiny_model(seed=step, vocab_size=40 + step)
    optimizers = build_optimizers(model, OptimConfig())
    x = torch.arange(16).view(2, 8)
    model.loss(x, x.roll(1)).backward()
    for optimizer in optimizers:
        optimizer.step()
    return model, optimizers


class Soak:
    """One process's part."""

    def __init__(self, work: Path, disk: Path | None, seed: int, number: int, end: float) -> None:
        self.work, self.disk, self.seed, self.number, self.end = work, disk, seed, number, end
        self.victim = Victim()
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self.lock = threading.Lock()
        self.disk_lock = threading.Lock()
        self.mine = work / f"process-{number}"
        self.mine.mkdir()
        self.tokenizers = [
            (path, Tokenizer.load(path), pattern)
            for i, pattern in enumerate(PATTERNS.values())
            for path in sorted(work.glob(f"tokenizer-{i}-*"))
        ]
        superwords = work / SUPERWORDS
        tokenizer = Tokenizer.load(superwords)
        self.tokenizers.append((superwords, tokenizer, tokenizer.pat_str))
        self.known = {tokenizer.fingerprint for _, tokenizer, _ in self.tokenizers}
        self.shared = BpeTrainer(special_tokens=SPECIAL, num_threads=2)
        self.fed: Counter[bytes] = Counter()

    def run(self) -> None:
        """Works until the end, and prints what was done as a line of JSON."""
        threads = [threading.Thread(target=self.thread, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if dict(self.shared.counts.items()) != dict(self.fed):
            self.failures.append("the shared trainer's counts are not those of all texts")
        print(json.dumps({"done": self.done, "failures": self.failures}), flush=True)

    def thread(self, number: int) -> None:
        """Operations one after another, each with a seed of its own."""
        names = [name[3:] for name in dir(self) if name.startswith("do_")]
        turn = 0
        while time.time() < self.end:
            seed = f"{self.seed}-{self.number}-{number}-{turn}"
            rng = random.Random(seed)
            name = rng.choice(names)
            folder = Path(tempfile.mkdtemp(dir=self.mine))
            try:
                getattr(self, f"do_{name}")(rng, folder)
            except BaseException:
                with self.lock:
                    self.failures.append(f"{name}, seed {seed}:\n{traceback.format_exc()}")
            self.tell(name)
            shutil.rmtree(folder, ignore_errors=True)
            turn += 1

    def tell(self, event: str) -> None:
        with self.lock:
            self.done[event] += 1

    def killed(self, name: str, arguments: tuple, rng: random.Random, longest: float) -> bool:
        """Whether a child was killed at its work; it may have ended before."""
        delay = rng.uniform(0, longest * rng.choice([1, 5, 25]))
        status = self.victim.run(name, arguments, delay)
        if status > 0:
            raise AssertionError(f"{name}{arguments} raised in a child")
        self.tell("(kills)" if status else "(ended before the kill)")
        return status != 0

    # Text and ids

    def do_encode(self, rng: random.Random, folder: Path) -> None:
        _, tokenizer, pattern = rng.choice(self.tokenizers)
        texts = [text_of(rng, rng.randint(0, 60)) for _ in range(rng.randint(1, 6))]
        expected = [naive_ids(tokenizer, pattern, text) for text in texts]
        assert [tokenizer.encode(text) for text in texts] == expected
        assert tokenizer.encode_batch(texts, num_threads=rng.randint(1, 3)) == expected
        assert [tokenizer.count(text) for text in texts] == [len(ids) for ids in expected]
        text, ids = texts[0], expected[0]
        assert tokenizer.encode_ordinary(text) == naive_ids(tokenizer, pattern, text, False)
        assert tokenizer.encode_to_numpy(text).tolist() == ids
        found, spans = tokenizer.encode_with_offsets(text)
        assert found == ids and len(spans) == len(ids)
        matched = "".join(m[0] for m in regex.finditer(pattern, text))
        if matched == text:
            assert tokenizer.decode(ids) == text

    def do_stream(self, rng: random.Random, folder: Path) -> None:
        _, tokenizer, pattern = rng.choice(self.tokenizers)
        text = text_of(rng, rng.randint(0, 80))
        expected = naive_ids(tokenizer, pattern, text)
        pieces, at = [], 0
        while at < len(text):
            step = rng.choice([0, 1, 1, 2, 3, 7, 40])
            pieces.append(text[at : at + step])
            at += step
        assert list(tokenizer.encode_iterable(iter(pieces))) == expected
        decoder = tokenizer.stream_decoder()
        out = [decoder.push([id_]) for id_ in expected]
        assert "".join(out) + decoder.finish() == tokenizer.decode(expected)

    # Training

    def do_train(self, rng: random.Random, folder: Path) -> None:
        pattern = rng.choice(list(PATTERNS))
        texts = [text_of(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 5))]
        rule = rng.choice(naive.TIE_RULES)
        trainer = BpeTrainer(pattern=pattern, special_tokens=SPECIAL, tie_break=rule,
                             num_threads=rng.randint(1, 3))  # fmt: skip
        cut = rng.randint(0, len(texts))
        trainer.feed(texts[:cut])
        path = folder / "rest.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[cut:]))
        trainer.feed_files(path)
        counts = naive.count(texts, PATTERNS[pattern], SPECIAL)
        assert dict(trainer.counts.items()) == counts
        n_merges = rng.randint(0, 40)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = trainer.train(258 + n_merges)
        assert made.merges == naive.train(counts, n_merges, rule)

    def do_extended(self, rng: random.Random, folder: Path) -> None:
        texts = [text_of(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 5))]
        rule = rng.choice(naive.TIE_RULES)
        n, more = rng.randint(0, 20), rng.randint(0, 20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = Tokenizer.train(texts, 258 + n, SPECIAL, tie_break=rule)
            large = small.extended(texts, 258 + n + more, tie_break=rule)
        assert large.merges == naive.train(naive.count(texts, naive.GPT2, SPECIAL), n + more, rule)
        assert large.vocab.items() >= small.vocab.items()

    def do_pruned(self, rng: random.Random, folder: Path) -> None:
        _, tokenizer, pattern = rng.choice(self.tokenizers)
        texts = [text_of(rng, rng.randint(0, 60)) for _ in range(rng.randint(1, 4))]
        small = tokenizer.pruned(texts)
        for text in texts:
            ids = naive_ids(tokenizer, pattern, text)
            tokens = small.decode_tokens_bytes(small.encode(text))
            assert tokens == tokenizer.decode_tokens_bytes(ids)
        assert set(small.vocab.values()) <= set(tokenizer.vocab.values())

    def do_transformers(self, rng: random.Random, folder: Path) -> None:
        # Oniguruma would read the other pattern otherwise, which is refused.
        some = [found for found in self.tokenizers if r"\w" not in found[2]]
        _, tokenizer, pattern = rng.choice(some)
        texts = [text_of(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 4))]
        fast = tokenizer.as_transformers()
        expected = [naive_ids(tokenizer, pattern, text) for text in texts]
        assert fast(texts)["input_ids"] == expected
        assert fast.batch_decode(expected) == texts

    def do_shared_trainer(self, rng: random.Random, folder: Path) -> None:
        texts = [text_of(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 5))]
        self.shared.feed(texts)
        with self.lock:
            self.fed += naive.count(texts, naive.GPT2, SPECIAL)

    def do_counts(self, rng: random.Random, folder: Path) -> None:
        old, new = ([(f"w{i}".encode(), rng.randint(1, 2**40)) for i in range(n)]
                    for n in (50, rng.randint(1, 30_000)))  # fmt: skip
        path = folder / "a.counts"
        save_counts(old, path)
        self.killed("save_counts", (new, path), rng, 0.05)
        assert sorted(Counts.load(path).items()) in (sorted(old), sorted(new))
        save_counts(new, path)
        assert sorted(Counts.load(path).items()) == sorted(new)

    # Files that several write to

    def do_tokenizer_folders(self, rng: random.Random, folder: Path) -> None:
        path, tokenizer, _ = rng.choice(self.tokenizers)
        shared = self.work / f"shared-{rng.randint(0, 1)}"
        if rng.random() < 0.5:
            tokenizer.save(shared)
        else:
            self.killed("save_tokenizer", (path, shared), rng, 0.02)
        assert Tokenizer.load(shared).fingerprint in self.known

    def do_documents(self, rng: random.Random, folder: Path) -> None:
        texts = [text_of(rng, rng.randint(1, 30)) for _ in range(rng.randint(1, 9))]
        path = folder / "a.txt"
        path.write_bytes("".join(texts).encode())
        whole = "".join(texts)
        expected = [part for part in naive.split_documents(whole, SPECIAL) if part]
        assert list(iter_documents(path, special_tokens=SPECIAL)) == expected

    def do_shards(self, rng: random.Random, folder: Path) -> None:
        place, tokenizer, pattern = rng.choice(self.tokenizers)
        whole = SPECIAL[0].join(
            text_of(rng, rng.randint(1, 60)) for _ in range(rng.randint(1, 150))
        )
        path, out = folder / "a.txt", folder / "shards"
        path.write_bytes(whole.encode())
        for _ in range(rng.randint(0, 4)):
            self.killed("encode_shards", (place, path, out), rng, 0.04)
        manifest = tokenizer.encode_files(path, out, **SHARDS)
        self.check_shards(tokenizer, pattern, whole, out)
        assert tokenizer.encode_files(path, out, **SHARDS) == manifest
        tokenizer.encode_files(path, folder / "again", **SHARDS)
        both = [{p.name: p.read_bytes() for p in f.iterdir()} for f in (out, folder / "again")]
        assert both[0] == both[1], "a run that was killed ends with the same bytes"

    def check_shards(self, tokenizer: Tokenizer, pattern: str, whole: str, out: Path) -> None:
        documents = [part for part in naive.split_documents(whole, SPECIAL) if part]
        for split in ("train", "val"):
            shards = open_shards(out, split=split, tokenizer=tokenizer)
            mine = [d for d in documents
                    if (zlib.crc32(d.encode()) < 0.25 * 2**32) == (split == "val")]  # fmt: skip
            assert shards.n_documents == len(mine)
            for i, document in enumerate(mine):
                ids = naive_ids(tokenizer, pattern, document)
                assert shards.document(i).tolist() == [*ids, tokenizer.special_tokens[SPECIAL[0]]]

    def do_checkpoints(self, rng: random.Random, folder: Path) -> None:
        store = CheckpointStore(folder)
        step = rng.randint(1, 5)
        save_checkpoint(folder, step)
        self.killed("save_checkpoint", (folder, step + 1), rng, 0.3)
        last = store.last()
        assert last is not None and last.step in (step, step + 1)
        expected, states = trained(last.step)
        model, optimizers = trained(last.step)
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        last.load(model, optimizers)
        for name, weight in expected.state_dict().items():
            assert torch.equal(weight, model.state_dict()[name]), name
        for one, other in zip(states, optimizers, strict=True):
            assert str(one.state_dict()) == str(other.state_dict())
        store.clean()
        left = {path.name for path in store.folder.iterdir()}
        assert left <= {f"step-{n:08}" for n in (step, step + 1)}

    # Full disks

    def do_full_disk(self, rng: random.Random, folder: Path) -> None:
        kind = rng.choice(["tokenizer", "counts", "shards", "checkpoint", "bytes"])
        place, tokenizer, pattern = rng.choice(self.tokenizers)
        whole = SPECIAL[0].join(text_of(rng, 60) for _ in range(200))
        text = folder / "a.txt"
        text.write_bytes(whole.encode())
        items = [(f"w{i}".encode(), i + 1) for i in range(40_000)]
        with self.disk_lock:
            target = folder if self.disk is None else self.disk / folder.name
            target.mkdir(exist_ok=True)
            name, arguments = {
                "tokenizer": ("save_tokenizer", (place, target / "t")),
                "counts": ("save_counts", (items, target / "a.counts")),
                "shards": ("encode_shards", (place, text, target / "s")),
                "checkpoint": ("save_checkpoint", (target, 2)),
                "bytes": ("write_megabyte", (target / "b",)),
            }[kind]
            if kind == "checkpoint":
                save_checkpoint(target, 1)
            before = contents(target)
            if self.disk is None:
                status = self.victim.run(name, arguments, 60.0, rng.randint(0, 20_000))
                failed = status != 0
            else:
                failed = self.on_full_disk(name, arguments, rng)
            self.tell("(full disks)" if failed else "(room was enough)")
            if failed and kind != "shards":
                assert contents(target) == before, f"{kind}: what was there is as it was"
            globals()[name](*arguments)  # there is room again
            if kind == "tokenizer":
                assert Tokenizer.load(target / "t") == tokenizer
            elif kind == "counts":
                assert dict(Counts.load(target / "a.counts").items()) == dict(items)
            elif kind == "shards":
                self.check_shards(tokenizer, pattern, whole, target / "s")
            elif kind == "checkpoint":
                last = CheckpointStore(target).last()
                assert last is not None and last.step == 2
            else:
                assert (target / "b").read_bytes() == b"x" * 1_000_000
            assert not [p for p in target.rglob(".*") if p.name.endswith((".tmp", ".part"))]
            shutil.rmtree(target)

    def on_full_disk(self, name: str, arguments: tuple, rng: random.Random) -> bool:
        """Does it with little room on the disk; whether it failed for that."""
        assert self.disk is not None
        ballast = self.disk / "ballast"
        free = os.statvfs(self.disk)
        room = rng.randint(0, 60_000)
        with ballast.open("wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        try:
            globals()[name](*arguments)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            return True
        finally:
            ballast.unlink()
        return False


def write_megabyte(path: Path) -> None:
    files.write_bytes(path, b"x" * 1_000_000)


def contents(folder: Path) -> dict[str, bytes]:
    """All files in a folder, but for locks and folders that are empty."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextlib.contextmanager
def small_disks(work: Path):
    """A small disk for each process, where one can be mounted; None for each where not."""
    disks: list[Path | None] = []
    for number in range(PROCESSES):
        disk = work / f"disk-{number}"
        disk.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
        try:
            is_there = subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError:
            is_there = False
        disks.append(disk if is_there else None)
    try:
        yield disks
    finally:
        for disk in filter(None, disks):
            subprocess.run(["umount", str(disk)], check=False)


def prepare(work: Path) -> None:
    """The tokenizers that all processes use."""
    for i, pattern in enumerate(PATTERNS):
        for size in SIZES:
            tokenizer = Tokenizer.train([generated_text(i)], size, SPECIAL, pattern=pattern)
            tokenizer.save(work / f"tokenizer-{i}-{size}")
    for i in range(2):
        tokenizer.save(work / f"shared-{i}")
    superwords = Tokenizer.train([generated_text(2)], 490, SPECIAL, superwords_from=380)
    superwords.save(work / SUPERWORDS)


def main() -> int:
    """Starts the processes, waits for them, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part:
        work, disk, number, minutes = args.part
        end = time.time() + 60 * float(minutes)  # from here on: imports may take long
        Soak(Path(work), Path(disk) if disk else None, args.seed, int(number), end).run()
        return 0
    began = time.time()
    done: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, small_disks(Path(folder)) as disks:
        prepare(Path(folder))
        parts = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.soak", "--seed", str(args.seed), "--part", folder,
                 str(disk or ""), str(number), str(args.minutes)],
                stdout=subprocess.PIPE,
            )
            for number, disk in enumerate(disks)
        ]  # fmt: skip
        for part in parts:
            out, _ = part.communicate()
            if part.returncode:
                failures.append(f"a process ended with status {part.returncode}")
                continue
            found = json.loads(out)
            done.update(found["done"])
            failures += found["failures"]
    for failure in failures:
        print(failure)
    kind = "a tmpfs" if any(disks) else "a limit on files"
    print(f"{time.time() - began:.0f} s, seed {args.seed}, full disks by {kind}")
    for name, n in sorted(done.items()):
        print(f"{name:<24}{n:>9,}")
    print(f"{'operations':<24}{sum(n for name, n in done.items() if name[0] != '('):>9,}")
    print(f"{'failures':<24}{len(failures):>9,}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
