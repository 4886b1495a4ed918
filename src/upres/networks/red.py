"""RED-Net: Image Restoration Using Very Deep Convolutional Encoder-Decoder Networks with Symmetric Skip Connections.

Mao et al., NIPS 2016, arXiv 1603.09056 and 1606.08921. n convolutions take the picture apart and n transposed
convolutions put it together; every second convolution's output skips to its mirror image, the input to the end.

    c_i = relu(W_i * c_{i−1}),  c₀ = bicubic(y)
    d_j = relu(V_j *ᵀ d_{j−1} + [n − j even] c_{n−j}),  d₀ = c_n
    f(y) = V_n *ᵀ d_{n−1} + c₀

Deviations: none in the network. The paper's text has 64 features; its published numbers were probably made with 128.

Notes' form: `layers=6, channels=32, low_resolution=True, relu_after_sum=False` (its five plus the outer pair). Its last
kernel is 3×3 at every scale; here it is as large as the scale where that is more, so that no output pixel is missed.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from upres.networks.layers import BicubicEnlarge, draw_near_identity, draw_pairs, exact_transposed_conv


class RED(nn.Module):
    """`layers` convolutions and as many transposed ones, 3×3-64, with symmetric skips.

    Args:
        scale: how many times larger the output is, at least 1; the weights do not depend on it unless
            `low_resolution` is set.
        layers: convolutions, and transposed convolutions; 5, 10, 15 in RED10, RED20, RED30.
        channels: features of the hidden layers.
        low_resolution: work on the picture as it is, enlarge by the last transposed convolution, and start the skips
            at the first convolution's output instead of the picture, as the notes do.
        relu_after_sum: apply the ReLU after the skip is added, else before.
    """

    def __init__(
        self,
        *,
        scale: int,
        layers: int = 15,
        channels: int = 64,
        low_resolution: bool = False,
        relu_after_sum: bool = True,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.low_resolution = low_resolution
        self.relu_after_sum = relu_after_sum
        self.enlarge = nn.Identity() if low_resolution else BicubicEnlarge(scale)
        self.convs = nn.ModuleList(nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=1) for i in range(layers))
        self.transposed = nn.ModuleList(nn.ConvTranspose2d(channels, channels, 3, padding=1) for _ in range(layers - 1))
        self.last = (
            exact_transposed_conv(channels, 1, max(3, scale), stride=scale)
            if low_resolution
            else nn.ConvTranspose2d(channels, 1, 3, padding=1)
        )
        self.halo = 2 * layers if low_resolution else 2 + -(-2 * layers // scale)
        for layer in (*self.convs, *self.transposed, self.last):
            assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        u = self.enlarge(y)
        x, skips = u, list[Tensor]()
        for i, conv in enumerate(self.convs, start=1):
            x = conv(x).relu()
            if i % 2 == int(self.low_resolution) and i < len(self.convs):
                skips.append(x)
        for j, transposed in enumerate(self.transposed, start=1):
            x = transposed(x)
            if self._adds_skip(j):
                x = (x + skips.pop()).relu() if self.relu_after_sum else x.relu() + skips.pop()
            else:
                x = x.relu()
        residual = self.last(x).to(u.dtype)
        return residual if self.low_resolution else u + residual

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    @torch.no_grad()
    def start_as_interpolation(self) -> None:
        """Start from bicubic interpolation: the residual is zero. In the low-resolution form, from mid-gray.

        Every layer sees what the first one does: convolutions hand on what they are given, and transposed ones that a
        skip is added to half of it, so that the sum stays in bounds.
        """
        first, *convs = self.convs
        draw_pairs(cast(nn.Conv2d, first), norm=2.0)
        for layer in (*convs, *self.transposed):
            draw_near_identity(cast(nn.Conv2d | nn.ConvTranspose2d, layer), share=0.3)
        for j, transposed in enumerate(self.transposed, start=1):
            if self._adds_skip(j):
                cast(nn.ConvTranspose2d, transposed).weight.mul_(0.5)
        nn.init.zeros_(self.last.weight)
        if self.low_resolution and self.last.bias is not None:
            nn.init.constant_(self.last.bias, 0.5)

    def _adds_skip(self, j: int) -> bool:
        """Whether a convolution's output is added to that of transposed convolution `j`, counted from 1."""
        return (len(self.convs) - j) % 2 == int(self.low_resolution)
