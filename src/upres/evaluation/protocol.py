"""How a super-resolution result is scored: four protocols, each the one that some published table was made with.

| protocol | low-resolution picture | compared | Set5 ×2 bicubic |
|---|---|---|---|
| `paper` | 8-bit luma reduced in double, not rounded | luma, rounded | 33.66 dB |
| `selfexsr` | RGB file of 8 bits | RGB result of 8 bits → luma, rounded | 33.64 dB |
| `lapsrn` | RGB in double | RGB result of 8 bits → luma, not rounded | 33.69 dB |
| `rgb` | RGB file of 8 bits | RGB result of 8 bits, all three channels | 31.79 dB |

`paper` is that of the SRCNN, VDSR, DRCN, DRRN and LapSRN papers; `selfexsr` that of Huang 2015, as in the tables of
github.com/jbhuang0604/SelfExSR. All crop to a multiple of the scale, shave `scale` pixels a side, and use peak 255.
A file with one channel is scored on its raw values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from upres.errors import DataError, UsageError
from upres.evaluation import metrics
from upres.images import colour
from upres.images.resize import Edges, imresize

ProtocolName = Literal["paper", "selfexsr", "lapsrn", "rgb"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)

# From 8-bit file to 8-bit file, the reference files were made with edges clamped.
EDGES: dict[ProtocolName, Edges] = {"paper": "mirror", "lapsrn": "mirror", "selfexsr": "clamp", "rgb": "clamp"}


class Enlarger(Protocol):
    """What can be scored: anything that enlarges luma, and whole pictures, by a fixed scale."""

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """`(h, w)` luma in [0, 1] → `(s·h, s·w)`, not clipped."""
        ...

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """`(h, w)` or `(h, w, 3)`: uint8 → uint8, float in [0, 1] → float."""
        ...


@dataclass(frozen=True)
class Score:
    """One picture's result: PSNR in dB; SSIM, and consistency in dB, where they were asked for."""

    image: str
    psnr: float
    ssim: float | None
    consistency: float | None = None


class Enlarged(NamedTuple):
    """What a protocol compares, on 0–255 and not shaved: `(h, w)` luma, or `(h, w, 3)` under `rgb`.

    Attributes:
        result: the reduced picture, brought back.
        truth: the picture, cropped to a multiple of the scale.
        low: what the result was made from, in the same colour form.
    """

    result: NDArray[Any]
    truth: NDArray[Any]
    low: NDArray[Any]


def _cropped(picture: NDArray[Any], scale: int) -> NDArray[Any]:
    height, width = (side - side % scale for side in picture.shape[:2])
    if 0 in (height, width):
        raise UsageError(f"{picture.shape[1]}×{picture.shape[0]} pixels are fewer than the scale {scale}.")
    return picture[:height, :width]


def reduced(picture: NDArray[np.uint8], scale: int, protocol: ProtocolName) -> NDArray[Any]:
    """What a protocol gives to the model: luma in [0, 1] under `paper`, RGB in [0, 1] under `lapsrn`, else uint8.

    `picture` is `(h, w)` or `(h, w, 3)`, uint8.
    """
    truth = _cropped(picture, scale)
    match protocol:
        case "paper":
            return imresize(colour.to_uint8(colour.luma(truth)) / 255.0, 1 / scale)
        case "lapsrn":
            return imresize(truth / 255.0, 1 / scale)
        case "selfexsr" | "rgb":
            return imresize(truth, 1 / scale, edges=EDGES[protocol])


