"""Zstandard frames with windows beyond what the library reads by default (128 MiB)."""

import subprocess
import sys

import pytest

from bytemill.data import iter_documents

zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")


def frame(text: bytes, exponent: int, mantissa: int = 0) -> bytes:
    """A frame of one raw block whose window has 2**(10 + exponent) * (1 + mantissa / 8) bytes.

    RFC 8878, sections 3.1.1.1 and 3.1.1.2.
    """
    header = bytes([0, exponent << 3 | mantissa])
    block = (len(text) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + header + block + text


@pytest.mark.parametrize("exponent", range(22))
def test_a_window_of_up_to_2_gib_is_read(exponent, tmp_path):
    path = tmp_path / "a.txt.zst"
    path.write_bytes(frame(b"some ", exponent) + frame(b"text", exponent))
    assert list(iter_documents(path)) == ["some text"]


def test_a_file_of_the_long_mode_is_read(tmp_path):
    parameters = zstandard.ZstdCompressionParameters(
        window_log=28, hash_log=10, chain_log=10, enable_ldm=True, strategy=1
    )
    path = tmp_path / "a.txt.zst"
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(
        path.open("wb")
    ) as out:
        out.write(b"long " * 1000)
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size > 1 << 27
    assert "".join(iter_documents(path)) == "long " * 1000


@pytest.mark.parametrize(("exponent", "mantissa"), [(21, 1), (22, 0), (31, 7)])
def test_a_larger_window_is_named(exponent, mantissa, tmp_path):
    path = tmp_path / "a.txt.zst"
    path.write_bytes(frame(b"text", exponent, mantissa))
    with pytest.raises(ValueError, match=r"a\.txt\.zst.*window of more than 2 GiB.*--long=31"):
        list(iter_documents(path))


LIMITED = """
import resource, sys
from bytemill.data import iter_documents
import zstandard
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    list(iter_documents(sys.argv[1]))
except MemoryError as error:
    print("MemoryError", "no room for the window" in str(error))
print(list(iter_documents(sys.argv[2])))
"""


def test_no_room_for_a_window_is_a_memory_error(tmp_path):
    pytest.importorskip("resource", reason="this system has no limits")
    large, small = tmp_path / "large.txt.zst", tmp_path / "small.txt.zst"
    large.write_bytes(frame(b"text", 21))
    small.write_bytes(frame(b"text", 0))
    command = [sys.executable, "-c", LIMITED, str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["MemoryError True", "['text']"]
