"""Fuzzes the readers of files: whatever is in a file, only documented exceptions may come out.

    python -m fuzz.readers --seconds 60
    python -m fuzz.readers --surface jsonl --case 1234

Each surface starts from good files (made here, and found below `fuzz/seeds/readers/SURFACE/`, a
folder a seed) and mutates them: bytes, pieces, lines, values inside JSON, the text under a
compression. A case is determined by the surface, `--seed` and its number, which a failure tells;
its files are kept below `fuzz/artifacts/readers/`. A case that takes over `SLOW_S` is a failure
too. Exit status 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import itertools
import json
import random
import re
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bytemill.data
from bytemill import BpeTrainer, Counts, Tokenizer
from bytemill.data import iter_documents
from fuzz import tokenizer_jsons

Files = dict[str, bytes]
HERE = Path(__file__).resolve().parent
DOCUMENTED = (OSError, ValueError)
SLOW_S = 10.0
TEXT = "low lower lowest, newest 42 été 你好 <|end|>\r\n  x"
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 255, 256, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 10**30, 1.5),
    *(float("nan"), float("inf"), "", "a", "\ud800", "\x00", "Ġ", "é" * 50, "BPE", "ByteLevel"),
    *(
        [],
        {},
        [[]],
        [None],
        {"type": "Split"},
        {"Regex": "("},
        {"Regex": "(a+)+$"},
        {"Regex": r" ?\w+| ?[^\w\s]+|\s+"},
        {"Regex": r"\d"},
        {"Regex": r"(?i:ß|[k-m])|\bx"},
        {"String": " "},
        ["a", "b", "c"],
    ),
)
ODD_BYTES = (
    *(b"\x00", b"\xff", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"{", b"}", b"[" * 3000, b'{"a":' * 3000, b'"', b"\\u0000", b"1e999", b"9" * 5000, b"-1"),
    *(b"NaN", b" ", b"\t", b"=", b"====", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"null"),
)


def _small() -> Tokenizer:
    trainer = BpeTrainer(pattern="gpt2", special_tokens=["<|end|>", "<|e"])
    trainer.feed([TEXT] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.train(290)


def _saved(write: Callable[[Path], object]) -> Files:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def _lines() -> bytes:
    records = [{"text": TEXT}, {"text": "", "other": 1}, {"text": None}, {"text": "\ud83d\udc4d x"}]
    return b"\n".join(json.dumps(record).encode() for record in records) + b"\n"


def _zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def _parquet(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    texts = [TEXT, "", None, "é" * 300]
    columns = {"text": texts, "n": [1, 2, 3, 4]}
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet")


def _gpt2(tokenizer: Tokenizer) -> Files:
    return _saved(lambda f: tokenizer.to_files(f / "vocab.json", f / "merges.txt"))


def _counts(folder: Path) -> None:
    trainer = BpeTrainer(pattern="gpt2", special_tokens=["<|end|>"])
    trainer.feed([TEXT])
    trainer.counts.save(str(folder / "counts.txt"))


def _use(tokenizer: Tokenizer) -> None:
    """What loads must also work."""
    ids = tokenizer.encode(TEXT)
    if not set(ids) <= set(tokenizer.vocab):
        raise AssertionError("encoding gave an id that is not in the vocabulary")
    tokenizer.decode(ids)
    if not tokenizer.fingerprint:
        raise AssertionError("no fingerprint")


def _read_texts(path: Path) -> None:
    for errors in ("strict", "replace"):
        with contextlib.suppress(*DOCUMENTED):
            for text in iter_documents([path], errors=errors, special_tokens=["<|end|>"]):
                text.encode("utf-8", "surrogatepass")
    trainer = BpeTrainer(pattern="gpt2", special_tokens=["<|end|>"])
    trainer.feed_files([path])


def _shards(tokenizer: Tokenizer) -> tuple[Files, list[list[int]]]:
    """Two shards and their manifest, and the ids of each document."""
    with tempfile.TemporaryDirectory() as name:
        corpus, out = Path(name, "t.jsonl"), Path(name, "out")
        corpus.write_bytes(_lines() * 2)
        tokenizer.encode_files([corpus], out, shard_tokens=60)
        data: Any = bytemill.data
        ids = _ids(data.open_shards(out, tokenizer=tokenizer))
        return {path.name: path.read_bytes() for path in out.iterdir()}, ids


def _ids(shards: Any) -> list[list[int]]:
    return [shards.document(i).tolist() for i in range(shards.n_documents)]


def _read_shards(folder: Path, tokenizer: Tokenizer, ids: list[list[int]]) -> None:
    """What stands up to verification has the ids that were written."""
    data: Any = bytemill.data
    for verify in (True, False):
        with contextlib.suppress(*(DOCUMENTED if verify else ())):
            shards = data.open_shards(folder, tokenizer=tokenizer, verify=verify)
            if _ids(shards) != ids and verify:
                raise AssertionError("verified, but the documents are not those that were written")
            for i in range(-1, len(shards), 7):
                int(shards[i])


def surfaces() -> dict[str, tuple[list[Files], Callable[[Path], object]]]:
    """Good files of each surface, and what reads them from a folder."""
    small = _small()
    folder = _saved(small.save)
    ranks = next(data for name, data in folder.items() if name.endswith(".tiktoken"))
    found: dict[str, tuple[list[Files], Callable[[Path], object]]] = {
        "folder": ([folder], lambda f: _use(Tokenizer.load(f))),
        "tiktoken": (
            [{"x.tiktoken": ranks}],
            lambda f: _use(Tokenizer.from_tiktoken(f / "x.tiktoken", pattern="gpt2")),
        ),
        "tokenizer_json": (
            tokenizer_jsons.seeds(_saved(small.to_huggingface)),
            lambda f: _use(tokenizer_jsons.read(f)),
        ),
        "gpt2_files": (
            [_gpt2(small)],
            lambda f: _use(Tokenizer.from_files(f / "vocab.json", f / "merges.txt")),
        ),
        "counts": ([_saved(_counts)], lambda f: Counts.load(str(f / "counts.txt"))),
        "txt": ([{"t.txt": TEXT.encode() * 3}], lambda f: _read_texts(f / "t.txt")),
        "jsonl": ([{"t.jsonl": _lines()}], lambda f: _read_texts(f / "t.jsonl")),
        "jsonl_gz": (
            [{"t.jsonl.gz": gzip.compress(_lines(), mtime=0)}],
            lambda f: _read_texts(f / "t.jsonl.gz"),
        ),
    }
    with contextlib.suppress(ImportError):
        seed = [{"t.txt.zst": _zstd(TEXT.encode() * 3)}]
        found["txt_zst"] = (seed, lambda f: _read_texts(f / "t.txt.zst"))
    with contextlib.suppress(ImportError):
        found["parquet"] = ([_saved(_parquet)], lambda f: _read_texts(f / "t.parquet"))
    with contextlib.suppress(AttributeError, ImportError):
        good, ids = _shards(small)
        found["shards"] = ([good], lambda f: _read_shards(f, small, ids))
    for name, (seeds, _) in found.items():
        for path in sorted((HERE / "seeds" / "readers" / name).glob("*/")):
            seeds.append({file.name: file.read_bytes() for file in sorted(path.iterdir())})
    return found


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few changes of bytes, pieces or lines."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 16, 256)))
        kind = rng.randrange(8)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:end] = rng.randbytes(end - at)
        elif kind == 2:
            del out[at:end]
        elif kind == 3:
            out[at:at] = out[at:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            out[at:at] = rng.choice(ODD_BYTES)
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            lines = bytes(out).split(b"\n")
            i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
            out = bytearray(b"\n".join(lines))
        else:
            out[at:end] = rng.choice(ODD_BYTES)
    return bytes(out)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Another value, another key, or none, somewhere in an object; bytes if it is not JSON."""
    try:
        value = json.loads(data)
        # Of the many entries of a vocabulary, a few are enough.
        places = list(_places(value))
    except (RecursionError, ValueError, TypeError, AttributeError):
        return mutate_bytes(data, rng)
    shallow = [place for place in places if len(place[0]) < 30]
    for _ in range(rng.choice((1, 1, 2))):
        holder, key = rng.choice(shallow if shallow and rng.random() < 0.7 else places)
        kind = rng.randrange(5)
        with contextlib.suppress(KeyError, IndexError):
            if kind == 0:
                del holder[key]
            elif kind == 1:
                other, name = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[name]))
            elif kind == 2 and isinstance(holder, dict):
                holder[rng.choice(["", "a", "\ud800", "Ġ", "type", "text"])] = holder.pop(key)
            else:
                holder[key] = rng.choice(ODD_VALUES)
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def mutate_file(name: str, data: bytes, rng: random.Random) -> bytes:
    """A mutation that suits the file's kind, or one of its bytes."""
    inside = rng.random() < 0.6
    if inside and name.endswith(".gz"):
        with contextlib.suppress(OSError, EOFError, ValueError):
            return gzip.compress(mutate_file(name[:-3], gzip.decompress(data), rng), mtime=0)
    if inside and name.endswith(".zst"):
        import zstandard

        with contextlib.suppress(zstandard.ZstdError):
            whole = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
            return _zstd(mutate_bytes(whole, rng))
    if inside and name.endswith(".json"):
        return mutate_json(data, rng)
    if inside and name.endswith(".jsonl"):
        lines = data.split(b"\n")
        i = rng.randrange(len(lines))
        lines[i] = mutate_json(lines[i], rng)
        return b"\n".join(lines)
    return mutate_bytes(data, rng)


