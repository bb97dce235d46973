"""Whether training data holds test items: n-grams of tokens that both have.

bytemill overlap --tokenizer tokenizer --input data --core eval_bundle --out overlap.jsonl
bytemill overlap --tokenizer tokenizer --shards shards --tasks gsm8k arc-easy --data data
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bytemill import __version__
from bytemill.cli import formatting
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console import inputs
from bytemill.cli.progress import Progress
from bytemill.cli.vocabularies.given import add_tokenizer, read
from bytemill.data import iter_documents, open_shards
from bytemill.files import write_bytes
from bytemill.overlap import Index, ItemOverlap, N, Overlap, TestItem, find_overlap
from bytemill.tasks.named import CHAT_CORE, NAMED, Sources

_DIRTY = 0.5
"""An item of which so much is found is counted as one that is known."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Search training data, text or shards, for n-grams of tokens that test items "
        "have. All tasks are looked for in one reading.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add_tokenizer(result)
    inputs.add_input(result, required=False)
    inputs.add_flags(result)
    add(
        "--shards",
        nargs="+",
        action="extend",
        metavar="DIR",
        help="folders of shards, instead (default: none)",
    )
    add(
        "--core",
        metavar="DIR",
        help="look for CORE's items, in a folder as for base-eval (default: none)",
    )
    add(
        "--tasks",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        choices=CHAT_CORE,
        help=f"look for the test items of tasks, of: {', '.join(CHAT_CORE)} (default: none)",
    )
    add(
        "--data",
        default="data",
        metavar="DIR",
        help="where these tasks' data sets are, as for chat-eval (default: %(default)s)",
    )
    add(
        "--items",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH",
        help="look for items of your own: texts, or rows of .jsonl and .parquet (default: none)",
    )
    add(
        "--items-column",
        default="text",
        metavar="NAME",
        help="where the text of --items is (default: %(default)s)",
    )
    add("--n", type=int, default=N, metavar="N", help="tokens of an n-gram (default: %(default)s)")
    add("--threads", type=int, metavar="N", help="threads (default: one for each core)")
    add(
        "--out",
        metavar="FILE",
        help="a file of JSON lines for what was found of each item (default: none)",
    )
    add("--json", action="store_true", help="print one line of JSON instead of a table")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the search is not complete; nothing was written")


def run(args: argparse.Namespace) -> None:
    """Searches, and prints what was found."""
    if bool(args.input) == bool(args.shards):
        raise ValueError("give the training data: either --input, files, or --shards, folders")
    if not (args.core or args.tasks or args.items):
        raise ValueError("nothing to look for: give --core, --tasks or --items")
    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise ValueError(f"--out {args.out}: there is no folder {Path(args.out).parent}; make it")
    tokenizer = read(args.tokenizer)
    index = Index(_items(args), tokenizer.encode_ordinary, args.n)
    began = time.perf_counter()
    unit = "tokens" if args.shards else "MB"
    with inputs.named(args.input or [], args.format) as paths, Progress("overlap", unit) as bar:
        found = find_overlap(
            index,
            tokenizer,
            paths,
            shards=[open_shards(folder, tokenizer=tokenizer) for folder in args.shards or []],
            text_column=args.text_column,
            errors=args.errors,
            num_threads=args.threads,
            progress=bar.update,
        )
    seconds = time.perf_counter() - began
    if args.out:
        lines = [_line(item) for item in found.items]
        write_bytes(args.out, ("\n".join(lines) + "\n").encode())
    tasks = _by_task(found.items)
    if args.json:
        whole = {
            "format": "bytemill-overlap",
            "version": 1,
            "bytemill": __version__,
            "tokenizer": tokenizer.fingerprint,
            "n": args.n,
            "n_grams": index.n_grams,
            "documents": found.n_documents,
            "bytes": found.n_bytes or None,
            "tokens": found.n_tokens,
            "seconds": round(seconds, 2),
            "tasks": tasks,
        }
        print(json.dumps(whole))
        return
    print(formatting.rows(_table(tasks)))
    print(f"\n{_read(found, seconds)}")
    if args.out:
        print(f"saved: {args.out}")


def _items(args: argparse.Namespace) -> Iterator[TestItem]:
    if args.core:
        # With torch: it is a part of the language-model stack.
        from bytemill.lm.evaluate.core.texts import core_texts

        for task, number, text in core_texts(Path(args.core)):
            yield TestItem(task, number, (text,))
    sources = Sources(Path(args.data))
    for name in dict.fromkeys(args.tasks):
        for number, item in enumerate(NAMED[name](sources)):
            texts = tuple(message.text for message in item.conversation.messages)
            yield TestItem(name, number, texts)
    for path in args.items:
        for number, text in enumerate(iter_documents(path, args.items_column, args.errors)):
            yield TestItem(path, number, (text,))


def _line(item: ItemOverlap) -> str:
    return json.dumps(
        {
            "task": item.task,
            "item": item.item,
            "n_grams": item.n_grams,
            "found": item.n_found,
            "share": round(item.share, 4),
            "times": item.n_times,
            "file": item.file,
            "document": item.document,
        }
    )


def _by_task(items: Sequence[ItemOverlap]) -> dict[str, dict[str, float | int]]:
    tasks: dict[str, list[ItemOverlap]] = {}
    for item in items:
        tasks.setdefault(item.task, []).append(item)
    return {
        name: {
            "items": len(own),
            "too_short": sum(item.n_grams == 0 for item in own),
            "touched": sum(item.n_found > 0 for item in own),
            "known": sum(item.share >= _DIRTY for item in own),
            "share": sum(item.n_found for item in own) / max(sum(i.n_grams for i in own), 1),
        }
        for name, own in tasks.items()
    }


def _table(tasks: dict[str, dict[str, float | int]]) -> list[tuple[str, str]]:
    heads = ("items", "too short", "touched", f"{_DIRTY:.0%} or more", "n-grams found")
    lines = [
        (
            f"{own['items']:,}",
            f"{own['too_short']:,}",
            f"{own['touched']:,}",
            f"{own['known']:,}",
            f"{100 * own['share']:.2f} %",
        )
        for own in tasks.values()
    ]
    widths = [max(len(row[i]) for row in (heads, *lines)) for i in range(len(heads))]
    return [
        (name, "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True)))
        for name, cells in zip(("task", *tasks), (heads, *lines), strict=True)
    ]


def _read(found: Overlap, seconds: float) -> str:
    documents = formatting.count(found.n_documents, "document")
    tokens = formatting.count(found.n_tokens, "token")
    if not found.n_bytes:
        rate = f", {found.n_tokens / 1e6 / seconds:,.1f} million tokens/s" if seconds > 0 else ""
        return f"searched: {documents}, {tokens} in {seconds:.2f} s{rate}"
    return f"searched: {documents}, {tokens}, {formatting.phase(seconds, found.n_bytes)}"
