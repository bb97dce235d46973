"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

REDRAW_S = 0.1
LINE_S = 5.0


class Progress:
    """Shows how far some work is; pass `update` as a progress callback.

    Used in a `with` block, which ends the line however the work ends.

    Args:
        label: What is being done: "count".
        unit: What `update` is told: "MB" (it is told bytes) or a word for things, like "merges".
        stream: Where to write; stderr if None.
    """

    def __init__(self, label: str, unit: str, stream: TextIO | None = None) -> None:
        self._label = label
        self._unit = unit
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._began = self._shown = time.monotonic()
        self._drawn = 0
        self._share = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The bar gives way to what is printed next.
        self._draw("")

    def update(
        self, done: int, total: int, note: str = "", seconds_left: float | None = None
    ) -> None:
        """Shows `done` of `total`, if it is time to.

        Args:
            done, total: How far the work is. Where `total` grows on the way, the bar waits and does
                not run backwards.
            note: Takes the place of the rate.
            seconds_left: If the caller knows better than the rate so far.
        """
        now = time.monotonic()
        if now - self._shown < (REDRAW_S if self._is_terminal else LINE_S):
            return
        self._shown = now
        if total:
            self._share = max(self._share, min(done / total, 1.0))
        share = self._share
        text = self._describe(share, done, total, now - self._began, note, seconds_left)
        if self._is_terminal:
            self._draw(self._bar(share, text))
        else:
            print(f"{self._label}: {text}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Prints a line on stdout, in place of the bar, which comes back with the next update."""
        self._draw("")
        print(text, flush=True)
        self._shown = 0.0 if self._is_terminal else self._shown

    def warn(self, text: str) -> None:
        """Prints a line on stderr, in place of the bar; may be called by any thread."""
        self._draw("")
        print(text, file=self._stream, flush=True)

    def _describe(
        self,
        share: float,
        done: int,
        total: int,
        seconds: float,
        note: str,
        seconds_left: float | None,
    ) -> str:
        scale, digits = (1e6, 1) if self._unit == "MB" else (1, 0)
        rate = done / scale / seconds if seconds > 0 else 0.0
        text = (
            f"{share:4.0%}  {done / scale:,.{digits}f} of {total / scale:,.{digits}f} {self._unit}"
        )
        if not note:
            text += f"  {rate:,.0f} {self._unit}/s"
        if seconds_left is None and done > 0:
            seconds_left = seconds / done * (total - done)
        if seconds_left is not None:
            text += f"  {_clock(seconds_left)} left"
        return f"{text}  {note}" if note else text

    def _bar(self, share: float, text: str) -> str:
        width = shutil.get_terminal_size().columns - 1
        room = min(30, width - len(self._label) - len(text) - 5)
        bar = ""
        if room >= 5:
            filled = round(share * room)
            bar = f" [{'#' * filled}{'-' * (room - filled)}]"
        return f"{self._label}{bar} {text}"[: max(width, 0)]

    def _draw(self, line: str) -> None:
        """Replaces what has been drawn; spaces wipe the rest, which every terminal understands."""
        if not self._is_terminal or not (line or self._drawn):
            return
        self._stream.write("\r" + line.ljust(self._drawn) + ("" if line else "\r"))
        self._stream.flush()
        self._drawn = len(line)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
    )


def duration(seconds: float) -> str:
    """A time to be expected, in words: "40 s", "12 min", "1 h 5 min", "1 day 4 h"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,} {'day' if days == 1 else 'days'}{f' {hours} h' if hours else ''}"
