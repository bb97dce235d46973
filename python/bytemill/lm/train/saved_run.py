"""Where a run is, beside weights and optimizers: what a checkpoint keeps for the run to go on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from bytemill.folder_lock import LOCK_NAME
from bytemill.lm.checkpoint.loading import TOKENIZER_FOLDER
from bytemill.lm.checkpoint.store import FOLDER, Checkpoint
from bytemill.lm.settings_tree import leaves
from bytemill.lm.train.config import RunTree, TrainConfig
from bytemill.lm.train.plan import DIALS, Dial

Dtype = Literal["float32", "bfloat16"]
CONFIG: Final = "config.json"
_DTYPES: Final[tuple[Dtype, ...]] = get_args(Dtype)


@dataclass(frozen=True)
class SavedRun:
    """The trainer's own state."""

    loop: dict[str, Any]
    """`Loop.state_dict()`."""
    dial: Dial
    """Whose defaults the plan was made with: a run may go on on another device."""
    tokenizer: str | None
    """The fingerprint of the run's tokenizer; None without one."""
    val_content: str | None
    """`Tokens.content` of what it is validated on; None without that."""
    dtype: Dtype
    """What it computes in, which "auto" has come to."""
    machine: str
    """Device, threads and version of torch, in words."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else its kind of run keeps."""

    def to_dict(self, config: RunTree) -> dict[str, Any]:
        """As JSON data, with the run's configuration and its kind."""
        own = dataclasses.asdict(self)
        # With whole paths, as the run's folder has them: it may go on from another working folder.
        return {"kind": config.FORMAT, "config": config.placed().to_dict(), **own}

    @property
    def rows(self) -> int:
        """Rows at a time, which may have been halved. It decides how sums are rounded."""
        return int(self.loop["rows"])

    def changes(self, machine: str, val_content: str | None) -> list[str]:
        """What a person may want to know when the run goes on elsewhere, or is measured anew."""
        notes = []
        if machine != self.machine:
            notes.append(
                f"the run was on {self.machine} and goes on on {machine}: the last bits of its "
                "numbers differ from those of a run that stays"
            )
        if val_content != self.val_content:
            notes.append(
                "the validation tokens have changed: losses cannot be compared with earlier ones, "
                "by which the best checkpoint was chosen"
            )
        return notes

    @classmethod
    def read(cls, checkpoint: Checkpoint, config: RunTree) -> SavedRun:
        """What `to_dict` made, if a run of this configuration can go on from it.

        Raises:
            ValueError: The checkpoint is of something else, or a field that decides the weights has
                changed; the message names it.
        """
        extra, kind = checkpoint.extra, type(config)
        try:
            if extra["kind"] != config.FORMAT:
                raise ValueError(f"it is of a run of the kind {extra['kind']!r}")
            before = kind.from_dict(extra["config"], str(checkpoint.path))
            saved = cls(
                loop={**extra["loop"], "rows": int(extra["loop"]["rows"])},
                dial=DIALS[DIALS.index(extra["dial"])],
                tokenizer=extra["tokenizer"],
                val_content=extra["val_content"],
                dtype=_DTYPES[_DTYPES.index(extra["dtype"])],
                machine=str(extra["machine"]),
                more=dict(extra["more"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{checkpoint.path}: a training run cannot go on from it ({error})"
            ) from None
        old, new = before.flat(), config.placed().flat()
        for name, leaf in leaves(kind).items():
            if name == "steps" and new["steps"] is not None and new["minutes"] is None:
                continue  # it may go on for longer: `other_run.said_of_steps`
            if leaf.field.metadata["decides"] and old[name] != new[name]:
                raise ValueError(
                    f"{name} was {old[name]!r} when the run of {checkpoint.path} was begun and is "
                    f"{new[name]!r} now; leave it as it was, or begin a new run in another folder"
                )
        return saved


def configuration_of(checkpoint: Checkpoint) -> tuple[TrainConfig, Dial] | None:
    """The run that wrote a checkpoint, and its dial; None if no pretraining run did.

    Raises:
        TypeError, ValueError: Its configuration is damaged.
    """
    extra = checkpoint.extra
    if extra.get("kind") != TrainConfig.FORMAT or extra.get("dial") not in DIALS:
        return None
    return TrainConfig.from_dict(extra["config"], str(checkpoint.path)), extra["dial"]


def check_free(out: str) -> None:
    """Raises ValueError if the folder `out` holds something, and nothing that a run left there."""
    folder = Path(out)
    if not folder.is_dir() or (folder / CONFIG).exists():
        return
    ours = {LOCK_NAME, TOKENIZER_FOLDER, FOLDER}
    if others := sorted({path.name for path in folder.iterdir()} - ours):
        raise ValueError(
            f"out={out!r}: the folder holds {others[0]!r} and no run; choose a folder that is new, "
            "empty or a run's"
        )
