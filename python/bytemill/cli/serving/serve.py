"""Puts a model behind OpenAI's API, with a page to talk to it.

bytemill serve runs/sft
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bytemill.cli import model
from bytemill.cli.command import EPILOG, exit_status
from bytemill.cli.console.streams import tell
from bytemill.lm.engine.engine import Engine, EngineSettings
from bytemill.lm.engine.worker import Pool, Worker
from bytemill.lm.generate.text import check_vocabulary
from bytemill.lm.generate.weights import DecodingWeights
from bytemill.serve.app import ServeSettings
from bytemill.serve.assistant import Assistant
from bytemill.serve.requests import Defaults
from bytemill.serve.server import Server, is_local
from bytemill.tools.calculator import calculate

KEY: Final = "BYTEMILL_KEY"
_MOST_ROWS: Final = 4096


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Serve a model: OpenAI's API under /v1, a page to talk to it at /, and "
        "/health, /stats, /metrics. Ctrl-C lets running answers finish.",
        epilog=EPILOG,
    )
    model.add_flags(result, by_place=True)
    add = result.add_argument
    add("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    add(
        "--port",
        type=int,
        default=8000,
        metavar="N",
        help="an integer; 0 takes a port that is free (default: %(default)s)",
    )
    add("--name", help="what clients call the model (default: the run's folder's name)")
    add(
        "--key-file",
        metavar="FILE",
        help=f"a file with a key that clients must send (default: what {KEY} is set to, or none)",
    )
    add(
        "--allow-host",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="names by which browsers may call the server; * for any (default: this machine's "
        "own, where only it reaches the server, else any)",
    )
    add(
        "--rows",
        type=int,
        default=32,
        metavar="N",
        help="rows computed together; each has memory for a whole context (default: %(default)s)",
    )
    add(
        "--waiting",
        type=int,
        default=256,
        metavar="N",
        help="rows that may wait for their turn; more are told to come back (default: %(default)s)",
    )
    add(
        "--chunk",
        type=int,
        default=256,
        metavar="N",
        help="tokens of prompts read between two tokens of running rows (default: %(default)s)",
    )
    add(
        "--prefix-memory",
        type=float,
        default=0.25,
        metavar="GB",
        help="memory in GB for earlier turns' keys and values; 0 for none (default: %(default)s)",
    )
    add(
        "--replicas",
        type=int,
        default=1,
        metavar="N",
        help="copies of the model, one for each of N GPUs; on a CPU N engines with the same "
        "weights (default: %(default)s)",
    )
    add(
        "--temperature",
        type=float,
        default=Defaults.temperature,
        metavar="T",
        help="divides the logits where a request does not say: 0 is greedy (default: %(default)s)",
    )
    add(
        "--top-k",
        type=int,
        default=Defaults.top_k,
        metavar="K",
        help="choose among the K likeliest tokens where a request does not say; 0 for all "
        "(default: %(default)s)",
    )
    add("--no-tool", action="store_true", help="let no calculator work out expressions")
    add(
        "--log",
        metavar="FILE",
        help="append each request and its answer to this file, a line of JSON each (default: "
        "conversations are not kept)",
    )
    add(
        "--patience",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds that running answers have to finish in the end (default: %(default)s)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "the server was not started")


def run(args: argparse.Namespace) -> None:
    """Loads the model and serves it until it is told to stop."""
    for name, value, least, most in (
        ("--rows", args.rows, 1, _MOST_ROWS),
        ("--replicas", args.replicas, 1, 64),
        ("--prefix-memory", args.prefix_memory, 0, 1e6),
        ("--temperature", args.temperature, 0, 2),
        ("--top-k", args.top_k, 0, 1_000_000),
        ("--patience", args.patience, 0, 86_400),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name} {value}: it must be from {least} to {most}")
    settings = EngineSettings(
        max_rows=args.rows,
        max_waiting=args.waiting,
        chunk=args.chunk,
        prefix_bytes=int(args.prefix_memory * 1e9),
    )
    serving = ServeSettings(
        defaults=Defaults(args.temperature, args.top_k or None),
        key=_key(args.key_file),
        hosts=_hosts(args.allow_host, args.host),
        log=_log(args.log),
        patience=args.patience,
    )
    loaded, dtype = model.load(args)
    tokenizer = model.tokenizer_of(args, loaded)
    check_vocabulary(tokenizer, loaded.config.vocab_size)
    device = next(loaded.model.parameters()).device
    workers = []
    for number in range(args.replicas):
        own = loaded.model
        if number and device.type == "cuda":
            own = copy.deepcopy(own).to(torch.device("cuda", number))
        if not number or device.type == "cuda":
            weights = DecodingWeights(own, dtype)
        engine = Engine(weights, tokenizer.n_vocab, settings)
        workers.append(Worker(engine, f"engine {number}"))
    name = args.name or Path(args.model).resolve().name
    tool = None if args.no_tool else calculate
    assistant = Assistant(name, Pool(workers), tokenizer, tool)
    server = Server(assistant, serving, host=args.host, port=args.port)
    if assistant.renderer is None:
        tell("note: this is a base model: /v1/completions goes on with texts, the page cannot talk")
    if serving.key is None and not is_local(args.host):
        tell("note: others can reach this server, and no key is asked for; see --key-file")
    print(f"{name} at {server.url}/", flush=True)
    server.run()
    tell("stopped")


def _key(file: str | None) -> str | None:
    key = os.environ.get(KEY)
    if file is not None:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"--key-file {file}: not UTF-8 at byte {error.start}") from None
        if not key:
            raise ValueError(f"--key-file {file}: it is empty; write a key into it")
    if key is not None and not key.isascii():
        raise ValueError("the key has characters that are not ASCII, which headers cannot hold")
    return key or None


def _hosts(names: list[str] | None, host: str) -> list[str] | None:
    return None if names is None else [*names, host]


def _log(file: str | None) -> Path | None:
    if file is None:
        return None
    path = Path(file)
    with path.open("a", encoding="utf-8"):  # so that it is known now that it can be written
        return path
