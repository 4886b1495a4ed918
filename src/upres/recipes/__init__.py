"""Recipes by network: ours, which the shipped weights were made by, and the papers' own; those of variants by model."""

from __future__ import annotations

from upres.recipes import drcn, drrn, espcn, fsrcnn, lapsrn, red, srcnn, vdsr
from upres.training.recipe import Recipe

_MODULES = {
    "srcnn": srcnn,
    "fsrcnn": fsrcnn,
    "espcn": espcn,
    "vdsr": vdsr,
    "drcn": drcn,
    "red": red,
    "drrn": drrn,
    "lapsrn": lapsrn,
}

RECIPES: dict[str, Recipe] = {name: module.RECIPE for name, module in _MODULES.items()}
PAPER_RECIPES: dict[str, Recipe] = {name: module.PAPER for name, module in _MODULES.items()}
SMALL_RECIPES: dict[str, Recipe] = {
    recipe.model: recipe for recipe in (fsrcnn.SMALL, srcnn.SMALL, drrn.SMALL, drcn.NARROW)
}
