"""Reading .zst files whole: all frames, and a complaint where the last one is cut off."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import IO, Any

# Small on purpose: larger pieces that come and go between strings that stay for a while leave holes
# in the heap, and memory grows with the text.
CHUNK = 1 << 15
_READ = 1 << 17
# The most that the format's own programs read; the library's default is 27.
_WINDOW_LOG = 31


def module(path: object) -> Any:
    """The package that reads .zst files: zstandard, or Python 3.14's own.

    Raises:
        ImportError: There is none; `path` is what it is needed for.
    """
    try:
        import zstandard

        return zstandard
    except ImportError:
        if sys.version_info >= (3, 14):
            from compression import zstd

            return zstd
        raise ImportError(f"reading {path} needs zstandard: pip install zstandard") from None


def read(raw: IO[bytes], path: object) -> Iterator[bytes]:
    """The unpacked bytes of `raw`, in pieces of 32 KiB. Windows may have up to 2 GiB (`--long=31`).

    Raises:
        EOFError: The file ends inside a frame.
        MemoryError: There is no room for its window.
        ValueError: It is corrupt, or has a larger window; the message names `path`.
    """
    zstd = module(path)
    try:
        if hasattr(zstd, "ZstdFile"):
            options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
            with zstd.ZstdFile(raw, options=options) as unpacked:
                while chunk := unpacked.read(CHUNK):
                    yield chunk
            return
        # zstandard's reader ends silently where a frame is cut off.
        watched = _Watched(raw)
        unpacked = zstd.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).stream_reader(
            watched, read_size=_READ, read_across_frames=True, closefd=False
        )
        while chunk := unpacked.read(CHUNK):
            yield chunk
        if not watched.at_frame_end:
            raise EOFError("its last frame has no end")
    except zstd.ZstdError as error:
        if "llocation" in str(error):
            raise MemoryError(f"{path}: no room for the window of this .zst file") from error
        if "too much memory" in str(error):
            raise ValueError(
                f"{path}: the file is corrupt, or needs a window of more than 2 GiB; compress it "
                "again with --long=31 or less"
            ) from error
        raise ValueError(f"{path}: the file is corrupt ({error})") from error


class _Watched:
    """Passes a file through and knows whether what has passed ends with a whole frame."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._walk = _walk_frames()
        self._wanted = next(self._walk)
        self._header = bytearray()
        self.at_frame_end = False

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data = self._raw.read(size)
        at = 0
        while at < len(data):
            self.at_frame_end = False
            n = min(abs(self._wanted) - len(self._header), len(data) - at)
            if self._wanted > 0:
                self._header += data[at : at + n]
                if len(self._header) == self._wanted:
                    self._next(bytes(self._header))
            else:
                self._wanted += n
                if self._wanted == 0:
                    self._next(b"")
            at += n
        return data

    def _next(self, header: bytes) -> None:
        self._header.clear()
        self._wanted = self._walk.send(header)
        while self._wanted == 0:
            self.at_frame_end = True
            self._wanted = next(self._walk)


def _walk_frames() -> Generator[int, bytes, None]:
    """Walks over the headers of the Zstandard format (RFC 8878, section 3.1).

    Yields n > 0 to be sent the next n bytes, n < 0 to have -n bytes passed over, 0 after a frame.
    """
    while True:
        magic = yield 4
        if magic == b"\x28\xb5\x2f\xfd":
            yield from _walk_frame()
        elif 0x50 <= magic[0] <= 0x5F and magic[1:] == b"\x2a\x4d\x18":
            yield from _pass_over(int.from_bytes((yield 4), "little"))
        else:
            # Not Zstandard; the decoder says so.
            while True:
                yield -sys.maxsize
        yield 0


def _walk_frame() -> Generator[int, bytes, None]:
    (descriptor,) = yield 1
    single_segment = descriptor >> 5 & 1
    window_size = 1 - single_segment
    dictionary_id = (0, 1, 2, 4)[descriptor & 3]
    content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
    yield from _pass_over(window_size + dictionary_id + content_size)
    is_last = 0
    while not is_last:
        header = int.from_bytes((yield 3), "little")
        is_last = header & 1
        is_run = header >> 1 & 3 == 1
        yield from _pass_over(1 if is_run else header >> 3)
    has_checksum = descriptor >> 2 & 1
    yield from _pass_over(4 * has_checksum)


def _pass_over(n: int) -> Generator[int, bytes, None]:
    if n:
        yield -n
