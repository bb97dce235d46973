"""Lets a trained model write: one text as a stream, or several samples.

bytemill generate --model runs/first --prompt 'Once upon a time' --samples 3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bytemill import Tokenizer
from bytemill.cli import model
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console import inputs, messages
from bytemill.cli.console.streams import tell
from bytemill.lm.batches.vocabulary import separator
from bytemill.lm.generate.text import check_vocabulary, generate, stream_text
from bytemill.lm.generate.weights import DecodingWeights

MOST_SAMPLES: Final = 65_536
"""They are written side by side, in memory."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Continue a prompt with a trained model.",
        epilog=EPILOG,
    )
    model.add_flags(result)
    add = result.add_argument
    prompt = result.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt",
        default=None,
        metavar="TEXT",
        help="special tokens in it are read as such (default: what separates documents)",
    )
    prompt.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="a file with the prompt, UTF-8; - is stdin (default: --prompt)",
    )
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help="the most tokens to add (default: until the context is full)",
    )
    add(
        "--temperature",
        type=float,
        default=0.8,
        metavar="T",
        help="divides the logits: 0 is greedy, 1 as trained (default: %(default)s)",
    )
    add(
        "--top-k",
        type=int,
        metavar="K",
        help="choose among the K likeliest tokens (default: all)",
    )
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="choose among the likeliest tokens, of probability P together, from 0 to 1 "
        "(default: all)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="an integer of at least 0; sample i has the seed N + i (default: %(default)s)",
    )
    add("--samples", type=int, default=1, metavar="N", help="texts to write (default: %(default)s)")
    add(
        "--stop",
        nargs="+",
        action="extend",
        metavar="TOKEN",
        help="special tokens that end the text (default: what separates documents)",
    )
    add("--no-stop", action="store_true", help="let nothing end the text but its length")
    add(
        "--overflow",
        choices=("error", "slide"),
        default="error",
        help="text longer than the context: refuse it, or go on from its end (default: "
        "%(default)s)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the text is not complete")


def run(args: argparse.Namespace) -> None:
    """Loads the model and prints what it writes; speed goes to stderr."""
    if not 1 <= args.samples <= MOST_SAMPLES:
        raise ValueError(f"--samples {args.samples}: it must be from 1 to {MOST_SAMPLES}")
    loaded, dtype = model.load(args)
    tokenizer = model.tokenizer_of(args, loaded)
    check_vocabulary(tokenizer, loaded.config.vocab_size)
    prompt = prompt_ids(args, tokenizer)
    stop = stop_ids(args, tokenizer)
    weights = DecodingWeights(loaded.model, dtype)
    options = {
        "max_new_tokens": args.max_new_tokens,
        "temperature": args.temperature,
        "top_k": args.top_k,
        "top_p": args.top_p,
        "stop": stop,
        "seed": args.seed,
        "overflow": args.overflow,
    }
    shown = "" if prompt == [separator(tokenizer)] else tokenizer.decode(prompt)
    began = time.perf_counter()
    if args.samples == 1:
        pieces = stream_text(weights, tokenizer, prompt, **options)
        print(shown, end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print()
        return
    rows = generate(weights, [prompt] * args.samples, **options)
    seconds = time.perf_counter() - began
    for i, row in enumerate(rows):
        text = tokenizer.decode([id_ for id_ in row if id_ < tokenizer.n_vocab])
        print(f"--- sample {i + 1}, seed {args.seed + i}, {len(row)} tokens\n{shown}{text}")
    n_new = sum(map(len, rows))
    tell(f"{n_new} tokens in {seconds:.2f} s, {n_new / seconds:,.0f} tokens/s")


def prompt_ids(args: argparse.Namespace, tokenizer: Tokenizer) -> list[int]:
    """The prompt's ids; ValueError if there are none."""
    if args.prompt_file is not None:
        path = "stdin" if args.prompt_file == "-" else args.prompt_file
        try:
            data = inputs.read() if args.prompt_file == "-" else Path(path).read_bytes()
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
        source = "stdin" if path == "stdin" else "--prompt-file"
    elif args.prompt is not None:
        text, source = args.prompt, "--prompt"
    else:
        between = separator(tokenizer)
        if between is None:
            raise ValueError("--prompt: the tokenizer has no token to begin with; give some text")
        return [between]
    messages.call("prompts[0]", source)
    if not text:
        raise ValueError(f"{source}: it is empty; a model needs at least one token to go on from")
    return tokenizer.encode(text, allowed_special="all")


def stop_ids(args: argparse.Namespace, tokenizer: Tokenizer) -> set[int]:
    """The ids that end a text; ValueError for what is not a special token."""
    if args.no_stop:
        if args.stop:
            raise ValueError("--no-stop: it contradicts --stop; give one of them")
        return set()
    if args.stop is None:
        between = separator(tokenizer)
        return set() if between is None else {between}
    special = tokenizer.special_tokens
    for token in args.stop:
        if token not in special:
            known = ", ".join(map(repr, special)) or "none"
            raise ValueError(
                f"--stop {token!r}: it is not a special token; the tokenizer has {known}"
            )
    return {special[token] for token in args.stop}
