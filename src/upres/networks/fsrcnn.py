"""FSRCNN: Accelerating the Super-Resolution Convolutional Neural Network.

Dong et al., ECCV 2016, arXiv 1608.00367. Feature extraction, shrinking, m mappings and expanding run at low
resolution on few channels; one transposed convolution enlarges at the end.

    f(y) = W_up *ᵀ P(W_expand * P(W_map,m * … P(W_shrink * P(W_feature * y))))      P: PReLU, one slope a channel

Deviations: the output is exactly s times the input (the notes' version is a pixel short and crops the target). Luma
is shifted by ½ on the way in and back on the way out: what the biases could learn, but zero padding then means
mid-gray and bfloat16 keeps one more bit.

Notes' form: `mapping_activations=False` leaves out the activations between the mapping layers, and
`shared_slope=True` uses one PReLU slope a layer. `residual=True` adds the output to the bicubic-enlarged picture, at
the same parameter count: bfloat16 rounds the residual alone then.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from upres.networks.layers import (
    BicubicEnlarge,
    bilinear_transposed,
    exact_transposed_conv,
    transposed_conv_to_one_channel,
    transposed_halo,
)


class FSRCNN(nn.Module):
    """5×5-d, 1×1-s, m × 3×3-s, 1×1-d, transposed 9×9-1, with a PReLU after each but the last.

    Args:
        scale: how many times larger the output is, 1 to 9.
        d: features of the first and the expanding layer; 56 in FSRCNN, 32 in FSRCNN-s.
        s: features of the shrunk layers; 12 and 5.
        m: mapping layers; 4 and 1.
        mapping_activations: a PReLU after each mapping layer, else only after the last.
        shared_slope: one PReLU slope a layer instead of one a channel.
        residual: predict what bicubic interpolation lacks instead of the picture itself.
    """

    def __init__(
        self,
        *,
        scale: int,
        d: int = 56,
        s: int = 12,
        m: int = 4,
        mapping_activations: bool = True,
        shared_slope: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()

        def prelu(channels: int) -> nn.PReLU:
            return nn.PReLU(1 if shared_slope else channels)

        self.scale = scale
        self.feature = nn.Sequential(nn.Conv2d(1, d, 5, padding=2), prelu(d))
        self.shrink = nn.Sequential(nn.Conv2d(d, s, 1), prelu(s))
        mapping: list[nn.Module] = []
        for i in range(m):
            mapping.append(nn.Conv2d(s, s, 3, padding=1))
            if mapping_activations or i == m - 1:
                mapping.append(prelu(s))
        self.mapping = nn.Sequential(*mapping)
        self.expand = nn.Sequential(nn.Conv2d(s, d, 1), prelu(d))
        self.up = exact_transposed_conv(d, 1, 9, stride=scale)
        self.enlarge = BicubicEnlarge(scale) if residual else None
        self.halo = 2 + m + transposed_halo(self.up)
        for conv in (c for c in self.modules() if isinstance(c, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, a=0.25)
            nn.init.zeros_(conv.bias) if conv.bias is not None else None
        nn.init.normal_(self.up.weight, std=0.001)
        nn.init.zeros_(self.up.bias) if self.up.bias is not None else None

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        x = self.shrink(self.feature(y - 0.5))
        x = self.expand(self.mapping(x))
        large = transposed_conv_to_one_channel(self.up, x, training=self.training)
        return large.to(y.dtype) + (self.enlarge(y) if self.enlarge else 0.5)

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    @torch.no_grad()
    def start_as_interpolation(self) -> None:
        """Let channels 0 and 1 carry the picture and its negative to bilinear weights.

        A PReLU of slope a bends both, but P(x) − P(−x) = (1 + a)·x, so each layer can undo the one before it.
        """
        if self.enlarge:
            nn.init.zeros_(self.up.weight)
            return
        undo = 1.0
        layers = [*self.feature, *self.shrink, *self.mapping, *self.expand]
        for layer, following in zip(layers, [*layers[1:], self.up], strict=True):
            if not isinstance(layer, nn.Conv2d):
                continue
            middle = layer.kernel_size[0] // 2
            layer.weight[:2] = 0
            layer.weight[0, 0, middle, middle] = undo
            if layer.in_channels > 1:
                layer.weight[0, 1, middle, middle] = -undo
            layer.weight[1] = -layer.weight[0]
            undo = 1 / (1 + float(following.weight[0])) if isinstance(following, nn.PReLU) else 0.5
        kernel = undo * bilinear_transposed(9, stride=self.scale)
        self.up.weight[0, 0] = kernel
        self.up.weight[1, 0] = -kernel
