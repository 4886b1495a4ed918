"""ESPCN (Shi 2016, arXiv 1609.05158) on T91 and BSD200.

`PAPER` is the paper's way: tanh from PyTorch's own draw, squared error, SGD, a rate that falls from 1e-2 to 1e-4 on a
plateau, the last layer ten times slower; its optimizer is not stated beyond that, and it trains on ImageNet. `RECIPE`
adds the network's output to the bicubic picture and trains with SOAP on Charbonnier's loss, each convolution as a
product of two matrices. With Adam the network is stuck early: many of its channels hardly move.

Expected on Set5 (`paper` protocol): 37.11 / 33.13 / 30.82 dB for ×2 / ×3 / ×4; the paper has – / 33.13 / 30.90. The
held-out PSNR at ×3 was 28.78, 28.83, 28.86, 28.87, 28.88, 28.89 and 28.89 dB after 2, 4, 8, 12, 16, 20 and 24 thousand
steps; without products it was 28.81 after 72 thousand. The rate 1e-2 is better in short runs (1,500 steps: by 0.06
dB); in one of 24 thousand it was not tried. Cost: 40 minutes on one CPU core in float32 for ×3, half as much for each
of the others, which start from its first two layers. On processors with bfloat16, `--precision f32` computes the same:

    upres train espcn --scale 3 --data PICTURES --out third
    upres train espcn --scale 4 --steps 12000 --learning-rate 1e-2 --init third/espcn-x3.safetensors --data PICTURES
    upres train espcn --scale 2 --steps 12000 --learning-rate 1e-2 --init third/espcn-x3.safetensors --data PICTURES
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
