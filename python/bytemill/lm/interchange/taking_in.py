"""Another tool's model as a run of ours, for evaluation, generation and further training."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bytemill import Tokenizer, files
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.state import digest
from bytemill.lm.checkpoint.store import CheckpointStore
from bytemill.lm.interchange.architecture import Fields
from bytemill.lm.interchange.comparison import CONFIG
from bytemill.lm.interchange.homes import home_by_type
from bytemill.lm.interchange.huggingface import check_ids, new_folder
from bytemill.lm.interchange.weights_in import model_from, read_tensors
from bytemill.lm.model.config import ModelConfig

_TOKENIZER: Final = "tokenizer.json"
_GPT2_FILES: Final = ("vocab.json", "merges.txt")
_GPT2_SIZE: Final = 50_257


@dataclass(frozen=True)
class Imported:
    """What was taken in."""

    run: Path
    architecture: str
    config: ModelConfig
    n_params: int
    tokenizer: Tokenizer | None


def take_in(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tokenizer: Tokenizer | None = None,
    with_tokenizer: bool = True,
    context_length: int | None = None,
) -> Imported:
    """Makes a run's folder of a folder with config.json and safetensors files: a checkpoint of
    step 0, and the tokenizer.

    Args:
        source: The folder, of a Llama-shaped, NanoChat or GPT-2 model.
        out: A folder that is not there yet.
        tokenizer: The model's; None reads tokenizer.json, or vocab.json and merges.txt, and for a
            GPT-2 without them takes tiktoken's gpt2.
        with_tokenizer: False takes in the model alone.
        context_length: A shorter context than the model's.

    Raises:
        FileExistsError: There is something at `out`.
        FileNotFoundError: A file is missing.
        ValueError: The model is of another architecture, or has something that has no counterpart
            here; tensors are missing or left over; the tokenizer cannot be read, or has ids beyond
            the model's. The message names it, and nothing is written.
    """
    folder, target = files.named("source", source), files.named("out", out)
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; name a folder that transformers could read")
    fields = Fields(files.read_json_object(path), str(path))
    home = home_by_type(fields.get("model_type"), str(path))
    try:
        config = home.config_in(fields)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
    model = model_from(home, config, read_tensors(folder), str(folder))
    if context_length is not None:
        if not 1 <= context_length <= config.context_length:
            raise ValueError(
                f"context_length={context_length}: it must be from 1 up to the model's, "
                f"{config.context_length}"
            )
        model = home.shortened(model, context_length)
        config = dataclasses.replace(config, context_length=context_length)
    if with_tokenizer and tokenizer is None:
        tokenizer = find_tokenizer(folder, home.model_type, config.vocab_size)
    check_ids(tokenizer, config.vocab_size)
    with new_folder(target) as run:
        if tokenizer is not None:
            tokenizer.save(run / TOKENIZER_FOLDER)
        extra = {
            "tokenizer": None if tokenizer is None else tokenizer.fingerprint,
            "imported": {"architecture": home.name, "weights": digest(model.state_dict())},
        }
        CheckpointStore(run).save(0, model, [], model_config=config.to_dict(), extra=extra)
    return Imported(target, home.name, config, model.n_params(), tokenizer)


def find_tokenizer(folder: Path, model_type: str, vocab_size: int) -> Tokenizer | None:
    """The tokenizer in a model's folder; None if there is none.

    Raises:
        ValueError: It is not a BPE that can be taken over exactly.
    """
    if (folder / _TOKENIZER).is_file():
        return Tokenizer.from_huggingface(folder / _TOKENIZER)
    if all((folder / name).is_file() for name in _GPT2_FILES):
        vocab, merges = (folder / name for name in _GPT2_FILES)
        return Tokenizer.from_files(vocab, merges)
    if model_type == "gpt2" and vocab_size == _GPT2_SIZE:
        return Tokenizer.from_tiktoken("gpt2")
    return None
