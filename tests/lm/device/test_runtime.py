"""What a model computes in, on devices that can and that cannot."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.device.runtime import choose_dtype


@pytest.mark.parametrize("has_bf16", [False, True])
def test_a_gpu_without_bf16(has_bf16, monkeypatch):
    capability = (8, 0) if has_bf16 else (7, 5)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    gpu = torch.device("cuda")
    if has_bf16:
        assert choose_dtype("bfloat16", gpu) is choose_dtype("auto", gpu) is torch.bfloat16
    else:
        with pytest.raises(ValueError, match='"bfloat16": Tesla T4 has no bf16; use "float32"'):
            choose_dtype("bfloat16", gpu)
        assert choose_dtype("auto", gpu) is torch.float32
    assert choose_dtype("float32", gpu) is torch.float32


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="dtype='float16'"):
        choose_dtype("float16", torch.device("cpu"))
