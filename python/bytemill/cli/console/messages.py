"""The library's messages in the words of the command line.

The library names arguments as Python does: `num_threads=0: it must be at least 1`. A user of the
command line gave `--threads 0`, and that is what the message should say.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from contextvars import ContextVar

from bytemill.cli.console.parser import flags

# Arguments whose flag has another name.
_FLAGS = {
    "address": "--ray",
    "memory_bytes": "--memory",
    "n_gpus": "--gpus",
    "n_tokens": "--tokens",
    "num_threads": "--threads",
    "prompts": "--prompt",
    "special_tokens": "--special",
    "validation_fraction": "--val-fraction",
    "which": "--checkpoint",
}
# Arguments whose flag has another unit, as a factor.
_SCALES = {"memory_bytes": 1e-9}
_PHRASES = {
    "call again to go on": "run the same command again to go on",
    "or remove this one to begin again": "or add --overwrite to begin again",
    "resume it, or choose another folder": "add --resume to go on with it, or name another folder",
    "load takes a folder that Tokenizer.save wrote": "name a folder that tok-train has written",
    "a folder that Tokenizer.save wrote": "a folder that tok-train has written",
    "train it with those of bytemill.chat.SPECIAL_TOKENS, or add them with "
    "bytemill.chat.with_special_tokens": "train one with tok-train --chat, and a model with it",
}

# name='text', name[0]=1, part.name=[1, 2], and `name=` with nothing after it.
_ARGUMENT = re.compile(
    r"""(?<![\w./'"=-]) (?:\w+\.)* (?P<name>[a-z_]\w*) (?:\[\d+\])? =
        (?: (?P<value> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | \[[^\]]*\] | [^\s,:;()]+ )
          | (?=[,;\s]|$) )""",
    re.VERBOSE,
)

# One of several, where nothing is said of its value: prompts[0] has 30 tokens.
_ITEM = re.compile(r"""(?<![\w./'"=-]) (?P<name>[a-z_]\w*) \[\d+\] (?![\[=])""", re.VERBOSE)
# What a user gave just one of, by whatever flag.
_NOUNS = {"prompts": "the prompt"}

_known: ContextVar[frozenset[str]] = ContextVar("flags", default=frozenset())
_places: ContextVar[dict[str, str]] = ContextVar("places", default={})  # noqa: B039 (replaced whole)


def speak_as(parser: argparse.ArgumentParser) -> None:
    """From now on messages name the flags of `parser`."""
    _known.set(frozenset(flags(parser)))


def call(path: str, name: str) -> None:
    """From now on messages call the file at `path` `name`."""
    _places.set({**_places.get(), path: name})


def in_flags(message: str) -> str:
    """`message` with flags where it names arguments that the program has flags for."""
    for theirs, ours in (*_PHRASES.items(), *_places.get().items()):
        message = message.replace(theirs, ours)
    return _ITEM.sub(_as_item, _ARGUMENT.sub(_as_flag, message))


def _flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def _as_item(found: re.Match[str]) -> str:
    name = found["name"]
    return _NOUNS.get(name, _flag(name)) if _flag(name) in _known.get() else found[0]


def _as_flag(found: re.Match[str]) -> str:
    name, text = found["name"], found["value"]
    flag = _flag(name)
    if flag not in _known.get():
        return found[0]
    if text is None:
        return flag
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return f"{flag} {text}"
    if value is None:
        return f"no {flag}"
    if isinstance(value, bool):
        return flag if value else "--no-" + flag[2:]
    if name in _SCALES and isinstance(value, (int, float)):
        return f"{flag} {value * _SCALES[name]:g}"
    if isinstance(value, str):
        return f"{flag} {shlex.quote(value)}"
    if isinstance(value, list):
        return " ".join([flag, *(shlex.quote(str(item)) for item in value)])
    return f"{flag} {text}"
