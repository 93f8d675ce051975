"""Which device a run takes, and at what precision that device is fast."""

from __future__ import annotations

import torch


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
