"""Faithful super-resolution with the eight classic networks.

    import upres

    large = upres.upscale(picture, scale=2)             # ndarray in, ndarray out
    double = upres.load("espcn", scale=2)               # for repeated use
    upres.models()                                      # what there is
    upres.evaluate("espcn", "Set5", scale=2).psnr       # scored as the papers do; any callable too

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
    from collections.abc import Callable

    from numpy.typing import NDArray

    from upres.evaluation.protocol import ProtocolName
    from upres.evaluation.report import Evaluation
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
    "evaluate",
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


def evaluate(
    model: str | os.PathLike[str] | Callable[[NDArray[Any]], NDArray[Any]],
    data: str | os.PathLike[str],
    scale: int = 2,
    *,
    protocol: ProtocolName = "paper",
    verify: bool = False,
    speed: bool = False,
) -> Evaluation:
    """Score a model, or any function that enlarges arrays, on a test set, in float32.

    Args:
        model: what `upres evaluate` takes: a name, a file, a folder of finished pictures, `cmd:…`; or what `load`
            returns; or a callable, which gets `(h, w)` luma in [0, 1] under `paper`, RGB `(h, w, 3)` in [0, 1] under
            `lapsrn`, and `(h, w, 3)` uint8 under `selfexsr` and `rgb`, and returns the same, `scale` times as large.
        data: the folder of the test pictures.
        scale: whole factor to reduce and enlarge by.
        protocol: one of `paper`, `selfexsr`, `lapsrn`, `rgb`; see `upres.evaluation.protocol`.
        verify: also reduce the results again, for their consistency with what they were made from.
        speed: also time the model alone, in up to 20 more runs on the largest picture.

    Returns:
        The mean PSNR and SSIM, and those of each picture; `to_dataframe()` makes a pandas DataFrame of it.

    Raises:
        DataError: there are no test pictures, or some that are not of 8 bits.
        UsageError: a model, scale or protocol that there is not, or a result of another size, or not finite.
    """
    from pathlib import Path

    from upres.evaluation import others, report, testsets
    from upres.evaluation.protocol import PROTOCOLS

    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol is {protocol!r}; it must be one of {', '.join(PROTOCOLS)}.")
    if scale != int(scale) or scale < 1:
        raise UsageError(f"scale is {scale}; scores are of whole factors.")
    candidate = others.candidate(model, int(scale))
    return report.evaluate(
        candidate.enlarger,
        Path(data),
        int(scale),
        protocol,
        model=candidate.name,
        with_consistency=verify,
        with_speed=speed,
        parameters=candidate.parameters,
        warnings=testsets.check(Path(data)),
    )


def models() -> tuple[Record, ...]:
    """The records of all weights that come with upres: name, scale, parameters, PSNR and SSIM by test set."""
    from upres.weights import catalog

    return catalog.records()
