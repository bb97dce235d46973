"""Rows of other data that a stage mixes in: an earlier stage's, or pretraining's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from bytemill.lm.batches.stream.rows import LoaderRows, Rows
from bytemill.lm.train.config import DataConfig, TrainConfig
from bytemill.lm.train.run_data import RunData
from bytemill.lm.train.saved_run import CONFIG

FromRun = Callable[[Path, str], Rows | None]
"""Given the folder of a run and the format of its configuration, the rows of its data if it is a
stage of that kind."""

_SEED: Final = 0x5EED
"""Added to the run's, so that other rows are drawn than the base run drew."""


def replayed(
    text: str, tokenizer: Path, context_length: int, seed: int, from_run: FromRun
) -> list[tuple[float, Rows]]:
    """The rows of "0.1=runs/base; 0.05=shards", each with its share of all rows.

    Args:
        text: Shares and paths. A path is the folder of a run, whose training data is taken, or data
            as pretraining reads it.
        tokenizer: The folder of the one that the stage's ids are of.
        context_length: Ids in a row, T.
        seed: Decides the order.
        from_run: What makes rows of an earlier stage's data.

    Raises:
        FileNotFoundError: A path is not there.
        ValueError: An entry is wrong, shares are not above 0 or come to 1, or the data is of
            another tokenizer.
    """
    found = []
    for number, entry in enumerate(part.strip() for part in text.split(";") if part.strip()):
        share, sign, path = entry.partition("=")
        try:
            weight = float(share)
        except ValueError:
            weight = 0.0
        if not sign or not path.strip() or not 0 < weight < 1:
            raise ValueError(
                f"replay={entry!r}: it is not like 0.1=runs/base: a share of all rows, from 0 to "
                "1, and the folder of a run, or tokens or text"
            )
        rows = _rows(path.strip(), tokenizer, context_length, seed + _SEED + number, from_run)
        found.append((weight, rows))
    if not found or sum(weight for weight, _ in found) >= 1:
        raise ValueError(f"replay={text!r}: the shares of all rows must come to less than 1")
    return found


def placed_replay(text: str) -> str:
    """The same with whole paths, which stay right in another working folder; an entry that
    `replayed` refuses is left for it to refuse."""
    return "; ".join(_placed(part.strip()) for part in text.split(";") if part.strip())


def _placed(entry: str) -> str:
    share, sign, path = entry.partition("=")
    return f"{share}={Path(path.strip()).absolute()}" if sign and path.strip() else entry


def _rows(path: str, tokenizer: Path, context_length: int, seed: int, from_run: FromRun) -> Rows:
    folder, config = Path(path), DataConfig(path)
    if (folder / CONFIG).is_file():
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("format")
        if kind != TrainConfig.FORMAT:
            rows = from_run(folder, str(kind))
            if rows is None:
                raise ValueError(
                    f"replay={path!r}: it is the run of a stage whose data has no rows"
                )
            return rows
        config = replace(TrainConfig.load(folder / CONFIG).data, tokenizer=None)
    try:
        data = RunData.open(config, tokenizer)
        loader = data.loader(config, 1, context_length, seed, torch.device("cpu"))
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"replay={path!r}: {error}") from error
    return LoaderRows(loader)
