"""DRRN B1U9 (Tai 2017, CVPR; not on arXiv) on T91 and BSD200, one set of weights for ×2, ×3 and ×4.

`PAPER` is the paper's way, for B1U25: SGD at 0.1 with momentum and weight decay, halved every 10 epochs, gradients
clipped to ±0.01 / rate, all scales together, with batch norm. An epoch is taken as 13,300 steps: 1.7 million patches,
turned and at three scales, in batches of 128; the patches are 36×36 instead of 31×31, which no scale divides. `RECIPE`
leaves out batch norm, as public versions that reach the paper do, trains with SOAP, and lets the units grow from 2 to
9: their weights are shared, so what few learn serves many. They grow early: grown from 4 to 9 when the rate had fallen
to a sixth, it lost 0.23 dB that the remaining 1,500 steps did not bring back.

Expected on Set5 (`paper` protocol): 37.09 / 33.14 / 30.83 dB for ×2 / ×3 / ×4; the paper has 37.74 / 34.03 / 31.68.
The held-out PSNR at ×2 was 31.64, 31.80, 31.83, 31.91, 31.98, 32.01 and 32.02 dB after each thousand steps.
Cost: 50 minutes on one core with AMX:

    upres train drrn --data PICTURES

`SMALL` is B1U5 with 32 features, a fifteenth of the weights: `upres train drrn-s`.
"""

from __future__ import annotations

from dataclasses import replace

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="drrn",
    scale=2,
    more_scales=(3, 4),
    arguments={"units": 9, "batch_norm": False},
    growth=((0, 2), (1_000, 4), (2_000, 9)),
    steps=7_000,
    batch=8,
    patch=24,
    optimizer="soap",
    learning_rate=2e-3,
    bias_rate=0.05,
    warmup=200,
    clip=1.0,
    loss="charbonnier",
    settle=300,
    rescale=(1.0, 0.8, 0.6),
    validate_every=1_000,
)

SMALL = replace(
    RECIPE,
    variant="s",
    arguments={"units": 5, "channels": 32, "batch_norm": False},
    growth=((0, 2), (1_000, 5)),
    steps=12_000,
    batch=8,
    learning_rate=2e-3,
)

PAPER = Recipe(
    network="drrn",
    scale=2,
    more_scales=(3, 4),
    start="paper",
    steps=665_000,
    batch=128,
    patch=18,
    optimizer="sgd",
    weight_decay=1e-4,
    learning_rate=0.1,
    schedule="staged",
    warmup=0,
    drop=0.5,
    drop_every=133_000,
    loss="half_squares",
    clip_by_rate=0.01,
    ema=0.0,
    precision="f32",
)
