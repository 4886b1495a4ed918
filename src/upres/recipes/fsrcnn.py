"""FSRCNN(56, 12, 4) (Dong 2016, arXiv 1608.00367) on T91 and BSD200.

`PAPER` is the paper's first stage: SGD at 1e-3, the transposed convolution at a tenth of it, squared error, pictures
also at 0.9 to 0.6 of their size. The paper then adds General-100 at half the rate, and for another scale trains the
transposed convolution alone, from the trunk of the first (`--init`). `RECIPE` adds the network's output to the bicubic
picture and trains with SOAP on Charbonnier's loss.

Expected on Set5 (`paper` protocol): 37.18 / 33.19 / 30.84 dB for ×2 / ×3 / ×4; the paper has 37.00 / 33.16 / 30.72.
Cost: about 13 minutes on one CPU core with bfloat16. The shipped weights were made by

    upres train fsrcnn --scale 2 --data PICTURES
    upres train fsrcnn --scale 3 --data PICTURES
    upres train fsrcnn --scale 4 --data PICTURES

`SMALL` is the paper's FSRCNN-s, FSRCNN(32, 5, 1), the same way: `upres train fsrcnn-s`. It has 36.62 / 32.50 / 30.26
dB on Set5 for ×2 / ×3 / ×4, and 31.70 / 28.67 / 26.98 dB on the held-out pictures after 20,000 steps.
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
