"""LapSRN: Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution.

Lai et al., CVPR 2017, arXiv 1704.03915; MS-LapSRN, arXiv 1710.01992. The picture doubles level by level; each level
enlarges features and picture with transposed convolutions and adds what the features say is missing.

    g₀ = lrelu(W * y),  g_l = lrelu(up(convs(g_{l−1}))),  f_l = up'(f_{l−1}) + R * g_l,   f₀ = y

Deviations: the picture's own enlargement repeats the edge pixel, where the authors' zeros darken the border.

Notes' form: `convolutions=3, up_kernel=4, shared_levels=True`. It leaves out the activations after the first and the
enlarging convolutions; they stay here.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upres.networks.layers import (
    bilinear_transposed,
    draw_near_identity,
    draw_pairs,
    exact_transposed_conv,
    leaky_relu,
)


class Level(nn.Module):
    """One doubling: features and picture in, features and picture of twice the size out."""

    def __init__(self, channels: int, convolutions: int, up_kernel: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convolutions))
        self.up = exact_transposed_conv(channels, channels, up_kernel, stride=2)
        self.residual = nn.Conv2d(channels, 1, 3, padding=1)
        self.picture_up = exact_transposed_conv(1, 1, 4, stride=2, bias=False)
        for layer in (*self.convs, self.up, self.residual):
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.picture_up.weight[0, 0] = bilinear_transposed(4, stride=2)

    def forward(self, features: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, c, h, w)` and `(B, 1, h, w)` → `(B, c, 2h, 2w)` and `(B, 1, 2h, 2w)`."""
        for conv in self.convs:
            features = leaky_relu(conv(features), 0.2, training=self.training)
        features = leaky_relu(self.up(features), 0.2, training=self.training)
        with torch.autocast(picture.device.type, enabled=False):
            enlarged = self.picture_up(F.pad(picture, (1, 1, 1, 1), mode="replicate"))[..., 2:-2, 2:-2]
        return features, enlarged + self.residual(features)


class LapSRN(nn.Module):
    """A level of 10 × 3×3-64 and a transposed convolution for each doubling.

    Args:
        scale: 2, 4 or 8.
        channels: features throughout.
        convolutions: 3×3 convolutions a level.
        up_kernel: side of the features' transposed convolution; 3 in the authors' code, 4 in the paper.
        shared_levels: one set of weights for every level.

    Raises:
        ValueError: the scale is not 2, 4 or 8.
    """

    def __init__(
        self,
        *,
        scale: int,
        channels: int = 64,
        convolutions: int = 10,
        up_kernel: int = 3,
        shared_levels: bool = False,
    ) -> None:
        super().__init__()
        if scale not in (2, 4, 8):
            raise ValueError(f"LapSRN got scale {scale}; it doubles level by level, so choose 2, 4 or 8.")
        self.scale = scale
        doublings = scale.bit_length() - 1
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, a=0.2)
        assert self.first.bias is not None
        nn.init.zeros_(self.first.bias)
        if shared_levels:
            self.levels = nn.ModuleList([Level(channels, convolutions, up_kernel)] * doublings)
        else:
            self.levels = nn.ModuleList(Level(channels, convolutions, up_kernel) for _ in range(doublings))
        radius = 1  # in pixels of the level at hand; each level's transposed convolution reaches one pixel further
        for _ in range(doublings):
            radius = 2 * (radius + convolutions + 1)
        self.halo = -(-(radius + 1) // scale)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        return self.outputs(y)[-1]

    def outputs(self, y: Tensor) -> list[Tensor]:
        """The picture at 2, 4, … times the size; the last is the output."""
        features, picture = leaky_relu(self.first(y), 0.2, training=self.training), y
        pyramid: list[Tensor] = []
        for level in self.levels:
            features, picture = level(features, picture)
            pyramid.append(picture)
        return pyramid

    def start_as_interpolation(self) -> None:
        """Start from bilinear interpolation: every residual is zero, and each level's layers see what enters it."""
        draw_pairs(self.first, norm=2.0)
        for level in self.levels:
            assert isinstance(level, Level)
            for conv in level.convs:
                draw_near_identity(cast(nn.Conv2d, conv), share=0.3)
            nn.init.zeros_(level.residual.weight)
