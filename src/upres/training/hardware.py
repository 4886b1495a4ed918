"""What a device computes well in."""

from __future__ import annotations

from typing import Any

import torch

from upres.inference.runtime import processor_features

_INSTRUCTIONS = {"amx_bf16", "avx512_bf16", "bf16", "sve_bf16"}


def has_bf16(accelerator: str) -> bool:
    """Whether bfloat16 pays on a device; without instructions for it, a CPU takes ten times as long as in float32.

    Args:
        accelerator: Fabric's: `auto`, `cpu`, `cuda` or `mps`.

    Returns:
        True too where neither PyTorch, which lists a CPU's instructions from 2.12 on, nor Linux says.
    """
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return True
    list_capabilities: Any = getattr(torch.cpu, "get_capabilities", None)
    if list_capabilities is None:
        features = processor_features()
    else:
        features = {name for name, has in list_capabilities().items() if has is True}
    return not features or bool(features & _INSTRUCTIONS)
