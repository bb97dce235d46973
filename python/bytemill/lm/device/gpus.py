"""What GPUs can do at most: dense matrix FLOP/s and memory, by device name."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Gpu(NamedTuple):
    """One kind of GPU."""

    name: str
    """As the maker writes it."""
    peak_flops: float
    """Dense bf16 matrix FLOP/s with fp32 accumulation (fp16 where the GPU lacks bf16). Data sheets
    often print twice as much, which holds for 2:4 sparse matrices only."""
    memory_bytes: float
    """The GB of the data sheet, times 10^9; drivers report a little more."""
    source: str
    """Where the figures are from."""


_SHEETS: Final = "NVIDIA data sheet"

GPUS: Final[tuple[Gpu, ...]] = (
    Gpu("B300", 2250e12, 288e9, f"{_SHEETS}, HGX B300"),
    Gpu("B200", 2250e12, 180e9, f"{_SHEETS}, HGX B200"),
    Gpu("GH200", 989.4e12, 96e9, f"{_SHEETS}, GH200 Grace Hopper Superchip"),
    Gpu("H200", 989.4e12, 141e9, f"{_SHEETS}, H200"),
    Gpu("H100 PCIe", 756e12, 80e9, f"{_SHEETS}, H100"),
    Gpu("H100 NVL", 835.5e12, 94e9, f"{_SHEETS}, H100"),
    Gpu("H100", 989.4e12, 80e9, f"{_SHEETS}, H100 (SXM)"),
    Gpu("A100 40GB", 312e12, 40e9, f"{_SHEETS}, A100"),
    Gpu("A100", 312e12, 80e9, f"{_SHEETS}, A100"),
    Gpu("A10G", 70e12, 24e9, "NVIDIA A10G product brief, Amazon EC2 G5"),
    Gpu("A10", 125e12, 24e9, f"{_SHEETS}, A10"),
    Gpu("A40", 149.7e12, 48e9, f"{_SHEETS}, A40"),
    Gpu("RTX A6000", 154.8e12, 48e9, "NVIDIA Ampere GA102 whitepaper, appendix"),
    Gpu("RTX 6000 Ada", 364.2e12, 48e9, "NVIDIA Ada whitepaper, appendix"),
    Gpu("L40S", 362e12, 48e9, f"{_SHEETS}, L40S"),
    Gpu("L40", 181e12, 48e9, f"{_SHEETS}, L40"),
    Gpu("L4", 121e12, 24e9, f"{_SHEETS}, L4"),
    Gpu("RTX 5090", 209.5e12, 32e9, "NVIDIA RTX Blackwell whitepaper, appendix"),
    Gpu("RTX 4090", 165.2e12, 24e9, "NVIDIA Ada whitepaper, appendix"),
    Gpu("RTX 3090", 71e12, 24e9, "NVIDIA Ampere GA102 whitepaper, appendix"),
    Gpu("V100", 125e12, 32e9, f"{_SHEETS}, V100 (SXM2, fp16)"),
    Gpu("T4", 65e12, 16e9, f"{_SHEETS}, T4 (fp16)"),
    Gpu("MI325X", 1307.4e12, 256e9, "AMD Instinct data sheet, MI325X"),
    Gpu("MI300X", 1307.4e12, 192e9, "AMD Instinct data sheet, MI300X"),
)


def find_gpu(name: str) -> Gpu | None:
    """The GPU that a name means: one of the table's, or what the driver calls the device.

    All words of a table's name must be in `name`; of several the one with most letters counts, so
    that "NVIDIA H100 PCIe" is no "H100". Case does not matter. None if there is none, and for
    laptops' GPUs, which are slower than those whose names they bear.
    """
    words = set(re.findall(r"[a-z0-9]+", name.lower()))
    if "laptop" in words:
        return None
    for gpu in sorted(GPUS, key=lambda gpu: -len(gpu.name)):
        if words.issuperset(gpu.name.lower().split()):
            return gpu
    return None


def gpu(name: str) -> Gpu:
    """As `find_gpu`, but ValueError with the names there are if it finds none."""
    found = find_gpu(name)
    if found is None:
        known = ", ".join(gpu.name for gpu in GPUS)
        raise ValueError(
            f"gpu={name!r}: it is not in the table, which has {known}; give its peak FLOP/s instead"
        )
    return found
