"""A run's folder: who may write into it, where the run goes on from, and what it begins with."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bytemill.folder_lock import locked
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.store import Checkpoint, CheckpointStore
from bytemill.lm.train.saved_run import CONFIG, check_free

if TYPE_CHECKING:
    from bytemill import Tokenizer
    from bytemill.lm.train.config import RunTree


class RunFolder:
    """The folder of one run.

    Args:
        out: Its path.
        keep_last: Checkpoints to keep.
        resume: Whether a run that is there goes on.
    """

    def __init__(self, out: str, keep_last: int, *, resume: bool) -> None:
        self.path = Path(out)
        self.store = CheckpointStore(self.path, keep_last)
        self._out, self._resume = out, resume
        self._is_new = True

    @property
    def tokenizer(self) -> Path:
        """Where the run keeps its own."""
        return self.path / TOKENIZER_FOLDER

    def enter(self, held: ExitStack, *, leads: bool) -> Checkpoint | None:
        """Locks the folder, if it is there and this rank leads; returns where to go on from.

        Raises:
            ValueError: There is a run, and it is not to be resumed; or something else is there; or
                another process is at it.
        """
        self._is_new = not self.path.is_dir()
        if not self._is_new and leads:
            held.enter_context(locked(self.path))
        return self._checkpoint()

    def begin(self, held: ExitStack, config: RunTree, tokenizer: Tokenizer | None) -> None:
        """Writes what a run begins with; only when nothing is wrong with the arguments."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._is_new:
            held.enter_context(locked(self.path))
            if self._checkpoint() is not None:  # another run came and went meanwhile
                raise ValueError(f"{self.path}: another run has begun here; resume once more")
        self.store.clean()
        config.placed().save(self.path / CONFIG)
        if tokenizer is not None:
            tokenizer.save(self.tokenizer)

    def _checkpoint(self) -> Checkpoint | None:
        last = self.store.last()
        if last is None:
            check_free(self._out)
        if last is None or self._resume:
            return last
        raise ValueError(
            f"out={self._out!r}: there is a run in this folder already, at step "
            f"{last.step}; resume it, or choose another folder"
        )
