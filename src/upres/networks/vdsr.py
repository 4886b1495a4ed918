"""VDSR: Accurate Image Super-Resolution Using Very Deep Convolutional Networks.

Kim et al., CVPR 2016, arXiv 1511.04587. Twenty 3×3 convolutions predict what bicubic interpolation lacks; one set of
weights serves every scale.

    f(y) = u + W₂₀ * relu(W₁₉ * … relu(W₁ * u)),   u = bicubic(y)

Deviations: none in the network.

Notes' form: `depth=22, centred_residual=True`. Its residual joins in the loss; here it joins in `forward`.
"""

from __future__ import annotations

from torch import Tensor, nn

from upres.networks.layers import BicubicEnlarge, draw_near_identity, draw_pairs


class VDSR(nn.Module):
    """`depth` convolutions 3×3-64 with ReLU, the last 3×3-1, added to the bicubic-enlarged picture.

    Args:
        scale: how many times larger the output is, at least 1; the weights do not depend on it.
        depth: convolutions, at least 2.
        channels: features of the hidden layers.
        centred_residual: subtract the residual's mean over each picture, as the notes do. Every output then depends
            on every input, so such a network cannot be run in tiles: its `halo` is None.
    """

    def __init__(self, *, scale: int, depth: int = 20, channels: int = 64, centred_residual: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.centred_residual = centred_residual
        self.enlarge = BicubicEnlarge(scale)
        convs = [nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=1) for i in range(depth - 1)]
        self.body = nn.Sequential(*(layer for conv in convs for layer in (conv, nn.ReLU())))
        self.last = nn.Conv2d(channels, 1, 3, padding=1)
        self.halo = None if centred_residual else 2 + -(-depth // scale)
        for conv in (*convs, self.last):
            nn.init.kaiming_normal_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        u = self.enlarge(y)
        residual = self.last(self.body(u)).to(u.dtype)
        if self.centred_residual:
            residual = residual - residual.mean(dim=(-2, -1), keepdim=True)
        return u + residual

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    def start_as_interpolation(self) -> None:
        """Start from bicubic interpolation: the residual is zero, and every layer sees what the first one does.

        Plain draws leave a third of the channels off all over a picture, of which most stay off.
        """
        first, *hidden = [layer for layer in self.body.children() if isinstance(layer, nn.Conv2d)]
        draw_pairs(first, norm=2.0)
        for conv in hidden:
            draw_near_identity(conv, share=0.3)
        nn.init.zeros_(self.last.weight)
