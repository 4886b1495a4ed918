"""ESPCN: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network.

Shi et al., CVPR 2016, arXiv 1609.05158. Three convolutions at low resolution; the last makes s² channels, which are
laid out as the s×s pixels that each low-resolution pixel becomes (sub-pixel convolution, or pixel shuffle).

    f(y) = shuffle(W₃ * tanh(W₂ * tanh(W₁ * y)))

Deviations: zero padding keeps the size (the paper crops its targets). Luma is shifted by ½ on the way in and back on
the way out: what the biases could learn, but zero padding then means mid-gray and bfloat16 keeps one more bit.

Notes' form: the same network. `residual=True` adds the output to the bicubic-enlarged picture, at the same parameter
count: tanh need not carry the picture through then (on Set5 ×2, 36.36 against 36.21 dB after 2,500 steps), and bfloat16
rounds the residual alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upres.networks.layers import BicubicEnlarge, bilinear_phases, tanh


class ESPCN(nn.Module):
    """5×5-64, tanh, 3×3-32, tanh, 3×3-s², pixel shuffle.

    Args:
        scale: how many times larger the output is, at least 1.
        channels: features of the two hidden layers.
        residual: predict what bicubic interpolation lacks instead of the picture itself.
    """

    def __init__(self, *, scale: int, channels: tuple[int, int] = (64, 32), residual: bool = False) -> None:
        super().__init__()
        wide, narrow = channels
        self.scale = scale
        self.conv1 = nn.Conv2d(1, wide, 5, padding=2)
        self.conv2 = nn.Conv2d(wide, narrow, 3, padding=1)
        self.conv3 = nn.Conv2d(narrow, scale**2, 3, padding=1)
        self.enlarge = BicubicEnlarge(scale) if residual else None
        self.halo = 2 + 1 + 1

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        x = tanh(self.conv1(y - 0.5), training=self.training)
        x = tanh(self.conv2(x), training=self.training)
        x = F.pixel_shuffle(self.conv3(x).to(y.dtype), self.scale)
        return x + (self.enlarge(y) if self.enlarge else 0.5)

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    @torch.no_grad()
    def start_as_interpolation(self) -> None:
        """Let channel 0 carry the picture through to bilinear weights, so that training starts from an enlargement.

        The other channels are drawn so that tanh bends: luma's contrast is about a third, so the first layer's
        weights are three times what unit variance would need, the second's twice. PyTorch's own draw leaves every
        tanh nearly linear, and training then takes ten times as long.
        """
        gain = 0.5  # small enough for tanh to be nearly linear
        nn.init.normal_(self.conv1.weight, std=3 / math.sqrt(self.conv1.weight[0].numel()))
        nn.init.normal_(self.conv2.weight, std=2 / math.sqrt(self.conv2.weight[0].numel()))
        for conv in (self.conv1, self.conv2, self.conv3):
            assert conv.bias is not None
            conv.bias.zero_()
        self.conv1.weight[0] = 0
        self.conv1.weight[0, 0, 2, 2] = gain
        self.conv2.weight[0] = 0
        self.conv2.weight[0, 0, 1, 1] = 1
        self.conv3.weight *= 0.1
        if self.enlarge:
            self.conv3.weight.zero_()
        else:
            self.conv3.weight[:, 0] = bilinear_phases(self.scale) / gain
