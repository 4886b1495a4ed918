"""DRCN (Kim 2016, arXiv 1511.04491) on T91 and BSD200, 16 recursions.

`PAPER` is the paper's way: SGD at 1e-2, a tenth after 5 epochs without gain, the end below 1e-6; each recursion's
prediction is charged beside the final one, by a share α that falls to zero; 41×41 patches of T91, 40×40 here. An epoch
is taken as 1,100 steps. The gradient's norm is clipped to 0.1, of which the paper says nothing: without, the third step
diverges. `RECIPE` trains for ×2, ×3 and ×4 together with SOAP. With 256 channels a step costs 16 times one of 64, so it
starts from `NARROW`, which has 64 and whose recursion grows from 2 to 16: the weights are shared, so what few
recursions learn serves many. The wide network computes what the narrow one did at first (`upres.networks.widening`).

Expected on Set5 (`paper` protocol): 37.08 / 33.16 / 30.87 dB for ×2 / ×3 / ×4 for `NARROW`, 37.05 / 33.15 / 30.88 for
`RECIPE`. The paper has 37.63 / 33.82 / 31.53. The narrow one's held-out PSNR at ×2 was 31.41, 31.72, 31.82, 31.88,
31.89 and 31.90 dB after each thousand steps, and 31.98, 32.04 and 32.07 after each of a second cycle, of 32 patches
a step.
The wide one's is 32.04 after 430 steps of 8 patches, so it has not yet made up for what the first of them cost, and
wants far more pixels a step: after 2,500 steps of 2 patches it was 31.88, half way through 1,000 of 16, 32.04. Cost: 20
minutes of a core with AMX for the narrow one's first cycle, an hour and a quarter for the second, an hour of two cores
without bfloat16 for the wide one:

    upres train drcn-64 --data PICTURES --out first
    upres train drcn-64 --data PICTURES --batch 32 --steps 3000 --init first/drcn-64.safetensors
    upres train drcn --data PICTURES --batch 8 --steps 430 --learning-rate 2e-4 --init drcn-64
"""

from __future__ import annotations

from dataclasses import replace

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="drcn",
    scale=2,
    more_scales=(3, 4),
    steps=1_000,
    batch=16,
    patch=18,
    optimizer="soap",
    learning_rate=5e-4,
    bias_rate=0.05,
    last_layer="ensemble",
    last_layer_rate=4.0,
    warmup=100,
    loss="charbonnier",
    recursion_loss=0.5,
    recursion_loss_steps=500,
    clip=1.0,
    settle=100,
    rescale=(1.0, 0.8, 0.6),
    validate_every=500,
)

NARROW = replace(
    RECIPE,
    variant="64",
    arguments={"channels": 64},
    growth=((0, 2), (1_000, 4), (2_500, 8), (4_000, 16)),
    steps=6_000,
    batch=8,
    patch=24,
    learning_rate=1e-3,
    warmup=200,
    recursion_loss_steps=5_000,
    settle=300,
    validate_every=1_000,
)

PAPER = Recipe(
    network="drcn",
    scale=2,
    start="paper",
    steps=1_000_000,
    batch=64,
    patch=20,
    validate_every=1_100,
    optimizer="sgd",
    weight_decay=1e-4,
    learning_rate=1e-2,
    schedule="plateau",
    warmup=0,
    patience=5,
    least_rate=1e-6,
    loss="mse",
    recursion_loss=1.0,
    recursion_loss_steps=100_000,
    clip=0.1,
    ema=0.0,
    precision="f32",
)
