"""FSRCNN(56, 12, 4) (Dong 2016, arXiv 1608.00367) on T91 and BSD200.

`PAPER` is the paper's first stage: SGD at 1e-3, the transposed convolution at a tenth of it, squared error, pictures
also at 0.9 to 0.6 of their size. The paper then adds General-100 at half the rate, and for another scale trains the
transposed convolution alone, from the trunk of the first (`--init`). `RECIPE` adds the network's output to the bicubic
picture and trains with SOAP on Charbonnier's loss, each convolution as a product of two matrices.

Expected on Set5 (`paper` protocol): 37.23 / 33.21 / 30.97 dB for ×2 / ×3 / ×4; the paper has 37.00 / 33.16 / 30.72. The
held-out PSNR at ×3 was 28.85, 28.91, 28.93, 28.95, 28.96 and 28.96 dB after 2, 4, 6, 8, 10 and 20 thousand steps;
without products it was 28.93. ×2 and ×4 start from its trunk, and had 32.02, 32.06 and 32.08, and 27.35, 27.37 and
27.36 dB after 4, 8 and 12 thousand; without products, from the start, 32.07 and 27.32. There the rate 1e-2 was better
than 3e-3 by 0.006 dB after 2,000 steps. Cost: 40 minutes on one CPU core in float32 for ×3, 25 for each of the others.
On processors with bfloat16, `--precision f32` computes the same:

    upres train fsrcnn --scale 3 --data PICTURES --out third
    upres train fsrcnn --scale 4 --steps 12000 --learning-rate 1e-2 --init third/fsrcnn-x3.safetensors --data PICTURES
    upres train fsrcnn --scale 2 --steps 12000 --learning-rate 1e-2 --init third/fsrcnn-x3.safetensors --data PICTURES

`SMALL` is the paper's FSRCNN-s, FSRCNN(32, 5, 1), in 20,000 steps of bfloat16 without products: `upres train fsrcnn-s`.
It has 36.62 / 32.50 / 30.26 dB on Set5 for ×2 / ×3 / ×4, and 31.70 / 28.67 / 26.98 dB on the held-out pictures.
"""

from __future__ import annotations

from dataclasses import replace

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="fsrcnn",
    scale=2,
    arguments={"residual": True},
    steps=20_000,
    batch=16,
    patch=32,
    optimizer="soap",
    learning_rate=3e-3,
    expansion=4,
    loss="charbonnier",
    settle=1_000,
    rescale=(1.0, 0.8, 0.6),
)

SMALL = replace(RECIPE, variant="s", arguments={"d": 32, "s": 5, "m": 1, "residual": True}, expansion=0)

PAPER = Recipe(
    network="fsrcnn",
    scale=3,
    start="paper",
    steps=1_000_000,
    batch=128,
    patch=7,
    rescale=(1.0, 0.9, 0.8, 0.7, 0.6),
    optimizer="sgd",
    learning_rate=1e-3,
    schedule="staged",
    warmup=0,
    drop_every=1_000_000,
    last_layer="up",
    last_layer_rate=0.1,
    loss="half_squares",
    ema=0.0,
    precision="f32",
)
