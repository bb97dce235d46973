"""Files made of pieces of others: NumPy's own bytes, and zlib's checksum of them."""

import io
import itertools
import os
import zlib

import pytest

from bytemill.data.on_ray.npy import NpyWriter, data_crc32

np = pytest.importorskip("numpy", reason="numpy is not installed")


@pytest.fixture(params=["by the system", "by reading"])
def _copied(request, monkeypatch):
    if request.param == "by reading":
        monkeypatch.delattr(os, "copy_file_range", raising=False)


@pytest.mark.usefixtures("_copied")
@pytest.mark.parametrize("descr", ["<u2", "<u4"])
def test_the_file_that_numpy_writes(descr, tmp_path):
    # More than is copied at a time.
    whole = np.random.default_rng(3).integers(0, 60_000, 900_000).astype(descr)
    cuts = [0, 5, 5, 640_000, 640_001, len(whole)]
    np.save(tmp_path / "a.npy", whole)
    np.save(tmp_path / "first.npy", whole[: cuts[1]])
    crc32 = data_crc32(zlib.crc32((tmp_path / "first.npy").read_bytes()), descr, cuts[1])
    assert crc32 == zlib.crc32(whole[: cuts[1]].tobytes())
    with (tmp_path / "b.npy").open("wb") as file:
        writer = NpyWriter(file, descr, len(whole))
        writer.copy(tmp_path / "first.npy", 0, cuts[1], crc32)
        for start, end in itertools.pairwise(cuts[1:-1]):
            known = zlib.crc32(whole[start:end].tobytes()) if start == 5 else None
            writer.copy(tmp_path / "a.npy", start, end, known)
        writer.write(whole[cuts[-2] :].tobytes())
    written = (tmp_path / "b.npy").read_bytes()
    assert written == (tmp_path / "a.npy").read_bytes()
    assert writer.crc32 == zlib.crc32(written)


@pytest.mark.usefixtures("_copied")
@pytest.mark.parametrize("crc32", [None, 7])
def test_what_is_not_there(crc32, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(5, "<u2"))
    with (tmp_path / "b.npy").open("wb") as file:
        writer = NpyWriter(file, "<u2", 9)
        for name in ("a.npy", "gone.npy"):
            with pytest.raises(ValueError, match=rf"{name}: .* missing or too short; remove the"):
                writer.copy(tmp_path / name, 3, 6, crc32)


def test_a_file_in_memory(tmp_path):
    """Then all is read and written, and comes to the same."""
    np.save(tmp_path / "a.npy", np.arange(9, dtype="<u2"))
    raw = io.BytesIO()
    NpyWriter(raw, "<u2", 9).copy(tmp_path / "a.npy", 0, 9)
    assert raw.getvalue() == (tmp_path / "a.npy").read_bytes()
