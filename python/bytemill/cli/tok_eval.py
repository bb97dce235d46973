"""How well tokenizers compress text of several kinds, and how fast they encode it.

bytemill tok-eval tokenizer/ --text news=news.txt --markdown eval.md --plot eval.png
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bytemill import Tokenizer
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console import inputs
from bytemill.cli.console.streams import tell
from bytemill.cli.vocabularies.given import HELP, read
from bytemill.files import replacing, write_bytes
from bytemill.patterns import NAMES

BASELINES = ("gpt2", "cl100k_base", "o200k_base")
SAMPLES = Path(__file__).parent / "samples"
# The order of the tables; a file in the folder that is not named comes after.
SAMPLE_ORDER = (
    *("english", "python", "c", "javascript", "mathematics", "german", "greek", "russian"),
    *("arabic", "hindi", "thai", "chinese", "japanese", "korean"),
)
# A speed is that of the best of several goes, each of at least so many seconds.
GO_S = 0.05
GOES = 3
ALL = "all"


@dataclass(frozen=True)
class Result:
    """One tokenizer on one text."""

    n_bytes: int
    n_tokens: int
    n_words: int
    """Runs of characters that are not white space."""
    n_single: int
    """Tokens of one byte."""
    seconds: float

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes; more is better."""
        return self.n_bytes / max(1, self.n_tokens)

    @property
    def tokens_per_word(self) -> float:
        """Means little for scripts without spaces."""
        return self.n_tokens / max(1, self.n_words)

    @property
    def single_share(self) -> float:
        """Of all tokens, those of a single byte, in percent."""
        return 100 * self.n_single / max(1, self.n_tokens)

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes per second."""
        return self.n_bytes / 1e6 / self.seconds if self.seconds else 0.0


MEASURES: dict[str, tuple[str, Callable[[Result], str]]] = {
    "Bytes per token": ("more is better", lambda r: f"{r.bytes_per_token:.2f}"),
    "Tokens per word": (
        "words are divided by white space, which some scripts lack",
        lambda r: f"{r.tokens_per_word:.2f}",
    ),
    "Single-byte tokens, %": ("share of all tokens", lambda r: f"{r.single_share:.1f}"),
    "MB/s": ("one thread, text seen before", lambda r: f"{r.mb_per_s:.1f}"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Measure compression and speed of tokenizers on text of several kinds. "
        "Tokenizers are named before the flags.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add(
        "tokenizers",
        nargs="*",
        metavar="TOKENIZER",
        help=f"{HELP}; NAME=TOKENIZER gives it a name in the tables",
    )
    add(
        "--pattern",
        help=f"how .tiktoken files cut text: {', '.join(NAMES)}, or a regex (default: "
        "known by the file's name)",
    )
    add(
        "--text",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PATH",
        help="text files to measure, besides the samples; - is stdin (default: none)",
    )
    add("--no-samples", action="store_true", help="only the texts given by --text")
    add(
        "--baselines",
        nargs="*",
        action="extend",
        metavar="NAME",
        help="encodings of tiktoken to compare with; without a name, none (default: "
        f"{' '.join(BASELINES)})",
    )
    add("--markdown", metavar="FILE", help="also write the tables as Markdown (default: no)")
    add(
        "--plot",
        metavar="FILE",
        help="also draw bytes per token, as .png, .svg or .pdf; needs matplotlib (default: no)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the comparison is not complete")


def run(args: argparse.Namespace) -> None:
    """Reads everything, measures, prints and writes."""
    if args.plot:
        import_module("matplotlib")  # before the work, not after it
    texts = read_texts(args.text, not args.no_samples)
    tokenizers: dict[str, Tokenizer] = {}
    for given in args.tokenizers:
        name, tokenizer = load(given, args.pattern)
        if name in tokenizers:
            raise ValueError(f"two tokenizers are called {name!r}; name one: NAME=TOKENIZER")
        tokenizers[name] = tokenizer
    baselines = BASELINES if args.baselines is None else args.baselines
    tokenizers |= load_baselines(name for name in baselines if name not in tokenizers)
    if not tokenizers:
        raise ValueError("no tokenizer was given, and no baseline is there to measure")
    results = {
        name: {label: measure(tokenizer, text) for label, text in texts.items()}
        for name, tokenizer in tokenizers.items()
    }
    for of in results.values():
        of[ALL] = total(of.values())
    sizes = {name: tokenizer.n_vocab for name, tokenizer in tokenizers.items()}
    # Before anything is printed, which may fail.
    if args.markdown:
        write_bytes(args.markdown, report(results, sizes, markdown=True).encode())
    if args.plot:
        plot(args.plot, results)
    print(report(results, sizes, markdown=False), end="")
    for path in filter(None, (args.markdown, args.plot)):
        print(f"\nwritten  {path}")


def load_baselines(names: Iterable[str]) -> dict[str, Tokenizer]:
    """Encodings of tiktoken; those that cannot be had are left out, which is told in one line."""
    found: dict[str, Tokenizer] = {}
    missing: list[str] = []
    reasons: dict[str, None] = {}
    for name in names:
        try:
            found[name] = Tokenizer.from_tiktoken(name)
        except Exception as error:  # tiktoken's download raises whatever its network layer does
            missing.append(name)
            kind = type(error).__name__
            if isinstance(error, ImportError):
                reasons["tiktoken is not installed: pip install tiktoken"] = None
            elif isinstance(error, ValueError):
                reasons[str(error).splitlines()[0]] = None
            else:
                reasons[f"tiktoken could not fetch them ({kind}); is there a network?"] = None
    if missing:
        tell(f"note: left out {', '.join(missing)}: {'; '.join(reasons)}")
    return found


def read_texts(given: Sequence[str], samples: bool) -> dict[str, str]:
    """The texts by label, samples first.

    Raises ValueError for one without a name, an empty one, one that is not UTF-8.
    """
    paths: dict[str, Path] = {}
    if samples:
        found = {path.stem: path for path in sorted(SAMPLES.glob("*.txt"))}
        paths = {name: found.pop(name) for name in SAMPLE_ORDER if name in found} | found
    for item in given:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise ValueError(
                f"--text {item}: expected NAME=PATH; tokenizers are named before the flags"
            )
        if name in paths or name == ALL:
            raise ValueError(f"--text {item}: the name {name!r} is taken; choose another")
        paths[name] = Path(path)
    if not paths:
        raise ValueError("there is no text to measure; give one with --text NAME=PATH")
    texts = {}
    for name, place in paths.items():
        where = "stdin" if str(place) == "-" else str(place)
        data = inputs.read() if where == "stdin" else place.read_bytes()
        try:
            texts[name] = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 at byte {error.start}") from None
        if not texts[name]:
            raise ValueError(f"{where}: the text is empty")
    return texts


def load(given: str, pattern: str | None) -> tuple[str, Tokenizer]:
    """A tokenizer from what the command line says, with its name for the tables.

    Raises OSError, ImportError and ValueError as `read` does.
    """
    name, equals, source = given.partition("=")
    if not equals or Path(given).exists():
        name, source = "", given
    path = Path(source)
    if path.is_dir() or not path.suffix:
        name = name or path.name or source
    elif not name:
        is_inside = path.stem in ("tokenizer", "bytemill") and path.parent.name
        name = path.parent.name if is_inside else path.stem
    if path.suffix == ".tiktoken":  # which alone does not say its pattern
        return name, Tokenizer.from_tiktoken(path, pattern=pattern)
    return name, read(source)


def measure(tokenizer: Tokenizer, text: str) -> Result:
    """Encodes a text, special tokens in it read as ordinary text, and times it."""
    ids = tokenizer.encode_ordinary(text)
    lengths = tokenizer.token_bytes()
    return Result(
        n_bytes=len(text.encode()),
        n_tokens=len(ids),
        n_words=len(text.split()),
        n_single=sum(lengths[id_] == 1 for id_ in ids),
        seconds=seconds_for(lambda: tokenizer.encode_ordinary(text)),
    )


def seconds_for(work: Callable[[], object]) -> float:
    """The time that `work` takes, at best."""
    best = float("inf")
    for _ in range(GOES):
        times = 0
        start = time.perf_counter()
        while True:
            work()
            times += 1
            took = time.perf_counter() - start
            if took >= GO_S:
                break
        best = min(best, took / times)
    return best


def total(of: Iterable[Result]) -> Result:
    """All texts as one."""
    parts = list(of)
    return Result(
        n_bytes=sum(part.n_bytes for part in parts),
        n_tokens=sum(part.n_tokens for part in parts),
        n_words=sum(part.n_words for part in parts),
        n_single=sum(part.n_single for part in parts),
        seconds=sum(part.seconds for part in parts),
    )


def report(
    results: Mapping[str, Mapping[str, Result]], sizes: Mapping[str, int], *, markdown: bool
) -> str:
    """A table for each measure: a text a line, a tokenizer a column."""
    names = list(results)
    heads = [f"{name} ({sizes[name]:,})" for name in names]
    labels = list(results[names[0]])
    parts = []
    for title, (note, show) in MEASURES.items():
        rows = []
        for label in labels:
            size = f"{results[names[0]][label].n_bytes / 1e3:,.1f}"
            rows.append([label, size, *(show(results[name][label]) for name in names)])
        grid = table(["text", "kB", *heads], rows, markdown=markdown)
        heading = f"### {title}\n\n{note.capitalize()}.\n" if markdown else f"{title} ({note})"
        parts.append(f"{heading}\n{grid}\n")
    return "\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Aligned columns, the first set left and the others right."""
    lines = [head, *rows]
    if markdown:
        lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    cells = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in cells)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])


def plot(path: str, results: Mapping[str, Mapping[str, Result]]) -> None:
    """Draws bytes per token as grouped bars.

    The file's kind follows its name: .png, .svg, .pdf.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = list(next(iter(results.values())))
    width = 0.8 / len(results)
    figure, axis = plt.subplots(figsize=(max(6.0, 0.8 * len(labels)), 4.2))
    for k, (name, of) in enumerate(results.items()):
        x = [i + (k - (len(results) - 1) / 2) * width for i in range(len(labels))]
        axis.bar(x, [of[label].bytes_per_token for label in labels], width * 0.92, label=name)
    axis.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axis.set_ylabel("bytes per token (more is better)")
    axis.legend(fontsize=8)
    figure.tight_layout()
    with replacing(path) as file:
        figure.savefig(file, dpi=130, format=Path(path).suffix.lower()[1:] or "png")
    plt.close(figure)
