"""Published shapes of tokenizer.json against `tokenizers`, on whole texts and generated strings.

    python -m fuzz.families --text books.txt code.txt --strings 1000000

Each family's small file (`tests.support.families` and `tests.support.character_families`) encodes
the texts, in pieces, and its share of the strings, which are made of what tells shapes apart and of
the family's added tokens. Ids are compared; of strings and of every tenth piece also offsets, ids
with what the post-processor adds, and the decoded text. Prints a line for each family; the exit
status is 1 if anything differs.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tokenizers

from bytemill import Tokenizer
from bytemill.formats.tokenizer_json import content
from tests.support import character_families, families
from tests.support.vocabularies import PIECES

PIECE = 50_000
"""Characters of a text that are encoded together."""
_MORE = [
    "e\u0301", "\u1100\u1161\u11a8", "\ufb01", "中文，汉字", "ò²³", "1234567", "x1", "(a|b)", "<|",
    " ", "  ", "\n", "▁", "the", " the", " of", "<0x41>", "12", "naïve", "\u00a0", "\u3000",
    "\u200b", "'s", "A", "ß",
]  # fmt: skip


def untrimmed(part: Any) -> Any:
    """A post-processor without the parts that take white space off offsets."""
    if part is None or part["type"] in ("ByteLevel", "RobertaProcessing"):
        return None
    if part["type"] == "Sequence":
        return {**part, "processors": [p for p in map(untrimmed, part["processors"]) if p]}
    return part


class Pair:
    """A family's tokenizer, ours and theirs."""

    def __init__(self, of: ModuleType, name: str) -> None:
        document = of.document(name)
        data = json.loads(document)
        self.name, self.family = name, of.FAMILIES[name]
        self.ours = Tokenizer.from_vocabulary(content.vocabulary(data, name))
        self.theirs = tokenizers.Tokenizer.from_str(document)
        data["post_processor"] = untrimmed(data["post_processor"])
        self.plain = tokenizers.Tokenizer.from_str(json.dumps(data))
        # Tokens that are looked for in normalized text are decoded to it there, and not here.
        tokens = self.theirs.get_added_tokens_decoder().items()
        self.normalized = {id_ for id_, token in tokens if token.normalized and of is not families}

    def differ(self, text: str) -> str | None:
        """What differs, if anything does."""
        theirs = self.plain.encode(text, add_special_tokens=False)
        with_special = self.theirs.encode(text).ids
        if self.ours.encode(text) != theirs.ids:
            return "ids"
        if self.ours.encode_with_offsets(text) != (theirs.ids, theirs.offsets):
            return "offsets"
        if self.ours.encode(text, add_special_tokens=True) != with_special:
            return "ids with special tokens"
        if self.normalized.isdisjoint(with_special):
            decoded = self.theirs.decode(with_special, skip_special_tokens=False)
            if self.ours.decode(with_special) != decoded:
                return "the decoded text"
        return None

    def strings(self, n: int, seed: int) -> Iterator[str]:
        """Generated strings."""
        rng = random.Random(f"{self.name} {seed}")
        added = [e["content"] for key in ("first", "last") for e in self.family.get(key, [])]
        of = [*PIECES, *_MORE, *added, *added, *(text[:-1] for text in added)]
        for _ in range(n):
            yield "".join(rng.choices(of, k=rng.randint(0, 12)))


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="*", default=[], help="plain text files")
    parser.add_argument("--characters", type=int, help="of each text; another part for each family")
    parser.add_argument("--strings", type=int, default=100_000, help="of all families together")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    all_of = [(of, name) for of in (families, character_families) for name in sorted(of.FAMILIES)]
    texts = [Path(path).read_text(encoding="utf-8") for path in arguments.text]
    n_different = 0
    for number, (of, name) in enumerate(all_of):
        pair, n_characters, n_strings, found = Pair(of, name), 0, 0, []
        for text in texts:
            n = min(arguments.characters or len(text), len(text))
            first = (number * n) % max(1, len(text) - n + 1)
            pieces = [text[i : min(i + PIECE, first + n)] for i in range(first, first + n, PIECE)]
            n_characters += n
            ids = pair.ours.encode_batch(pieces)
            for at, piece in enumerate(pieces):
                if at % 10 == 0 and (what := pair.differ(piece)):
                    found.append((what, piece))
                elif ids[at] != pair.plain.encode(piece, add_special_tokens=False).ids:
                    found.append(("ids", piece))
        for string in pair.strings(-(-arguments.strings // len(all_of)), arguments.seed):
            n_strings += 1
            if what := pair.differ(string):
                found.append((what, string))
        print(
            f"{name}: {n_characters:,} characters, {n_strings:,} strings, {len(found)} different",
            flush=True,
        )
        for what, text in found[:5]:
            print(f"  {what}: {text[:200]!r}")
        n_different += len(found)
    raise SystemExit(n_different > 0)


if __name__ == "__main__":
    main()
