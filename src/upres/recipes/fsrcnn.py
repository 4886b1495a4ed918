"""FSRCNN(56, 12, 4) (Dong 2016, arXiv 1608.00367) on T91 and BSD200.

The paper trains on T91 and General-100 with SGD, then fine-tunes the last layer alone for further scales. Here: Adam
with a half cosine, L1, a running mean of the weights, and a start from interpolation instead of from noise.

Expected on Set5 (`paper` protocol): 37.02 / 32.92 / 30.67 dB for ×2 / ×3 / ×4; the paper has 37.00 / 33.16 / 30.72.
Cost: about 7 minutes on two CPU cores with bfloat16. The shipped weights were made by

    upres train fsrcnn --scale 2 --data PICTURES
    upres train fsrcnn --scale 3 --data PICTURES --steps 11000
    upres train fsrcnn --scale 4 --data PICTURES --steps 11000
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="fsrcnn",
    scale=2,
    arguments={"residual": True},
    steps=16_000,
    batch=16,
    patch=32,
    learning_rate=2e-3,
    loss="l1",
    settle=1_000,
    rescale=(1.0, 0.8, 0.6),
)
