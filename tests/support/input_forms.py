"""Documents that are hard to keep apart, in every form of file that can be read."""

import gzip
import io
import json
import random

import pytest

SPECIAL = "<|endoftext|>"
RNG = random.Random(7)
DOCUMENTS = [
    "The first document, it's short.",
    "  blanks at both ends \n",
    "A second line\r\nand \u0085 a third\u2028 one\n\n\n",
    "naïve Größe 日本語 👍🏽 \ufeff",
    '{"text": "not JSON here"}',
    "<|endoftext| is no special token",
    # Larger than any buffer on the way, and full of places that must not be cut.
    "".join(RNG.choices(["é", "日", "👍", " ", "\n", "word", "'s", "42"], k=600_000)),
    *("".join(RNG.choices("abc é\n", k=RNG.randint(1, 200))) for _ in range(500)),
]


def zst(data, level=3):
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    return zstandard.ZstdCompressor(level=level).compress(data)


def as_text(documents):
    return SPECIAL.join(documents).encode()


def as_jsonl(documents):
    lines = [json.dumps({"id": i, "text": doc}) for i, doc in enumerate(documents)]
    # The other way to write the same, an empty line, a null, and no newline at the end.
    lines[1] = json.dumps({"text": documents[1]}, ensure_ascii=False)
    lines[3:3] = ["", '{"text": null}', "  \r"]
    return "\n".join(lines).encode()


def as_parquet(documents, kind="string", column="text"):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet as pq

    kinds = {
        "string": pa.string(),
        "large_string": pa.large_string(),
        "binary": pa.binary(),
        "dictionary": pa.dictionary(pa.int32(), pa.string()),
    }
    values = [doc.encode() for doc in documents] if kind == "binary" else documents
    table = pa.table(
        {"id": range(len(documents) + 1), column: pa.array([*values, None], kinds[kind])}
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=100)
    return sink.getvalue()


FORMS = {
    "a.txt": lambda: as_text(DOCUMENTS),
    "a.txt.gz": lambda: gzip.compress(as_text(DOCUMENTS)),
    "members.txt.gz": lambda: b"".join(
        gzip.compress(part) for part in in_parts(as_text(DOCUMENTS))
    ),
    "a.txt.zst": lambda: zst(as_text(DOCUMENTS)),
    "frames.txt.zst": lambda: b"".join(zst(part) for part in in_parts(as_text(DOCUMENTS))),
    "a.jsonl": lambda: as_jsonl(DOCUMENTS),
    "bom.jsonl": lambda: b"\xef\xbb\xbf" + as_jsonl(DOCUMENTS),
    "a.jsonl.gz": lambda: gzip.compress(as_jsonl(DOCUMENTS)),
    "a.jsonl.zst": lambda: zst(as_jsonl(DOCUMENTS)),
    "a.parquet": lambda: as_parquet(DOCUMENTS),
    "large.parquet": lambda: as_parquet(DOCUMENTS, "large_string"),
    "binary.parquet": lambda: as_parquet(DOCUMENTS, "binary"),
    "dictionary.parquet": lambda: as_parquet(DOCUMENTS, "dictionary"),
    "a.parquet.gz": lambda: gzip.compress(as_parquet(DOCUMENTS)),
    "a.parquet.zst": lambda: zst(as_parquet(DOCUMENTS)),
    "A.TXT": lambda: as_text(DOCUMENTS),
    "corpus.c": lambda: as_text(DOCUMENTS),
    "corpus.c.gz": lambda: gzip.compress(as_text(DOCUMENTS)),
    "no_extension": lambda: as_text(DOCUMENTS),
}


def in_parts(data):
    return [data[:1000], data[1000:1001], b"", data[1001:]]


def outcome(trainer):
    return trainer.counts.items(), trainer.train(600).merges
