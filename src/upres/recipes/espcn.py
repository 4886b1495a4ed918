"""ESPCN (Shi 2016, arXiv 1609.05158) on T91 and BSD200.

The paper trains on ImageNet with tanh, mean squared error and a rate that falls on a plateau. Here: Adam with a half
cosine, L1, a running mean of the weights, and a start from interpolation instead of from noise.

Expected on Set5 (`paper` protocol): 36.61 / 32.56 / 30.30 dB for ×2 / ×3 / ×4; the paper has – / 33.13 / 30.90.
Cost: about 7 minutes on two CPU cores with bfloat16. The shipped weights were made by

    upres train espcn --scale 2 --data PICTURES
    upres train espcn --scale 3 --data PICTURES
    upres train espcn --scale 4 --data PICTURES --steps 16000
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="espcn",
    scale=2,
    arguments={"residual": True},
    steps=30_000,
    batch=16,
    patch=32,
    learning_rate=5e-3,
    loss="l1",
    settle=1_000,
    rescale=(1.0, 0.8, 0.6),
)
