"""Distillation (Hinton 2015, arXiv 1503.02531): a network learns what a better one makes of the small pictures.

What the small picture does not tell of the large one is noise to whoever learns from it; a teacher's result lacks most
of that noise, so a step of few patches is worth one of many. The network cannot pass its teacher by much, though.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from upres.data.patches import Target
from upres.errors import ScaleError
from upres.evaluation.others import Reduced
from upres.images import colour
from upres.inference import loading
from upres.inference.engines import TorchEngine
from upres.inference.upscaler import Upscaler
from upres.training.recipe import Recipe
from upres.weights import catalog, store

log = logging.getLogger(__name__)


def require(recipe: Recipe) -> None:
    """Check that a recipe's teacher can be had for each of its scales.

    Raises:
        UnknownModelError, ScaleError, WeightsError: as of `find`.
    """
    for scale in recipe.scales if recipe.teacher else ():
        find(recipe.teacher, scale)


def find(teacher: str, scale: int) -> tuple[Path, int]:
    """The weights of a teacher, and the least of their scales that reaches the one that is taught.

    Args:
        teacher: a name in the catalog, or a safetensors file.
        scale: that is taught.

    Raises:
        UnknownModelError: no such name.
        ScaleError: all its scales are smaller.
        WeightsError: the file is missing or damaged.
    """
    own = loading.scales(teacher)
    reaching = [other for other in own if other >= scale]
    if not reaching:
        raise ScaleError(teacher, scale, own)
    nearest = min(reaching)
    is_file = Path(teacher).suffix == ".safetensors"
    return Path(teacher) if is_file else catalog.find(teacher, nearest).safetensors, nearest


def target_of(recipe: Recipe, scale: int, device: torch.device) -> Target | None:
    """What is to be learned in place of a picture: its teacher's result, by the recipe's share, and the picture itself.

    A teacher that enlarges by more than `scale` has its result reduced; it runs on `device`, in float32. None where the
    recipe has no teacher.

    Raises:
        UnknownModelError, ScaleError, WeightsError: as of `find`.
    """
    if not recipe.teacher:
        return None
    path, own = find(recipe.teacher, scale)
    log.info("first %s enlarges all pictures ×%d", recipe.teacher, scale)
    network, _ = store.load(path, own)
    engine = TorchEngine(network.to(device))
    upscaler = Upscaler(lambda precision: engine, name=recipe.teacher, scale=own, halo=network.halo)
    share = recipe.teacher_share
    enlarger = upscaler if own == scale else Reduced(upscaler, scale)

    def target(high: NDArray[np.uint8], low: NDArray[np.float32]) -> NDArray[np.uint8]:
        return colour.to_uint8((1 - share) * high + share * 255.0 * enlarger.luma(low))

    return target
