"""What a prediction is charged for: mean over pixels of |d|, d², or Charbonnier's √(d² + ε²)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """√(d² + 1e-6), the mean: LapSRN's loss (Lai 2017) on luma in [0, 1]."""
    return torch.sqrt((prediction - target) ** 2 + 1e-6).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
}
