"""Distillation (Hinton 2015, arXiv 1503.02531): a network learns what a better one makes of the small pictures.

What the small picture does not tell of the large one is noise to whoever learns from it; a teacher's result lacks most
of that noise.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from upres.data.patches import Target
from upres.errors import UsageError
from upres.evaluation import provenance
from upres.files import make_folder, read_checked, remove_unfinished, write_checked
from upres.images import colour
from upres.inference import loading
from upres.inference.engines import TorchEngine
from upres.inference.upscaler import Reduced, Upscaler
from upres.training.recipe import Recipe
from upres.weights import catalog, store

log = logging.getLogger(__name__)

_RESULTS = ".taught"


def require(recipe: Recipe) -> None:
    """Check that a recipe's teacher can be had for each of its scales.

    Raises:
        UnknownModelError, ScaleError, WeightsError, UsageError: as of `find`.
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
        UsageError: an ONNX file, or `bicubic`.
    """
    path = Path(teacher)
    if path.suffix == ".onnx":
        raise UsageError(f"{teacher}: a teacher runs in PyTorch; give the .safetensors file.")
    if teacher == "bicubic":
        raise UsageError("bicubic is no network, so it cannot be a teacher; `upres models` lists those that can.")
    nearest = loading.nearest_scale(teacher, scale)
    return path if path.suffix == ".safetensors" else catalog.find(teacher, nearest).safetensors, nearest


def digest(recipe: Recipe) -> str | None:
    """What the weights that teach are known by, whatever their path; None where the recipe has no teacher."""
    if not recipe.teacher:
        return None
    content = hashlib.sha256()
    for scale in recipe.scales:
        content.update(find(recipe.teacher, scale)[0].read_bytes())
    return content.hexdigest()[:16]


def target_of(recipe: Recipe, scale: int, device: torch.device, out: Path) -> Target | None:
    """What is to be learned in place of a picture: its teacher's result, by the recipe's share, and the picture itself.

    A teacher that enlarges by more than `scale` has its result reduced; it runs on `device`, in float32. What it has
    made once is kept in a folder in `out`, so that a run which is stopped does not lose it, until `forget`. None where
    the recipe has no teacher.

    Raises:
        UnknownModelError, ScaleError, WeightsError, UsageError: as of `find`.
        OutputError: the folder cannot be made; from the target, a result cannot be kept there.
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
    results = out / _RESULTS
    make_folder(results)
    remove_unfinished(results)
    settings = f"{digest(recipe)} {scale} {share} {device.type} {provenance.commit()}".encode()

    def target(high: NDArray[np.uint8], low: NDArray[np.float32]) -> NDArray[np.uint8]:
        key = hashlib.sha256(settings)
        for plane in (high, low):
            key.update(np.ascontiguousarray(plane).data)
        kept = results / key.hexdigest()[:32]
        result = _read(kept, high.shape)
        if result is None:
            result = colour.to_uint8((1 - share) * high + share * 255.0 * enlarger.luma(low))
            write_checked(kept, result.tobytes())
        return result

    return target


def forget(recipe: Recipe, out: Path) -> None:
    """Remove what a recipe's teacher made for a run."""
    if recipe.teacher:
        shutil.rmtree(out / _RESULTS, ignore_errors=True)


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """A result that was kept; None where there is none, or a damaged one."""
    try:
        content = read_checked(path)
    except OSError:
        return None
    return None if content is None else np.frombuffer(content, np.uint8).reshape(shape)
