"""Writes a trained model for other tools: transformers, or llama.cpp.

bytemill export runs/first --to huggingface --out first-hf
bytemill export runs/first --to gguf --out first.gguf
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bytemill import Tokenizer
from bytemill.cli.command import EPILOG, check_writable, exit_status
from bytemill.cli.console.streams import tell
from bytemill.cli.vocabularies.given import add_tokenizer, read
from bytemill.lm.checkpoint.loading import LoadedModel, find_checkpoint, load_model
from bytemill.lm.interchange import huggingface
from bytemill.lm.interchange.gguf_file import export_gguf


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Write a model for other tools. huggingface: a folder that transformers reads, "
        "as LlamaForCausalLM (cs336 and what else is shaped like it), NanoChatForCausalLM (gpt) or "
        "GPT2LMHeadModel, "
        "with tokenizer, chat template and a README.md. gguf: a file for llama.cpp, of models "
        "shaped like Llama. Logits are compared before anything is written; what no other tool "
        "computes is refused by name.",
        epilog=EPILOG,
    )
    add = result.add_argument
    add("run", metavar="RUN", help="a run's folder, or one checkpoint's")
    add("--to", choices=("huggingface", "gguf"), required=True, help="whose files to write")
    add(
        "--out",
        required=True,
        metavar="PATH",
        help="what to write, a folder or for gguf a file, which must not be there yet",
    )
    add(
        "--checkpoint",
        type=_which,
        default="best",
        metavar="WHICH",
        help='of a run: "best" (by validation loss), "last", or a step (default: %(default)s)',
    )
    add(
        "--dtype",
        choices=tuple(huggingface.DTYPES),
        help="the type of the weights in the file (default: float32, for gguf: float16)",
    )
    add_tokenizer(result, default="the one saved with the run")
    add("--no-tokenizer", action="store_true", help="write the model without its tokenizer")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit status."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args), "nothing was written")


def run(args: argparse.Namespace) -> None:
    """Writes, and says what was checked; the path is the last line."""
    check_writable(Path(args.out).parent)
    loaded = load_model(args.run, which=args.checkpoint)
    tokenizer = tokenizer_of(args, loaded)
    if args.to == "gguf":
        name = Path(args.out).stem
        dtype: huggingface.Dtype = args.dtype or "float16"
        tell(export_gguf(loaded.model, tokenizer, args.out, dtype=dtype, name=name))
        print(args.out)
        return
    done = huggingface.export(
        loaded.model,
        tokenizer,
        args.out,
        dtype=args.dtype or "float32",
        facts=facts(args, loaded),
    )
    tell(f"{done.architecture}: {done.checked}")
    if tokenizer is None:
        tell("without a tokenizer")
    elif not done.chat:
        tell("without a chat template: the tokenizer lacks the special tokens of conversations")
    print(done.folder)


def tokenizer_of(args: argparse.Namespace, loaded: LoadedModel) -> Tokenizer | None:
    """The tokenizer to write, if one is to be written.

    Raises:
        ValueError: It is not the one that the model was trained with.
    """
    if args.no_tokenizer:
        if args.tokenizer is not None:
            raise ValueError("--no-tokenizer: it contradicts --tokenizer; give one of them")
        return None
    if args.tokenizer is None:
        return loaded.tokenizer
    given, own = read(args.tokenizer), loaded.tokenizer
    if own is not None and given.fingerprint != own.fingerprint:
        raise ValueError(
            f"--tokenizer {args.tokenizer}: its fingerprint is {given.fingerprint}, but the model "
            f"was trained with {own.fingerprint}; leave the flag out to use that one"
        )
    return given


def facts(args: argparse.Namespace, loaded: LoadedModel) -> dict[str, str]:
    """What the README.md says of the training."""
    metrics = find_checkpoint(args.run, args.checkpoint).metrics
    result = {"Trained for": f"{loaded.step:,} steps"}
    if "val_loss" in metrics:
        result["Validation loss"] = f"{metrics['val_loss']:.4f} nats per token"
    if loaded.tokenizer is not None:
        result["Tokenizer"] = f"fingerprint `{loaded.tokenizer.fingerprint}`"
    return result


def _which(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
