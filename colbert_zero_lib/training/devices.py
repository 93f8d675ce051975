"""Which device a run takes, at what precision that device is fast, and what it does with freed memory."""

from __future__ import annotations

import contextlib
import ctypes

import torch

# glibc's names for mallopt (malloc.h): from what size on a block is the system's, how much may lie free.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


def device_of_choice() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def native_bfloat16(device: str) -> bool:
    """True where bfloat16 is fast: GPUs that support it, CPUs with AVX512-BF16 or AMX."""
    if device.startswith("cuda"):
        # Older cards say yes because they can emulate it, slower than float32.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks if check)


def native_precision(device: str) -> str:
    """``bfloat16`` where it is fast, else ``float32``."""
    return "bfloat16" if native_bfloat16(device) else "float32"


def keep_freed_memory(much: bool = True) -> None:
    """Let the process keep ``much`` of what a step frees for the next one, or as little as usual (glibc alone).

    Given back and asked for again, it is zeroed by the system each time: 4 to 8% of a step of 4x256. But no two steps
    ask for the same sizes, so that what is kept fits ever worse: a distillation of ``minilm`` grew from 2.7 to 5.3 GB.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30 if much else 1 << 20)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1 if much else 1 << 26)


def release_freed_memory() -> None:
    """Hand back to the system what `keep_freed_memory` kept, when the steps are over."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