def make(seeds: Sequence[Files], rng: random.Random) -> Files:
    """The files of a case; now and then one is missing."""
    files = dict(rng.choice(seeds))
    for name in rng.sample(sorted(files), rng.randint(1, len(files))):
        if rng.random() < 0.01:
            del files[name]
        else:
            files[name] = mutate_file(name, files[name], rng)
    if rng.random() < 0.7:
        _repair(files)
    return files


def _repair(files: Files) -> None:
    """Sets right a checksum, so that the reader goes on to what is behind it."""
    if (data := files.get("counts.txt")) is not None:
        body = data[: data.rfind(b"end ")] if b"end " in data else data
        files["counts.txt"] = body + b"end %08x\n" % zlib.crc32(body)
    ranks = next((data for name, data in files.items() if name.startswith("ranks-")), None)
    if ranks is not None and "bytemill.json" in files:
        sha256 = hashlib.sha256(ranks).hexdigest().encode()
        pattern = rb'("ranks_sha256": ")[0-9a-f]*'
        files["bytemill.json"] = re.sub(pattern, rb"\g<1>" + sha256, files["bytemill.json"])


def run_case(files: Files, read: Callable[[Path], object]) -> tuple[str | None, bool]:
    """What went wrong, if anything; and whether the files were accepted."""
    with tempfile.TemporaryDirectory(prefix="bytemill-fuzz-") as name:
        for file, data in files.items():
            Path(name, file).write_bytes(data)
        start = time.perf_counter()
        accepted = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(Path(name))
        except DOCUMENTED as error:
            accepted = False
            if not str(error):
                return f"{type(error).__name__} without a message", accepted
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a Rust panic is not an Exception
            return f"{type(error).__name__}: {error}", False
        took = time.perf_counter() - start
        return (f"took {took:.1f} s" if took > SLOW_S else None), accepted


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = surfaces()
    parser.add_argument("--surface", action="append", choices=list(known), help="default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="per surface (default: 60)")
    parser.add_argument("--cases", type=int, metavar="N", help="per surface, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, metavar="I", help="run this case alone")
    parser.add_argument("--artifacts", type=Path, default=HERE / "artifacts" / "readers")
    args = parser.parse_args(argv)
    n_failures = 0
    for surface in args.surface or known:
        seeds, read = known[surface]
        for files in seeds:  # first, so that no case pays for imports
            problem, _ = run_case(files, read)
            if problem:
                n_failures += 1
                print(f"{surface}, a seed: {problem[:300]}", flush=True)
        end = time.monotonic() + args.seconds
        n_cases = n_accepted = 0
        cases = itertools.count() if args.case is None else [args.case]
        for case in cases:
            if args.case is None and (time.monotonic() > end or case == args.cases):
                break
            files = make(seeds, random.Random(f"{surface} {args.seed} {case}"))
            problem, accepted = run_case(files, read)
            n_cases += 1
            n_accepted += accepted
            if problem:
                n_failures += 1
                kept = args.artifacts / surface / str(case)
                kept.mkdir(parents=True, exist_ok=True)
                for name, data in files.items():
                    (kept / name).write_bytes(data)
                print(f"{surface} --seed {args.seed} --case {case}: {problem[:300]}", flush=True)
        print(f"{surface}: {n_cases:,} cases, {n_accepted:,} of them readable", flush=True)
    print(f"{n_failures} failures" if n_failures else "no failures")
    return 1 if n_failures else 0


if __name__ == "__main__":
    sys.exit(main())
