"""Every surface under limits of memory, each in a process of its own: `python -m` this, on Linux.

For each surface and limit a child is forked, so that it has the vocabulary but nothing that a
first call makes. It limits its address space, calls, lifts the limit, and calls again what was
refused, on the same object. Prints a JSON object, surface -> limit -> what happened: "right",
"MemoryError, then right", or whatever else. A limit is in MB above what the process has mapped;
"resident" is 1 MB above what it uses, which is less than it has mapped, as CS336's tests have it.
"""

import hashlib
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bytemill import BpeTrainer, Tokenizer, _core, train_bpe
from bytemill.data import open_shards
from bytemill.formats import huggingface
from bytemill.formats.tokenizer_json import content
from bytemill.vocabulary import Vocabulary

LIMITS = ("resident", "0.2", "1", "4", "16", "64")
SECONDS = 600
"""After which a call counts as hanging."""

SPECIAL = ["<|end|>"]
NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "NFKD"},
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"String": "e"}, "content": "xy"},
        {"type": "Replace", "pattern": {"Regex": "[aou]+"}, "content": "é"},
        {"type": "Strip", "strip_left": True, "strip_right": True},
    ],
}
SYLLABLES = "the ing er low new est wid ka to ri ша му é 你好 世界 na m aa".split()  # noqa: SIM905


