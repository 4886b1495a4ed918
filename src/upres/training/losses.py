"""What a prediction is charged for: |d|, d², or Charbonnier's √(d² + ε²), d on luma in [0, 1].

The papers' learning rates belong to sums over a patch's pixels; what we ship is trained with means.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def charbonnier(prediction: Tensor, target: Tensor) -> Tensor:
    """√(d² + 1e-6), the mean over pixels."""
    return torch.sqrt((prediction - target) ** 2 + 1e-6).mean()


def charbonnier_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """√(d² + 1e-6), summed over pixels, the mean over patches: LapSRN's (Lai 2017)."""
    return torch.sqrt((prediction - target) ** 2 + 1e-6).sum() / len(target)


def half_squares(prediction: Tensor, target: Tensor) -> Tensor:
    """½d², summed over pixels, the mean over patches: Caffe's EuclideanLoss, of SRCNN, FSRCNN, VDSR and DRRN."""
    return 0.5 * ((prediction - target) ** 2).sum() / len(target)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
    "charbonnier_sum": charbonnier_sum,
    "half_squares": half_squares,
}
