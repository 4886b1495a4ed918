"""ESPCN (Shi 2016, arXiv 1609.05158) on T91 and BSD200.

`PAPER` is the paper's way: tanh from PyTorch's own draw, squared error, SGD, a rate that falls from 1e-2 to 1e-4 on a
plateau, the last layer ten times slower; its optimizer is not stated beyond that, and it trains on ImageNet. `RECIPE`
adds the network's output to the bicubic picture and trains with SOAP on Charbonnier's loss. With Adam the network is
stuck early: many of its channels hardly move.

Expected on Set5 (`paper` protocol): 36.90 / 33.00 / 30.74 dB for ×2 / ×3 / ×4; the paper has – / 33.13 / 30.90. At ×3
a second cycle (`--steps 14000 --batch 64 --init espcn-x3`) adds 0.02 dB: held out 28.82, 28.83, 28.83 and 28.83 after
4, 8, 12 and 14 thousand steps, from 28.81.
Cost: about 10 minutes on one CPU core with bfloat16, three times as long with three times the steps, which bring
0.09 dB at ×3 and 0.06 dB at ×4. The shipped weights were made by

    upres train espcn --scale 2 --data PICTURES
    upres train espcn --scale 3 --steps 72000 --data PICTURES
    upres train espcn --scale 4 --steps 72000 --data PICTURES
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="espcn",
    scale=2,
    arguments={"residual": True},
    steps=24_000,
    batch=16,
    patch=32,
    optimizer="soap",
    learning_rate=3e-3,
    expansion=4,
    loss="charbonnier",
    settle=1_000,
    rescale=(1.0, 0.8, 0.6),
)

PAPER = Recipe(
    network="espcn",
    scale=3,
    start="paper",
    steps=1_000_000,
    batch=16,
    patch=17,
    validate_every=1_000,
    optimizer="sgd",
    learning_rate=1e-2,
    schedule="plateau",
    warmup=0,
    patience=25,
    least_rate=1e-4,
    last_layer="conv3",
    last_layer_rate=0.1,
    loss="mse",
    ema=0.0,
    precision="f32",
)
