"""SRCNN 9-5-5 (Dong 2014 and 2016, arXiv 1501.00092) on T91 and BSD200, one set of weights for ×2, ×3 and ×4.

`PAPER` is the paper's way: Gaussian weights of σ 0.001, SGD at 1e-4 and 1e-5 for the last layer, squared error, 33×33
patches of the enlarged picture, one scale; the published tables are of a run on ImageNet. `RECIPE` adds the network's
output to the bicubic picture, starts from filters in pairs of opposite sign that do not see brightness, and trains all
scales at once with SOAP on Charbonnier's loss.

Expected on Set5 (`paper` protocol): 36.69 / 32.69 / 30.45 dB for ×2 / ×3 / ×4; the paper has
36.66 / 32.75 / 30.48, one network a scale.
The held-out PSNR at ×2 was 31.60, 31.71, 31.76, 31.79, 31.83, 31.83 and 31.84 dB after 2, 4, 6, 8, 14, 16 and 20
thousand steps. Cost: 40 minutes on one core with AMX, for 64 patches a step:

    upres train srcnn --data PICTURES

`SMALL` is the first paper's SRCNN 9-1-5, a seventh of the weights, the same way: `upres train srcnn-915`. It has
36.18 / 32.38 / 30.21 dB on Set5 for ×2 / ×3 / ×4. The held-out PSNR at ×2 was 31.27, 31.35, 31.46, 31.51, 31.53 and
31.56 dB after 2, 4, 6, 8, 10 and 18 thousand steps.
"""

from __future__ import annotations

from dataclasses import replace

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="srcnn",
    scale=2,
    more_scales=(3, 4),
    arguments={"residual": True},
    steps=20_000,
    batch=64,
    patch=24,
    optimizer="soap",
    learning_rate=3e-3,
    bias_rate=0.05,
    loss="charbonnier",
    settle=300,
    rescale=(1.0, 0.8, 0.6),
)

SMALL = replace(RECIPE, variant="915", arguments={"kernel_sizes": (9, 1, 5), "residual": True})

PAPER = Recipe(
    network="srcnn",
    scale=3,
    start="paper",
    steps=1_000_000,
    batch=128,
    patch=11,
    optimizer="sgd",
    learning_rate=1e-4,
    schedule="staged",
    warmup=0,
    drop_every=1_000_000,
    last_layer="conv3",
    last_layer_rate=0.1,
    loss="half_squares",
    ema=0.0,
    precision="f32",
)
