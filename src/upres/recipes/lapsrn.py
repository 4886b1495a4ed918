"""LapSRN (Lai 2017, arXiv 1704.03915) on T91 and BSD200; ×3 is the ×4 network's output reduced.

`PAPER` is the paper's way, at ×4: SGD at 1e-5, halved every 50 epochs of 1,000 steps, on Charbonnier's loss summed over
128×128 patches and levels, pictures also at 0.5 to 1.0 of their size. Levels are averaged here, so the rate is twice
the paper's. `RECIPE` starts from bilinear interpolation, with layers that hand on what the first one sees, and trains
with SOAP.

Expected on Set5 (`paper` protocol): 37.58 / 33.86 / 31.57 dB for ×2 / ×3 / ×4, ×3 being ×4 reduced. The paper has
37.52 / 33.82 / 31.54. The held-out PSNR at ×2 was 32.26, 32.36, 32.39 and 32.39 dB after 2,000, 4,000, 6,000 and 6,500
steps; at ×4 27.50, 27.52 and 27.515 dB after 2,000, 4,000 and 5,000, and 27.524 after 880 of a second cycle, of 16
patches; at ×8 24.62, 24.62 and 24.61 after 2,000, 4,000 and 6,000. At ×8 Set5 has 26.07, the paper 26.14. Cost: 20 to
40 minutes for ×2 on one CPU core with bfloat16, 30 more for ×4 and an hour and a half without bfloat16 for its second
cycle, and an hour and a half for ×8. ×4 and ×8 take the levels that they share with the scale below, and few patches a
step; ×8 began from ×4's first cycle:

    upres train lapsrn --scale 2 --data PICTURES
    upres train lapsrn --scale 4 --steps 5000 --batch 8 --init lapsrn-x2 --data PICTURES --out first
    upres train lapsrn --scale 4 --steps 880 --batch 16 --learning-rate 1e-3 --init first/lapsrn-x4.safetensors \\
        --data PICTURES
    upres train lapsrn --scale 8 --steps 6000 --batch 2 --init first/lapsrn-x4.safetensors --data PICTURES
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="lapsrn",
    scale=2,
    steps=6_500,
    batch=16,
    patch=32,
    optimizer="soap",
    learning_rate=2e-3,
    warmup=200,
    clip=1.0,
    loss="charbonnier",
    settle=390,
    rescale=(1.0, 0.8, 0.6),
)

PAPER = Recipe(
    network="lapsrn",
    scale=4,
    start="paper",
    steps=300_000,
    batch=64,
    patch=32,
    rescale=(1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
    optimizer="sgd",
    weight_decay=1e-4,
    learning_rate=2e-5,
    schedule="staged",
    warmup=0,
    drop=0.5,
    drop_every=50_000,
    loss="charbonnier_sum",
    ema=0.0,
    precision="f32",
)