def generated(words: int) -> str:
    """Words, of which many come once, and long runs."""
    rng = random.Random(0)
    lexicon = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 5))) for _ in range(words // 4)]
    text = " ".join(rng.choices(lexicon, k=words))
    return text + "a" * 100_000 + "你好世界" * 20_000 + text[: len(text) // 8]


class Surfaces:
    """What is called: name -> (what makes a fresh object, what is done with it)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = text = generated(100_000)
        self.file = folder / "text.txt"
        self.file.write_text(text, encoding="utf-8")
        self.texts = [text[i : i + 200] for i in range(0, len(text), 200)]
        trainer = self.new_trainer()
        trainer.feed([text[:300_000]])
        self.trained = trainer.train(2000)
        self.trained.save(folder / "tokenizer")
        self.counts = trainer.counts
        self.saved = str(folder / "counts")
        self.counts.save(self.saved)
        # The forked children's tokenizers have not encoded anything.
        self.ids = self.trained.encode(text)
        self.array = np.array(self.ids)
        self.batch = self.trained.encode_batch(self.texts, 1)
        self.shards = folder / "shards"
        self.trained.encode_files([self.file], self.shards, shard_tokens=20_000)
        spans = self.new_trainer(superwords_from=600)
        spans.feed([text[:100_000]])
        self.spans = spans.counts
        self.superwords = spans.train(1200).vocabulary
        self.trained.to_huggingface(folder / "tokenizer.json")
        self.normalizing = self.shaped(NORMALIZER, use_regex=True)
        self.splitting = self.shaped(None, use_regex=False)

    def new_tokenizer(self) -> Tokenizer:
        return Tokenizer.from_vocabulary(self.trained.vocabulary)

    def new_trainer(self, **options: Any) -> BpeTrainer:
        return BpeTrainer(special_tokens=SPECIAL, **options)

    def shaped(self, normalizer: Any, *, use_regex: bool) -> Vocabulary:
        """The tokens in another tokenizer.json: with a space put before, and splits of bytes."""
        level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
        split = {"type": "Split", "pattern": {"Regex": "Ġ?[^Ġ]+"}, "behavior": "Isolated"}
        parts = [
            {**level, "use_regex": use_regex},
            *([] if use_regex else [{**split, "invert": False}]),
        ]
        document = {
            **huggingface.to_dict(self.trained.vocabulary),
            "normalizer": normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts},
        }
        return content.vocabulary(document, "shaped")

    def of_tokenizers(self) -> dict[str, Callable[[Tokenizer], Any]]:
        text, texts, ids = self.text, self.texts, self.ids
        pieces = [text[i : i + 5000] for i in range(0, len(text), 5000)]
        words = pieces[: len(pieces) // 2]
        return {
            "encode": lambda t: t.encode(text),
            "encode, short": lambda t: t.encode(text[:3000]),
            "encode_ordinary": lambda t: t.encode_ordinary(text),
            "encode_to_numpy": lambda t: t.encode_to_numpy(text).tobytes(),
            "encode_batch": lambda t: t.encode_batch(texts),
            "encode_batch, 4 threads": lambda t: t.encode_batch(texts, 4),
            "encode_ordinary_batch": lambda t: t.encode_ordinary_batch(texts),
            "encode_batch_to_numpy": lambda t: [
                a.tobytes() for a in t.encode_batch_to_numpy(texts)
            ],
            "encode_iterable": lambda t: sum(t.encode_iterable(words)),
            "encode_iterable, long runs": lambda t: sum(t.encode_iterable(pieces)),
            "encode_iterable, one piece": lambda t: sum(t.encode_iterable([text])),
            "encode_files": self.encode_files,
            "encode_files_to_numpy": lambda t: [
                a.tobytes() for a in t.encode_files_to_numpy([self.file])
            ],
            "encode_with_offsets": lambda t: t.encode_with_offsets(text),
            "encode_with_unstable": lambda t: t.encode_with_unstable(text[:100_000]),
            "count": lambda t: t.count(text),
            "count_batch": lambda t: t.count_batch(texts),
            "truncate": lambda t: t.truncate(text, len(ids) // 2),
            "decode": lambda t: t.decode(ids),
            "decode, an array": lambda t: t.decode(self.array),
            "decode_bytes": lambda t: t.decode_bytes(ids),
            "decode_batch": lambda t: t.decode_batch(self.batch),
            "decode_tokens_bytes": lambda t: t.decode_tokens_bytes(ids),
            "decode_with_offsets": lambda t: t.decode_with_offsets(ids),
            "stream_decoder": self.decode_stream,
            "merges": lambda t: t.merges,
        }

    def others(self) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
        def nothing() -> None:
            return None

        def of(vocabulary: Vocabulary) -> Callable[[], Tokenizer]:
            return lambda: Tokenizer.from_vocabulary(vocabulary)

        text, spaced, split, across = (
            self.text,
            of(self.normalizing),
            of(self.splitting),
            of(self.superwords),
        )
        load = _core.Counts.load
        return {
            "Tokenizer.load": (nothing, lambda _: Tokenizer.load(self.folder / "tokenizer").merges),
            "Tokenizer": (nothing, lambda _: self.new_tokenizer().encode("hello world")),
            "normalizing": (spaced, lambda t: t.encode(text)),
            "normalizing, offsets": (spaced, lambda t: t.encode_with_offsets(text)),
            "normalizing, a stream": (spaced, lambda t: sum(t.encode_iterable([text]))),
            "splits of bytes": (split, lambda t: t.encode(text)),
            "superwords": (across, lambda t: t.encode(text)),
            "superwords, encode_batch": (across, lambda t: t.encode_batch([text, text[:9]], 2)),
            "superwords, train": (lambda: self.spans, lambda c: self.trained_on(c).merges),
            "extended": (self.new_tokenizer, lambda t: t.extended([text[:20_000]], 2010).merges),
            "pruned": (self.new_tokenizer, lambda t: t.pruned([text[:200_000]]).merges),
            "pickled": (self.new_tokenizer, lambda t: pickle.loads(pickle.dumps(t)).merges),
            "from_huggingface": (
                nothing,
                lambda _: Tokenizer.from_huggingface(self.folder / "tokenizer.json").merges,
            ),
            "Shards": (nothing, lambda _: self.read_shards()),
            "feed": (self.new_trainer, lambda t: counted(t, t.feed, [self.text])),
            "feed, short texts": (self.new_trainer, lambda t: counted(t, t.feed, self.texts)),
            "feed_files": (self.new_trainer, lambda t: counted(t, t.feed_files, [self.file])),
            "train": (lambda: trainer_of(self.counts), lambda t: t.train(1500).merges),
            "train_bpe": (nothing, lambda _: train_bpe(self.file, 500, SPECIAL)[1]),
            "Counts.items": (lambda: self.counts, lambda c: c.items()),
            "Counts.save": (lambda: self.counts, self.save),
            "Counts.load": (nothing, lambda _: load(self.saved).items()),
            "Counts.merge": (nothing, lambda _: merged(load(self.saved), self.counts)),
        }

    def encode_files(self, tokenizer: Tokenizer) -> list[bytes]:
        out = self.folder / f"shards-{os.getpid()}"
        shutil.rmtree(out, ignore_errors=True)
        try:
            tokenizer.encode_files([self.file], out)
            return [path.read_bytes() for path in sorted(out.glob("*.npy"))]
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def trained_on(self, spans: _core.Counts) -> Tokenizer:
        trainer = self.new_trainer(superwords_from=500)
        trainer.add_counts(spans)
        return trainer.train(1000)

    def read_shards(self) -> tuple[bytes, bytes]:
        shards = open_shards(self.shards)
        return shards[:50_000].tobytes(), shards.document(0).tobytes()

    def decode_stream(self, tokenizer: Tokenizer) -> str:
        decoder = tokenizer.stream_decoder()
        parts = [self.ids[i : i + 50_000] for i in range(0, len(self.ids), 50_000)]
        return "".join([decoder.push(part) for part in parts]) + decoder.finish()

    def save(self, counts: _core.Counts) -> bytes:
        path = self.folder / f"counts-{os.getpid()}"
        counts.save(path)
        return path.read_bytes()


def counted(
    trainer: BpeTrainer, feed: Callable[[Any], None], texts: list[Any]
) -> list[tuple[bytes, int]]:
    """What a trainer counts; it may be that only the list of it was refused before."""
    if not trainer.counts.total:
        feed(texts)
    return trainer.counts.items()


def trainer_of(counts: _core.Counts) -> BpeTrainer:
    trainer = BpeTrainer(special_tokens=SPECIAL)
    trainer.add_counts(counts)
    return trainer


def merged(counts: _core.Counts, other: _core.Counts) -> list[tuple[bytes, int]]:
    counts.merge(other)
    return counts.items()


def in_bytes(limit: str) -> int:
    """A limit of this process's address space."""
    mapped, resident = (int(n) for n in Path("/proc/self/statm").read_text().split()[:2])
    if limit == "resident":
        return resident * resource.getpagesize() + 1_000_000
    return mapped * resource.getpagesize() + int(float(limit) * 1e6)


def digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def attempt(call: Callable[[Any], Any], thing: Any, limit: str | None) -> tuple[str, str]:
    """What a call under a limit came to, and the digest of its result, later if it was refused."""
    if limit is None:
        return "", digest(call(thing))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    try:
        resource.setrlimit(resource.RLIMIT_AS, (in_bytes(limit), hard))
        result, outcome = call(thing), ""
    except MemoryError:
        result, outcome = None, "MemoryError, then "
    except BaseException as error:
        result, outcome = None, f"{type(error).__name__}: {error}, then "
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        return outcome, digest(call(thing) if outcome else result)
    except BaseException as error:
        return f"{outcome}{type(error).__name__}: {error}, ", ""


def forked(call: Callable[[Any], Any], thing: Any, limit: str | None) -> tuple[str, str]:
    """`attempt` in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(attempt(call, thing, limit)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    if not select.select([reading], [], [], SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
    answer = os.read(reading, 1 << 16)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not answer:
        return ("hangs" if status == -signal.SIGKILL else f"ends with status {status}"), ""
    outcome, found = json.loads(answer)
    return outcome, found


def main(limits: list[str], only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        surfaces = Surfaces(Path(folder))
        calls = {name: (surfaces.new_tokenizer, f) for name, f in surfaces.of_tokenizers().items()}
        outcomes: dict[str, dict[str, str]] = {}
        for name, (make, call) in {**calls, **surfaces.others()}.items():
            if only and name not in only:
                continue
            # The object is as new in each child.
            thing = make()
            expected = forked(call, thing, None)[1]
            outcomes[name] = {}
            for limit in limits:
                outcome, found = forked(call, thing, limit)
                is_right = bool(found) and found == expected
                outcomes[name][limit] = outcome + (
                    "right" if is_right else "wrong" if found else ""
                )
        print(json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    surfaces = [word.removeprefix("--only=") for word in sys.argv[1:] if word.startswith("--only=")]
    main([word for word in sys.argv[1:] if not word.startswith("--")] or list(LIMITS), surfaces)
