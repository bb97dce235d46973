"""The folder of an encoding run while it is under way, so that the run can be taken up again.

It then holds `state.json`: what was asked for, and how far the run has come. It is replaced
whenever a shard is full, after the shard's data has been flushed to disk. A run that finds one goes
on from there: data written after it is cut off and made again. At the end the state gives way to
`manifest.json`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bytemill import files, folder_lock
from bytemill.data.identity import why_other
from bytemill.data.shards import MANIFEST_NAME, SPLITS, Manifest, Shard, check_files

STATE_NAME: Final = "state.json"
PARTS_NAME: Final = ".ray"
NOTHING_DONE: Final = json.dumps(
    {"source": 0, "documents": 0, "splits": [{"shards": [], "open": None} for _ in SPLITS]}
)
"""The checkpoint of a run that has written nothing."""
_STATE_FORMAT: Final = "bytemill-shards-state"
_STATE_VERSION: Final = 1


class ShardRun:
    """What a run keeps on disk, before and between checkpoints."""

    def __init__(self, folder: Path, plan: Manifest) -> None:
        self._folder, self._plan = folder, plan
        self._state_path = folder / STATE_NAME

    def finished(self) -> Manifest | None:
        """The manifest, if this very run has ended before.

        Raises:
            ValueError: Another has.
        """
        if not (self._folder / MANIFEST_NAME).exists():
            return None
        manifest = Manifest.load(self._folder)
        self._check_same(_asked(manifest), self._folder / MANIFEST_NAME)
        check_files(self._folder, manifest)
        self._clean()
        return manifest

    def checkpoint(self) -> tuple[str | None, int]:
        """The last checkpoint, if this run was begun before, and how many files are done.

        Raises:
            ValueError: Another run was, or the folder holds other files of these names.
        """
        if not self._state_path.exists():
            taken = [p for s in SPLITS for p in sorted(self._folder.glob(f"{s}-*.npy"))]
            if taken:
                raise ValueError(
                    f"{taken[0]}: this file is in the way, and there is no {MANIFEST_NAME} that "
                    "says what it is; name another output folder or remove it"
                )
            self._clean()
            return None, 0
        remedy = "name another output folder, or remove this one"
        state = files.read_versioned(self._state_path, _STATE_FORMAT, _STATE_VERSION, remedy)
        self._check_same(state.get("asked"), self._state_path)
        self._clean(keep_parts=True)
        checkpoint = state.get("checkpoint")
        source = checkpoint.get("source") if isinstance(checkpoint, dict) else None
        if not isinstance(source, int) or not 0 <= source <= len(self._plan.inputs):
            raise self._other(self._state_path, "it is damaged")
        return json.dumps(checkpoint), max(source - 1, 0)

    def store(self, checkpoint: str) -> None:
        """Writes a checkpoint to disk."""
        state = {
            "format": _STATE_FORMAT,
            "version": _STATE_VERSION,
            "asked": _asked(self._plan),
            "checkpoint": json.loads(checkpoint),
        }
        files.write_bytes(self._state_path, json.dumps(state).encode())

    def finish(self, checkpoint: str) -> Manifest:
        """Writes the manifest and removes the state."""
        splits = json.loads(checkpoint)["splits"]
        manifest = Manifest(
            **{
                **_fields(self._plan),
                "splits": {
                    name: [
                        Shard(f"{name}-{i:05}.npy", f"{name}-{i:05}.docs.npy", **shard)
                        for i, shard in enumerate(split["shards"])
                    ]
                    for name, split in zip(SPLITS, splits, strict=True)
                },
            }
        )
        files.write_bytes(self._folder / MANIFEST_NAME, manifest.to_json())
        self._clean()
        return manifest

    def _check_same(self, other: Any, where: Path) -> None:
        mine = _asked(self._plan)
        if not isinstance(other, dict):
            raise self._other(where, "it is damaged")
        if other.get("fingerprint") != mine["fingerprint"]:
            raise self._other(where, "it was made with another tokenizer")
        if (why := why_other(other.get("inputs"), mine["inputs"])) is not None:
            raise self._other(where, why)
        if other == mine:
            return
        theirs = other.get("settings")
        theirs = {**theirs, "dtype": other.get("dtype")} if isinstance(theirs, dict) else {}
        ours = {**mine["settings"], "dtype": mine["dtype"]}
        different = [
            f"{key}={theirs.get(key)!r} instead of {value!r}"
            for key, value in ours.items()
            if theirs.get(key) != value
        ]
        raise self._other(where, f"it was made with {', '.join(different) or 'other settings'}")

    def _other(self, where: Path, reason: str) -> ValueError:
        return ValueError(
            f"{where}: this folder holds another run's output: {reason}; name another output "
            "folder, or remove this one to begin again"
        )

    def _clean(self, *, keep_parts: bool = False) -> None:
        """Removes what a killed run may have left."""
        names = [f".{STATE_NAME}.*.tmp", f".{MANIFEST_NAME}.*.tmp"]
        if not keep_parts:
            shutil.rmtree(self._folder / PARTS_NAME, ignore_errors=True)
            names += [STATE_NAME, *(f".{split}-*.npy.part" for split in SPLITS)]
        for name in names:
            for path in self._folder.glob(name):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing to the folder.

        Raises:
            ValueError: One does.
        """
        with folder_lock.locked(self._folder, "another process is encoding to"):
            try:
                yield
            except BaseException:
                # Without a checkpoint there is nothing to go on from.
                if not self._state_path.exists():
                    self._clean()
                raise


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__dataclass_fields__}


def _asked(manifest: Manifest) -> dict[str, Any]:
    """All that decides what is written."""
    fields = _fields(manifest)
    del fields["splits"]
    return fields
