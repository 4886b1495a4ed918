"""Faithful super-resolution with the eight classic networks.

    import upres

    large = upres.upscale(picture, scale=2)             # ndarray in, ndarray out
    double = upres.load("espcn", scale=2)               # for repeated use
    upres.models()                                      # what there is

Importing this loads neither PyTorch nor OpenVINO; each is loaded by the call that needs it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from upres.errors import (
    DataError,
    MissingExtraError,
    OutputError,
    PictureError,
    ScaleError,
    UnknownModelError,
    UpresError,
    UsageError,
    WeightsError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from upres.inference.engines import EngineName
    from upres.inference.runtime import Precision
    from upres.inference.upscaler import Bicubic, Upscaler
    from upres.weights.catalog import Record

__version__ = "0.1.0"
__all__ = [
    "DEFAULT_MODEL",
    "DataError",
    "MissingExtraError",
    "OutputError",
    "PictureError",
    "ScaleError",
    "UnknownModelError",
    "UpresError",
    "UsageError",
    "WeightsError",
    "load",
    "models",
    "upscale",
]

DEFAULT_MODEL = "fsrcnn"


def upscale(picture: NDArray[Any], scale: int = 2, model: str | os.PathLike[str] = DEFAULT_MODEL) -> NDArray[Any]:
    """Enlarge one picture; `load` is the way for several.

    Args:
        picture: uint8, uint16, or float in [0, 1]; `(h, w)` gray, or `(h, w, c)` with gray, gray + alpha, RGB or RGBA.
        scale: whole factor; one that the model has.
        model: `bicubic`, a name that `upres models` lists, or the path of an `.onnx` or `.safetensors` file.

    Returns:
        The same dtype and channels, `scale` times the height and width.

    Raises:
        UsageError: a picture, model or scale that is not one of these.
    """
    return load(model, scale)(picture)


def load(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    scale: int = 2,
    *,
    engine: EngineName = "openvino",
    precision: Precision | Literal["auto"] = "auto",
    tile: int = 512,
) -> Upscaler | Bicubic:
    """Make a model ready for repeated use; see `upres.inference.loading.load`.

    The result is called with pictures as `upscale` takes them; its `luma(y)` runs the network alone on float luma
    `(h, w)` in [0, 1].
    """
    from upres.inference import loading

    return loading.load(model, scale, engine=engine, precision=precision, tile=tile)


def models() -> tuple[Record, ...]:
    """The records of all weights that come with upres: name, scale, parameters, PSNR and SSIM by test set."""
    from upres.weights import catalog

    return catalog.records()
