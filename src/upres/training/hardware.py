"""What a device computes well in."""

from __future__ import annotations

from typing import Any

import torch

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def has_bf16(accelerator: str) -> bool:
    """Whether bfloat16 pays on a device; without instructions for it, a CPU takes ten times as long as in float32.

    Args:
        accelerator: Fabric's: `auto`, `cpu`, `cuda` or `mps`.

    Returns:
        True too where PyTorch cannot say: before 2.12 it does not list a CPU's instructions.
    """
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return True
    list_capabilities: Any = getattr(torch.cpu, "get_capabilities", None)
    if list_capabilities is None:
        return True
    capabilities = list_capabilities()
    return any(capabilities.get(name, False) for name in _INSTRUCTIONS)
