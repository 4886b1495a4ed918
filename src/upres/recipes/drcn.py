"""DRCN (Kim 2016, arXiv 1511.04491) on T91 and BSD200, 16 recursions.

`PAPER` is the paper's way: SGD at 1e-2, a tenth after 5 epochs without gain, the end below 1e-6; each recursion's
prediction is charged beside the final one, by a share α that falls to zero; 41×41 patches of T91, 40×40 here. An epoch
is taken as 1,100 steps. The gradient's norm is clipped to 0.1, of which the paper says nothing: without, the third step
diverges. `RECIPE` trains for ×2, ×3 and ×4 together with SOAP, and lets the recursion grow from 2 to 16: its weights
are shared, so what few recursions learn serves many.

Expected on Set5 (`paper` protocol): not measured yet; the paper has 37.63 / 33.82 / 31.53 dB for ×2 / ×3 / ×4.
Cost: about two hours on one CPU core with bfloat16:

    upres train drcn --data PICTURES
"""

from __future__ import annotations

from upres.training.recipe import Recipe

RECIPE = Recipe(
    network="drcn",
    scale=2,
    more_scales=(3, 4),
    growth=((0, 2), (800, 4), (1_800, 8), (2_500, 16)),
    steps=3_900,
    batch=2,
    patch=18,
    optimizer="soap",
    learning_rate=5e-4,
    bias_rate=0.05,
    last_layer="ensemble",
    last_layer_rate=4.0,
    warmup=200,
    loss="charbonnier",
    recursion_loss=0.5,
    recursion_loss_steps=3_200,
    clip=1.0,
    settle=200,
    rescale=(1.0, 0.8, 0.6),
    validate_every=3_900,
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
