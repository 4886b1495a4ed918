"""RED30 (Mao 2016, arXiv 1606.08921) on T91 and BSD200, one set of weights for ×2, ×3 and ×4.

`PAPER` is the paper's way: Adam at a constant 1e-4, squared error, 50×50 patches; it trains on BSD300, and its
published numbers were probably made with 128 features, not 64. `RECIPE` starts from bicubic interpolation, with layers
that hand on what the first one sees, and trains with SOAP, biases slowly, on Charbonnier's loss.

Expected on Set5 (`paper` protocol): 37.34 / 33.40 / 31.10 dB for ×2 / ×3 / ×4; the paper has 37.66 / 33.82 / 31.51.
The held-out PSNR at ×2 was 31.94, 32.04, 32.09, 32.13, 32.16, 32.18, 32.19 and 32.19 dB after each thousand steps.
Cost: an hour and a half on one core with AMX, for 16 patches a step:

    upres train red --data PICTURES
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="red",
    scale=2,
    more_scales=(3, 4),
    steps=8_000,
    batch=16,
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

PAPER = Recipe(
    network="red",
    scale=2,
    start="paper",
    steps=500_000,
    batch=64,
    patch=25,
    learning_rate=1e-4,
    schedule="staged",
    warmup=0,
    drop_every=500_000,
    loss="mse",
    ema=0.0,
    precision="f32",
)
