"""The shipped recipes by network name."""

from __future__ import annotations

from upres.recipes import espcn, fsrcnn
from upres.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    "espcn": espcn.RECIPE,
    "fsrcnn": fsrcnn.RECIPE,
}
