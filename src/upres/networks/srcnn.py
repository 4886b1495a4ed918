"""SRCNN: Image Super-Resolution Using Deep Convolutional Networks.

Dong et al., ECCV 2014 and TPAMI 2016, arXiv 1501.00092. The picture is enlarged by bicubic interpolation; three
convolutions then extract patches, map them, and reconstruct.

    f(y) = W₃ * relu(W₂ * relu(W₁ * bicubic(y)))

Deviations: zero padding keeps the size (the paper crops its targets). Luma is shifted by ½ on the way in and back on
the way out: what the biases could learn, but zero padding then means mid-gray and bfloat16 keeps one more bit.

Notes' form: `kernel_sizes=(9, 1, 5)`. `residual=True` adds the output to the bicubic-enlarged picture, at the same
parameter count: bfloat16 rounds the residual alone then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from upres.networks.layers import BicubicEnlarge, draw_blind_to_brightness, draw_pairs


class SRCNN(nn.Module):
    """k₁×k₁-64, k₂×k₂-32, k₃×k₃-1, ReLU between, on the bicubic-enlarged picture.

    Args:
        scale: how many times larger the output is, at least 1; the weights do not depend on it.
        kernel_sizes: the three odd kernel sides; 9-5-5 in the published tables, 9-1-5 in the first paper.
        channels: features of the two hidden layers.
        residual: predict what bicubic interpolation lacks instead of the picture itself.

    Raises:
        ValueError: a kernel side is even, which no padding centres.
    """

    def __init__(
        self,
        *,
        scale: int,
        kernel_sizes: tuple[int, int, int] = (9, 5, 5),
        channels: tuple[int, int] = (64, 32),
        residual: bool = False,
    ) -> None:
        super().__init__()
        if any(k % 2 == 0 for k in kernel_sizes):
            raise ValueError(f"SRCNN got kernel_sizes {kernel_sizes}; give three odd numbers.")
        k1, k2, k3 = kernel_sizes
        wide, narrow = channels
        self.scale = scale
        self.residual = residual
        self.enlarge = BicubicEnlarge(scale)
        self.conv1 = nn.Conv2d(1, wide, k1, padding=k1 // 2)
        self.conv2 = nn.Conv2d(wide, narrow, k2, padding=k2 // 2)
        self.conv3 = nn.Conv2d(narrow, 1, k3, padding=k3 // 2)
        self.halo = 2 + -(-sum(k // 2 for k in kernel_sizes) // scale)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.normal_(conv.weight, std=0.001)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        u = self.enlarge(y)
        x = self.conv1(u - 0.5).relu()
        x = self.conv2(x).relu()
        return self.conv3(x).to(y.dtype) + (u if self.residual else 0.5)

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    @torch.no_grad()
    def start_as_interpolation(self) -> None:
        """Let channels 0 and 1 carry the picture's positive and negative part; draw the others as He does.

        The residual form starts from a last layer of zeros instead, behind filters in pairs of opposite sign and a
        second layer that does not see brightness.
        """
        convs = (self.conv1, self.conv2, self.conv3)
        if self.residual:
            draw_pairs(self.conv1, norm=1.0)
            draw_blind_to_brightness(self.conv2)
            nn.init.zeros_(self.conv3.weight)
            return
        for conv in convs[:2]:
            nn.init.kaiming_normal_(conv.weight)
        for conv in convs:
            middle = conv.kernel_size[0] // 2
            sign = torch.tensor([1.0, -1.0])
            carried = torch.outer(sign, sign[: conv.in_channels])[: conv.out_channels]
            if conv is not self.conv3:
                conv.weight[:2] = 0
            conv.weight[:2, :2, middle, middle] = carried
