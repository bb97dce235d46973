"""BPE training by the book, in Python: what the trainer is compared with."""

import itertools
from collections import Counter

import regex

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TIE_RULES = ("lexicographic", "lowest_id", "huggingface")


def split_documents(text, special_tokens):
    """The parts between special tokens: leftmost, and of several at one place the longest."""
    documents, start, at = [], 0, 0
    while at < len(text):
        here = [token for token in special_tokens if text.startswith(token, at)]
        if here:
            documents.append(text[start:at])
            at = start = at + len(max(here, key=len))
        else:
            at += 1
    return [*documents, text[start:]]


def count(texts, pattern=GPT2, special_tokens=()):
    """Pretokens, as bytes, with how often they occur."""
    counts = Counter()
    find = regex.compile(pattern)
    for text in texts:
        for document in split_documents(text, special_tokens):
            counts.update(m[0].encode() for m in find.finditer(document) if m[0])
    return counts


def _huggingface_numbers():
    """Bytes -> their place among GPT-2's printable stand-ins, by code point."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_in = {byte: byte for byte in printable}
    stand_in.update((byte, 256 + i) for i, byte in enumerate(others))
    return {byte: place for place, byte in enumerate(sorted(range(256), key=stand_in.get))}


_HUGGINGFACE = _huggingface_numbers()


def train(
    counts, n_merges, tie_break="lexicographic", min_frequency=1, max_token_length=None, after=()
):
    """At most `n_merges` merges: each time all pairs are counted afresh and the best is joined.

    A pair whose joined bytes are a token already is joined to that token and makes no merge. The
    merges `after` which they come have been made before, and are not among those returned.
    """
    ids = {bytes([byte]): byte for byte in range(256)}
    merges = []
    words = [([bytes([byte]) for byte in word], n) for word, n in counts.items()]
    for pair in after:
        ids[pair[0] + pair[1]] = len(ids)
        words = [(join(word, pair), n) for word, n in words]

    def number(token):
        place = ids[token]
        return _HUGGINGFACE.get(place, place) if tie_break == "huggingface" else place

    def rank(item):
        (left, right), n = item
        if tie_break == "lexicographic":
            return n, (left, right)
        return n, (-number(left), -number(right))

    while len(merges) < n_merges:
        pairs = Counter()
        for word, n in words:
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        allowed = [
            item
            for item in pairs.items()
            if item[1] >= min_frequency
            and (max_token_length is None or len(b"".join(item[0])) <= max_token_length)
        ]
        if not allowed:
            break
        best = max(allowed, key=rank)[0]
        joined = best[0] + best[1]
        if joined not in ids:
            ids[joined] = len(ids)
            merges.append(best)
        words = [(join(word, best), n) for word, n in words]
    return merges


def join(word, pair):
    """A word with a pair joined wherever it is, from the left."""
    joined, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            joined.append(word[i] + word[i + 1])
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return joined


def needed(counts, merges):
    """The tokens that pretokens are encoded to by merges, and those that these are merged from."""
    found = {bytes([byte]) for byte in range(256)}
    for pretoken in counts:
        word = [bytes([byte]) for byte in pretoken]
        for pair in merges:
            word = join(word, pair)
        found.update(word)
    for left, right in reversed(merges):
        if left + right in found:
            found |= {left, right}
    return found
