"""One process's part of the soak: its threads, and the operations that they choose from."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import tempfile
import threading
import time
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

import regex
import torch

from bytemill import BpeTrainer, Counts, Tokenizer
from bytemill.data import iter_documents, open_shards
from bytemill.lm.checkpoint.store import CheckpointStore
from tests.soak.children import (
    SHARDS,
    Action,
    Victim,
    encode_shards,
    save_checkpoint,
    save_counts,
    save_tokenizer,
    trained,
    write_megabyte,
)
from tests.soak.expected import PATTERNS, SPECIAL, SUPERWORDS, naive_ids, text_of
from tests.support import naive

THREADS = 4


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

    def killed(self, action: Action, arguments: tuple, rng: random.Random, longest: float) -> bool:
        """Whether a child was killed at its work; it may have ended before."""
        delay = rng.uniform(0, longest * rng.choice([1, 5, 25]))
        status = self.victim.run(action, arguments, delay)
        if status > 0:
            raise AssertionError(f"{action.__name__}{arguments} raised in a child")
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
        self.killed(save_counts, (new, path), rng, 0.05)
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
            self.killed(save_tokenizer, (path, shared), rng, 0.02)
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
            self.killed(encode_shards, (place, path, out), rng, 0.04)
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
        self.killed(save_checkpoint, (folder, step + 1), rng, 0.3)
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
            action, arguments = {
                "tokenizer": (save_tokenizer, (place, target / "t")),
                "counts": (save_counts, (items, target / "a.counts")),
                "shards": (encode_shards, (place, text, target / "s")),
                "checkpoint": (save_checkpoint, (target, 2)),
                "bytes": (write_megabyte, (target / "b",)),
            }[kind]
            if kind == "checkpoint":
                save_checkpoint(target, 1)
            before = contents(target)
            if self.disk is None:
                status = self.victim.run(action, arguments, 60.0, rng.randint(0, 20_000))
                failed = status != 0
            else:
                failed = self.on_full_disk(action, arguments, rng)
            self.tell("(full disks)" if failed else "(room was enough)")
            if failed and kind != "shards":
                assert contents(target) == before, f"{kind}: what was there is as it was"
            action(*arguments)  # there is room again
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

    def on_full_disk(self, action: Action, arguments: tuple, rng: random.Random) -> bool:
        """Does it with little room on the disk; whether it failed for that."""
        assert self.disk is not None
        ballast = self.disk / "ballast"
        free = os.statvfs(self.disk)
        room = rng.randint(0, 60_000)
        with ballast.open("wb") as file:
            file.write(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        try:
            action(*arguments)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            return True
        finally:
            ballast.unlink()
        return False


def contents(folder: Path) -> dict[str, bytes]:
    """All files in a folder, but for locks and folders that are empty."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
