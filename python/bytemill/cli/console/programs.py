"""The programs, in the order of the data's way, and their command lines.

A program's module has `parser()`, which declares its flags, and `main(argv)`, which runs it and
returns an exit status. It is imported only when it is called for.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from bytemill.cli.console.parser import Parser


class Program(NamedTuple):
    """A subcommand."""

    module: str
    summary: str
    saves: bool
    """Whether it leaves files, so that it is of use without what it prints."""

    def declared(self) -> argparse.ArgumentParser:
        """Its flags, as it declares them."""
        parser: Callable[[], argparse.ArgumentParser] = importlib.import_module(self.module).parser
        return parser()

    def main(self) -> Callable[[Sequence[str]], int]:
        """What runs it."""
        return cast("Callable[[Sequence[str]], int]", importlib.import_module(self.module).main)


PROGRAMS = {
    "download": Program("bytemill.cli.download", "a dataset's name -> its files", True),
    "tok-train": Program("bytemill.cli.tok_train", "text files -> a tokenizer", True),
    "tok-prune": Program(
        "bytemill.cli.vocabularies.tok_prune", "a tokenizer -> one of the tokens in use", True
    ),
    "tok-encode": Program("bytemill.cli.tok_encode", "text files -> token shards", True),
    "tok-eval": Program("bytemill.cli.tok_eval", "compare the compression of tokenizers", False),
    "train": Program("bytemill.cli.train", "token shards -> a language model *", True),
    "mid-train": Program(
        "bytemill.cli.stages.mid_train", "a base model that learns conversations *", True
    ),
    "sft": Program("bytemill.cli.stages.sft", "a model that learns to answer *", True),
    "dpo": Program("bytemill.cli.stages.dpo", "an assistant that learns preferences *", True),
    "rl": Program("bytemill.cli.stages.rl", "an assistant that learns by rewards *", True),
    "sweep": Program("bytemill.cli.runs.sweep", "many models that differ in some fields *", True),
    "generate": Program("bytemill.cli.generate", "a prompt -> the text a model writes *", False),
    "evaluate": Program(
        "bytemill.cli.evaluation.evaluate", "a model's loss and bits per byte *", True
    ),
    "plot": Program("bytemill.cli.runs.plot", "the loss curves of runs, as a picture *", True),
    "base-eval": Program(
        "bytemill.cli.evaluation.base_eval", "a base model's CORE, and samples *", True
    ),
    "chat-eval": Program(
        "bytemill.cli.evaluation.chat_eval", "an assistant's answers to tasks *", True
    ),
    "chat": Program("bytemill.cli.serving.chat", "a conversation in the terminal *", False),
    "report": Program("bytemill.cli.runs.report", "what runs came to, on one page *", True),
    "export": Program(
        "bytemill.cli.interchange.export_model", "a model -> other tools' files *", True
    ),
    "import": Program(
        "bytemill.cli.interchange.import_model", "another tool's model -> a run *", True
    ),
    "overlap": Program("bytemill.cli.overlap", "test items that are in the training data", True),
    "serve": Program(
        "bytemill.cli.serving.serve", "a model behind OpenAI's API, with a page *", True
    ),
    "infer-bench": Program(
        "bytemill.cli.evaluation.infer_bench", "how fast a model reads and writes *", False
    ),
    "account": Program("bytemill.cli.account", "a model's parameters, memory and FLOPs *", False),
    "demo": Program("bytemill.cli.demo", "all of it in minutes, on Python's own source *", True),
    "completion": Program(
        "bytemill.cli.completion", "a script by which the shell completes commands", False
    ),
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every subcommand's command line by its name, in the order of the data's way.

    Raises:
        ImportError: The language-model stack is not installed.
    """
    return {name: Parser(f"bytemill {name}", each.declared()) for name, each in PROGRAMS.items()}
