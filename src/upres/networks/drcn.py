"""DRCN: Deeply-Recursive Convolutional Network for Image Super-Resolution.

Kim et al., CVPR 2016, arXiv 1511.04491. One convolution is applied again and again; what each application gives is
turned into a picture by the same reconstruction, and the pictures are summed with learned weights.

    h₀ = embed(u),  h_d = relu(W * h_{d−1}),  f(y) = Σ_d w_d · (u + reconstruct(h_d)),   u = bicubic(y)

Deviations: no ReLU after the reconstruction's last layer, since it predicts a residual of both signs (the paper's
equation 7 has one; its authors' residual form cannot).

Notes' form: `embedding_layers=1, reconstruction_layers=1, output_relu=True, ensemble_bias=True`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upres.networks.layers import BicubicEnlarge, draw_near_identity, draw_pairs


class DRCN(nn.Module):
    """Embedding 2 × 3×3-256, one 3×3-256 applied `recursions` times, reconstruction 3×3-256 and 3×3-1.

    Args:
        scale: how many times larger the output is, at least 1; the weights do not depend on it.
        recursions: applications of the shared convolution; the ensemble has one weight for each.
        channels: features throughout.
        embedding_layers: convolutions before the recursion, at least 1.
        reconstruction_layers: convolutions after it, at least 1.
        output_relu: a ReLU on each residual, as in the notes.
        ensemble_bias: a constant added to the weighted sum, as in the notes.
    """

    def __init__(
        self,
        *,
        scale: int,
        recursions: int = 16,
        channels: int = 256,
        embedding_layers: int = 2,
        reconstruction_layers: int = 2,
        output_relu: bool = False,
        ensemble_bias: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.recursions = recursions
        self.running = recursions
        self.output_relu = output_relu
        self.enlarge = BicubicEnlarge(scale)

        def conv(in_channels: int, out_channels: int) -> nn.Conv2d:
            layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            return layer

        self.embedding = nn.ModuleList(conv(1 if i == 0 else channels, channels) for i in range(embedding_layers))
        self.recursion = conv(channels, channels)
        nn.init.dirac_(self.recursion.weight)
        self.reconstruction = nn.ModuleList(conv(channels, channels) for _ in range(reconstruction_layers - 1))
        self.last = conv(channels, 1)
        self.ensemble = nn.Parameter(torch.full((recursions,), 1 / recursions))
        self.ensemble_bias = nn.Parameter(torch.zeros(())) if ensemble_bias else None
        self.halo = 2 + -(-(embedding_layers + recursions + reconstruction_layers) // scale)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        return self.outputs(y)[-1]

    def outputs(self, y: Tensor) -> list[Tensor]:
        """The prediction of each recursion, then their weighted sum, which is the output."""
        u = self.enlarge(y)
        h = u
        for conv in self.embedding:
            h = conv(h).relu()
        predictions: list[Tensor] = []
        for _ in range(self.running):
            h = self.recursion(h).relu()
            predictions.append(u + self._reconstruct(h))
        stacked = torch.cat(predictions, dim=1)  # (B, running, s·h, s·w)
        with torch.autocast(y.device.type, enabled=False):
            combined = F.conv2d(stacked, self.ensemble[None, : self.running, None, None])
        if self.ensemble_bias is not None:
            combined = combined + self.ensemble_bias
        return [*predictions, combined]

    def _reconstruct(self, h: Tensor) -> Tensor:
        for conv in self.reconstruction:
            h = conv(h).relu()
        residual = self.last(h)
        return residual.relu() if self.output_relu else residual

    @torch.no_grad()
    def grow(self, recursions: int) -> None:
        """Run the first `recursions` only, all of equal weight.

        Those that join would stay without weight if they began without: their gradient is that of the noise in which
        they differ from those that are there.
        """
        self.ensemble[:recursions] = 1 / recursions
        self.ensemble[recursions:] = 0
        self.running = recursions

    def start_as_interpolation(self) -> None:
        """Start from bicubic interpolation: every residual is zero, and every layer sees what the first one does."""
        first, *embedding = self.embedding
        draw_pairs(cast(nn.Conv2d, first), norm=2.0)
        for conv in (*embedding, *self.reconstruction):
            draw_near_identity(cast(nn.Conv2d, conv), share=0.3)
        nn.init.zeros_(self.last.weight)
