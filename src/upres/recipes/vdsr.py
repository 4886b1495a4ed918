"""VDSR (Kim 2016, arXiv 1511.04587) on T91 and BSD200, one set of weights for ×2, ×3 and ×4.

`PAPER` is the paper's way: He's draw, SGD at 0.1 with momentum and weight decay, a tenth every 20 of 80 epochs,
gradients clipped to ±θ / rate, all scales together; the paper leaves θ open, and 0.01 explodes at first, 0.001 does
not. An epoch is taken as 6,800 steps: 435,000 patches, turned and at three scales, in batches of 64; the patches are
36×36 instead of 41×41, which no scale divides. `RECIPE` starts from bicubic interpolation, with layers that hand
on what the first one sees, and trains with SOAP, biases slowly, on Charbonnier's loss: after 400 steps of 8 patches at
×2 SOAP is 0.48 dB ahead of Adam on the held-out pictures, and after 600 that start 0.15 dB ahead of He's draw.

Expected on Set5 (`paper` protocol): 37.40 / 33.47 / 31.16 dB for ×2 / ×3 / ×4; the paper, after 80 epochs, has 37.53 /
33.66 / 31.35. The held-out PSNR at ×2 was 31.73, 31.86, 31.96, 32.02, 32.07, 32.11, 32.12 and 32.13 dB after each
thousand steps of 8 patches, and 32.14, 32.17, 32.19, 32.22, 32.23, 32.24 and 32.24 dB in a second cycle of 32 from
there. Cost: 25 and 50 minutes on one core with AMX:

    upres train vdsr --data PICTURES --out first
    upres train vdsr --data PICTURES --batch 32 --steps 6500 --init first/vdsr.safetensors
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="vdsr",
    scale=2,
    more_scales=(3, 4),
    steps=8_500,
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

PAPER = Recipe(
    network="vdsr",
    scale=2,
    more_scales=(3, 4),
    start="paper",
    steps=544_000,
    batch=64,
    patch=18,
    optimizer="sgd",
    weight_decay=1e-4,
    learning_rate=0.1,
    schedule="staged",
    warmup=0,
    drop_every=136_000,
    loss="half_squares",
    clip_by_rate=0.001,
    ema=0.0,
    precision="f32",
)
