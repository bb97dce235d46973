"""Published configurations of BPE of characters with bytes to fall back on, at a small size.

Vocabularies are trained here by `tokenizers`. "converted" ones have, as transformers writes
SentencePiece's models, a merge for every two tokens that make a token, in the order of the results.
"""

import functools
import json
from typing import Any

from tests.support.families import NFC, digits, row, template, token
from tests.support.vocabularies import generated_text

MARK = "\u2581"
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
PREPEND = {"type": "Prepend", "prepend": MARK}
LLAMA = {"type": "Sequence", "normalizers": [PREPEND, REPLACE]}
SPACES = {"type": "Replace", "pattern": {"String": MARK}, "content": " "}
FALLBACK = [{"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
FIRST = [token("<unk>"), token("<s>"), token("</s>")]
SPLIT = {
    "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
}  # fmt: skip
TURNS = [token("<start_of_turn>"), token("<end_of_turn>"), token("<table>", special=False)]
RUNS = [token(text, special=False) for text in ("\n\n", "\n", MARK * 2, MARK * 4)]


def metaspace(scheme: str, split: bool) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": split}


def decoder(*more: dict[str, Any], marked: bool = True) -> dict[str, Any]:
    return {"type": "Sequence", "decoders": [*[SPACES] * marked, *FALLBACK, *more]}


# Name -> what a family says; "train": how text is cut in training; "converted": all merges.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama-2": {
        "normalizer": LLAMA,
        "decoder": decoder(STRIP),
        "first": FIRST,
        "last": [token("<pad>")],
        "post_processor": template(["<s>"]),
        "converted": True,
    },
    "llama-2-normalized": {
        "normalizer": LLAMA,
        "decoder": decoder(STRIP),
        "first": [token(t["content"], normalized=True) for t in FIRST],
        "post_processor": template(["<s>"], ["</s>"]),
        "converted": True,
    },
    "mistral-7b": {
        "normalizer": LLAMA,
        "decoder": decoder(STRIP),
        "first": FIRST,
        "post_processor": template(["<s>"]),
    },
    "mistral-7b-v3": {
        "pre_tokenizer": metaspace("first", False),
        "decoder": decoder(STRIP),
        "first": [*FIRST, token("[INST]"), token("[/INST]")],
        "post_processor": template(["<s>"]),
        "converted": True,
    },
    "phi-3": {
        "normalizer": LLAMA,
        "decoder": decoder(STRIP),
        "first": [*FIRST[:2], token("</s>", rstrip=True, special=False)],
        "last": [token("<|user|>", rstrip=True), token("<|end|>", rstrip=True)],
        "converted": True,
    },
    "gemma": {
        "normalizer": REPLACE,
        "pre_tokenizer": SPLIT,
        "decoder": decoder(),
        "first": [token("<pad>"), token("<eos>"), token("<bos>"), token("<unk>"), *TURNS],
        "last": RUNS,
        "post_processor": template(["<bos>"]),
        "converted": True,
    },
    "metaspace-always": {
        "pre_tokenizer": metaspace("always", True),
        "decoder": decoder(STRIP),
        "first": FIRST,
        "last": [token("<|im_start|>"), token("<tool>", special=False)],
    },
    "metaspace-never": {
        "pre_tokenizer": row(metaspace("never", False), digits(True)),
        "decoder": decoder(),
        "first": FIRST,
    },
    "across-words": {
        "normalizer": {"type": "Sequence", "normalizers": [NFC, REPLACE]},
        "decoder": decoder(),
        "first": FIRST,
        "train": None,
    },
    "spaces-are-characters": {
        "normalizer": NFC,
        "decoder": decoder(marked=False),
        "first": FIRST,
        "train": None,
    },
}


@functools.cache
def document(name: str) -> str:
    """A family's tokenizer.json, as `tokenizers` itself saves it."""
    import tokenizers

    family = FAMILIES[name]
    cut = family.get("train", metaspace("never", True))
    first = [entry["content"] for entry in family["first"]]
    characters, merges = _trained(tokenizers, cut, 500, marked=name != "spaces-are-characters")
    tokens = [*first, *(f"<0x{byte:02X}>" for byte in range(256))]
    made = [left + right for left, right in merges]
    # SentencePiece puts characters, by frequency, behind what is merged.
    tokens += [text for text in dict.fromkeys([*made, *characters]) if text not in tokens]
    vocab = {text: id_ for id_, text in enumerate(tokens)}
    if family.get("converted"):
        merges = _all_merges(vocab, list(dict.fromkeys(made)))
    last = [entry["content"] for entry in family.get("last", [])]
    behind = [text for text in last if text not in vocab]
    ids = {**vocab, **{text: len(vocab) + i for i, text in enumerate(behind)}}
    added = [
        {"id": ids[entry["content"]], **entry}
        for entry in [*family["first"], *family.get("last", [])]
    ]
    post = family.get("post_processor")
    if post is not None:
        special = {
            text: {"id": text, "ids": [ids[text]], "tokens": [text]}
            for text in post["special_tokens"]
        }
        post = {**post, "special_tokens": special}
    data = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": sorted(added, key=lambda entry: entry["id"]),
        "normalizer": family.get("normalizer"), "pre_tokenizer": family.get("pre_tokenizer"),
        "post_processor": post, "decoder": family["decoder"],
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
            "vocab": vocab, "merges": [list(pair) for pair in merges], **family.get("model", {}),
        },
    }  # fmt: skip
    text: str = tokenizers.Tokenizer.from_str(json.dumps(data)).to_str()
    return text


@functools.cache
def _text() -> str:
    return generated_text(3) + "the 12345 end  of\n\nit    all, naïve (a) b.c " * 20


def _trained(
    tokenizers: Any, cut: dict[str, Any] | None, size: int, *, marked: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    """Characters, and merges in their order; runs of spaces and of line feeds are merged too."""
    empty = {
        "version": "1.0", "added_tokens": [], "normalizer": REPLACE if marked else None,
        "pre_tokenizer": cut, "model": {"type": "BPE", "vocab": {}, "merges": []},
    }  # fmt: skip
    library = tokenizers.Tokenizer.from_str(json.dumps(empty))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, limit_alphabet=90, initial_alphabet=[], show_progress=False
    )
    lines = [_text()[i : i + 200] for i in range(0, len(_text()), 200)]
    library.train_from_iterator(lines, trainer)
    model = json.loads(library.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    if marked:
        runs = [(MARK, MARK), (MARK * 2, MARK * 2), ("\n", "\n")]
        merges += [pair for pair in runs if "".join(pair) not in model["vocab"]]
    characters = dict.fromkeys([*(t for t in model["vocab"] if len(t) == 1), "\n", "é", "中"])
    return list(characters), merges


def _all_merges(vocab: dict[str, int], made: list[str]) -> list[tuple[str, str]]:
    merges = []
    for text in made:
        ways = [(text[:i], text[i:]) for i in range(1, len(text))]
        known = [(a, b) for a, b in ways if a in vocab and b in vocab]
        merges += sorted(known, key=lambda pair: (-len(pair[0]), -len(pair[1])))
    return merges
