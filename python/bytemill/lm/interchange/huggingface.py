"""A model as a folder that transformers reads."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch

from bytemill import Tokenizer, files
from bytemill.chat import SPECIAL_TOKENS
from bytemill.chat import export as export_chat
from bytemill.lm.batches.vocabulary import separator
from bytemill.lm.checkpoint import state
from bytemill.lm.interchange.card import card
from bytemill.lm.interchange.comparison import CONFIG, WEIGHTS, compare
from bytemill.lm.interchange.homes import home_of
from bytemill.lm.model.adapters.lora import merged_weights
from bytemill.lm.model.transformer import Transformer

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: Final[dict[Dtype, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    architecture: str
    checked: str
    """By what it was compared, and how much differs, in words."""
    chat: bool
    """Whether there is a chat template."""


def export(
    model: Transformer,
    tokenizer: Tokenizer | None,
    out: str | os.PathLike[str],
    *,
    dtype: Dtype = "float32",
    facts: dict[str, str] | None = None,
) -> Exported:
    """Writes a model as one of transformers': config.json, model.safetensors,
    generation_config.json, a README.md about it, and of a tokenizer tokenizer.json and
    tokenizer_config.json, with a chat template if it has the special tokens of conversations.

    The folder is written beside its place and renamed once the logits of what was written have
    been compared with the model's: `comparison.compare` says by what.

    Args:
        model: Its architecture must be one of transformers' (`homes.home_of`). Adapters are merged.
        tokenizer: The model's; None writes none.
        out: A folder that is not there yet.
        dtype: Of the weights in the file.
        facts: Further lines for the README.md, by what they are of.

    Raises:
        FileExistsError: There is something at `out`.
        OSError: It cannot be written.
        ValueError: No architecture computes what the model does (the message names the fields); the
            tokenizer cannot be written as a tokenizer.json, or has ids beyond the model's; the
            logits differ. Then nothing is written.
    """
    target = files.named("out", out)
    config = model.config
    home = home_of(config)
    check_ids(tokenizer, config.vocab_size)
    rounded = rounded_copy(model, DTYPES[dtype])
    own = rounded.state_dict()
    theirs = {
        each.theirs: each.out([own[name] for name in each.ours]) for each in home.entries(config)
    }
    ends = end_ids(tokenizer)
    shared = {"bos_token_id": ends.bos, "eos_token_id": ends.eos or None}
    whole = {
        "architectures": [home.name],
        "model_type": home.model_type,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
        **home.config_out(config),
        **shared,
    }
    with new_folder(target) as beside:
        _write_json(beside / CONFIG, whole)
        _write_json(beside / "generation_config.json", shared)
        tensors = {name: t.to(DTYPES[dtype]) for name, t in theirs.items()}
        state.write_file(beside / WEIGHTS, tensors, {"format": "pt"})
        checked = compare(rounded, beside, home.name)
        is_chat = _write_tokenizer(tokenizer, beside, config.context_length)
        text = card(model, home.name, checked, is_chat=is_chat, facts=facts or {})
        files.write_bytes(beside / "README.md", text.encode())
    return Exported(target, home.name, checked, is_chat)


@dataclass(frozen=True)
class EndIds:
    """Which ids begin a text, and which end one."""

    bos: int | None
    eos: list[int]


def end_ids(tokenizer: Tokenizer | None) -> EndIds:
    """Of a tokenizer: what separates documents, and of conversations the end of a reply."""
    if tokenizer is None:
        return EndIds(None, [])
    between = separator(tokenizer)
    special = tokenizer.special_tokens
    eos = [special["<|assistant_end|>"]] if "<|assistant_end|>" in special else []
    return EndIds(between, eos if between is None else [*eos, between])


def has_conversations(tokenizer: Tokenizer) -> bool:
    """Whether it has all the special tokens of conversations."""
    return set(SPECIAL_TOKENS) <= set(tokenizer.special_tokens)


def check_ids(tokenizer: Tokenizer | None, vocab_size: int) -> None:
    """Raises ValueError if a tokenizer has ids that the model does not have."""
    if tokenizer is not None and tokenizer.n_vocab > vocab_size:
        raise ValueError(
            f"the tokenizer has ids up to {tokenizer.n_vocab - 1:,}, and the model a vocabulary of "
            f"{vocab_size:,}; give the model's own tokenizer"
        )


def rounded_copy(model: Transformer, dtype: torch.dtype, *, vectors: bool = True) -> Transformer:
    """The model on the CPU in fp32, adapters merged, its weights rounded to a dtype; with `vectors`
    also those of norms."""
    rounded = Transformer(model.config, device="meta").to_empty(device="cpu")
    own = merged_weights(model.state_dict())
    weights = {
        name: weight.detach().to("cpu", dtype if vectors or weight.ndim > 1 else None).float()
        for name, weight in own.items()
    }
    rounded.load_state_dict(weights)
    return rounded.eval().requires_grad_(False)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and goes if not.

    Raises:
        FileExistsError: There is something at `target`.
    """
    with new_place(target) as beside:
        beside.mkdir()
        yield beside


@contextlib.contextmanager
def new_place(target: Path) -> Iterator[Path]:
    """A path beside `target`: what is made there takes its place when the block ends well, and
    goes if not.

    Raises:
        FileExistsError: There is something at `target`.
    """
    taken = FileExistsError(
        errno.EEXIST, "it is there already, and nothing is written over it; name another", target
    )
    if target.exists() or target.is_symlink():
        raise taken
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield beside
        if target.exists():
            raise taken
        beside.rename(target)
    except BaseException:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)
        raise


def _write_tokenizer(tokenizer: Tokenizer | None, folder: Path, length: int) -> bool:
    """Writes the tokenizer's files; whether a chat template is among them."""
    if tokenizer is None:
        return False
    path = folder / "tokenizer_config.json"
    is_chat = has_conversations(tokenizer)
    if is_chat:
        export_chat(tokenizer, folder)
        config = files.read_json_object(path)
    else:
        tokenizer.to_huggingface(folder / "tokenizer.json")
        names = {id_: text for text, id_ in tokenizer.special_tokens.items()}
        ends = end_ids(tokenizer)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None if ends.bos is None else names[ends.bos],
            "eos_token": names[ends.eos[0]] if ends.eos else None,
            "clean_up_tokenization_spaces": False,
        }
    _write_json(path, {**config, "model_max_length": length})
    return is_chat


def _write_json(path: Path, values: dict[str, Any]) -> None:
    files.write_bytes(path, (json.dumps(values, indent=2) + "\n").encode())