def enlarge(enlarger: Enlarger, picture: NDArray[np.uint8], scale: int, protocol: ProtocolName) -> Enlarged:
    """Reduce a picture, let `enlarger` bring it back, and return what is compared.

    `picture` is `(h, w)` or `(h, w, 3)`, uint8.
    """
    truth, low = _cropped(picture, scale), reduced(picture, scale, protocol)
    match protocol:
        case "paper":
            result = colour.to_uint8(_sound(enlarger.luma(low)).astype(np.float64) * 255)
            return Enlarged(result, colour.to_uint8(colour.luma(truth)), low * 255)
        case "lapsrn":
            result = colour.to_uint8(_sound(enlarger(low)).astype(np.float64) * 255)
            return Enlarged(colour.luma(result), colour.luma(truth), colour.luma(low * 255))
        case "selfexsr":
            result = colour.to_uint8(colour.luma(_sound(enlarger(low))))
            return Enlarged(result, colour.to_uint8(colour.luma(truth)), colour.luma(low))
        case "rgb":
            return Enlarged(_sound(enlarger(low)), truth, low)


def _sound(result: object) -> NDArray[Any]:
    """What a model gave, if it can be scored."""
    if not isinstance(result, np.ndarray):
        raise UsageError(f"the model gave a {type(result).__name__}; an array was expected.")
    array = cast("NDArray[Any]", result)
    if not np.isfinite(array).all():
        raise UsageError("the model gave values that are not finite.")
    return array


def score(
    enlarger: Enlarger,
    picture: NDArray[np.uint8],
    scale: int,
    protocol: ProtocolName = "paper",
    *,
    image: str = "",
    with_ssim: bool = True,
    with_consistency: bool = False,
) -> Score:
    """Score one picture; see the module for what each protocol does.

    Args:
        enlarger: what is scored.
        picture: the truth, `(h, w)` or `(h, w, 3)`, uint8.
        scale: the whole factor to reduce and enlarge by.
        protocol: one of `PROTOCOLS`.
        image: the name that the score carries.
        with_ssim: also compute SSIM, which takes far longer than PSNR.
        with_consistency: also reduce the result again and compare it with its input; see `metrics.consistency`.

    Raises:
        UsageError: the result is no array, not finite, or of another size than the truth; or nothing is left after
            shaving.
    """
    try:
        result, truth, low = enlarge(enlarger, picture, scale, protocol)
    except UsageError as error:
        raise UsageError(f"{image or 'picture'}: {error}") from error
    if result.shape != truth.shape:
        raise UsageError(f"{image or 'picture'}: the model gave {result.shape}; {truth.shape} was expected.")
    agreement = metrics.consistency(result, low, edges=EDGES[protocol]) if with_consistency else None
    inside = (slice(scale, -scale), slice(scale, -scale))
    result, truth = result[inside], truth[inside]
    if truth.size == 0:
        raise UsageError(f"{image or 'picture'}: nothing is left after shaving {scale} pixels a side.")
    return Score(image, metrics.psnr(result, truth), metrics.ssim(result, truth) if with_ssim else None, agreement)


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a test set in the order of their names.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; give the folder that holds the test pictures.")
    files = _pictures_in(folder)
    if not files:
        below = folders_passed_over(folder)
        where = f", but in {below[0]}" if below else ""
        raise DataError(f"{folder}: no pictures in it{where}; give the folder that holds the test pictures.")
    return files


def folders_passed_over(folder: Path) -> list[Path]:
    """Folders in a test set's folder that hold pictures, which are no part of the set."""
    readable = (p for p in folder.iterdir() if p.is_dir() and p.name[0] != "." and os.access(p, os.R_OK | os.X_OK))
    return sorted(p for p in readable if _pictures_in(p))


def _pictures_in(folder: Path) -> list[Path]:
    from upres.images import formats

    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in formats.SUFFIXES and p.is_file() and p.name[0] != "."
    )


def read_picture(file: Path) -> NDArray[np.uint8]:
    """A test picture, `(h, w)` or `(h, w, 3)`.

    Raises:
        PictureError: the file cannot be read.
        DataError: it is not gray or RGB of 8 bits.
    """
    from upres.images import io

    pixels = io.read(file).pixels
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2] == 3):
        shape = "×".join(map(str, pixels.shape))
        raise DataError(f"{file}: {shape} {pixels.dtype}; test pictures are gray or RGB of 8 bits.")
    return pixels
