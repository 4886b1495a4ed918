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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from upres.errors import DataError, UsageError
from upres.evaluation import metrics
from upres.images import colour
from upres.images.resize import imresize

ProtocolName = Literal["paper", "selfexsr", "lapsrn", "rgb"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)


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
    """One picture's result: PSNR in dB, and SSIM where it was asked for."""

    image: str
    psnr: float
    ssim: float | None


def _cropped(picture: NDArray[Any], scale: int) -> NDArray[Any]:
    height, width = (side - side % scale for side in picture.shape[:2])
    if 0 in (height, width):
        raise UsageError(f"{picture.shape[1]}×{picture.shape[0]} pixels are fewer than the scale {scale}.")
    return picture[:height, :width]


def _enlarged_file(enlarger: Enlarger, truth: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """From an 8-bit file to an 8-bit file; the reference files were made with edges clamped."""
    return enlarger(imresize(truth, 1 / scale, edges="clamp"))


def enlarge(
    enlarger: Enlarger, picture: NDArray[np.uint8], scale: int, protocol: ProtocolName
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Reduce a picture, let `enlarger` bring it back, and return what is compared: (result, truth) on 0–255.

    Neither is shaved yet. `picture` is `(h, w)` or `(h, w, 3)`, uint8.
    """
    truth = _cropped(picture, scale)
    match protocol:
        case "paper":
            luma = colour.to_uint8(colour.luma(truth))
            low = imresize(luma / 255.0, 1 / scale)
            return colour.to_uint8(enlarger.luma(low).astype(np.float64) * 255), luma
        case "selfexsr":
            result = _enlarged_file(enlarger, truth, scale)
            return colour.to_uint8(colour.luma(result)), colour.to_uint8(colour.luma(truth))
        case "lapsrn":
            result = enlarger(imresize(truth / 255.0, 1 / scale))
            return colour.luma(colour.to_uint8(result.astype(np.float64) * 255)), colour.luma(truth)
        case "rgb":
            return _enlarged_file(enlarger, truth, scale), truth


def score(
    enlarger: Enlarger,
    picture: NDArray[np.uint8],
    scale: int,
    protocol: ProtocolName = "paper",
    *,
    image: str = "",
    with_ssim: bool = True,
) -> Score:
    """Score one picture; see the module for what each protocol does.

    Args:
        enlarger: what is scored.
        picture: the truth, `(h, w)` or `(h, w, 3)`, uint8.
        scale: the whole factor to reduce and enlarge by.
        protocol: one of `PROTOCOLS`.
        image: the name that the score carries.
        with_ssim: also compute SSIM, which takes far longer than PSNR.

    Raises:
        UsageError: the result does not have the truth's size, or nothing is left after shaving.
    """
    try:
        result, truth = enlarge(enlarger, picture, scale, protocol)
    except UsageError as error:
        raise UsageError(f"{image or 'picture'}: {error}") from error
    if result.shape != truth.shape:
        raise UsageError(f"{image or 'picture'}: the model gave {result.shape}; {truth.shape} was expected.")
    inside = (slice(scale, -scale), slice(scale, -scale))
    result, truth = result[inside], truth[inside]
    if truth.size == 0:
        raise UsageError(f"{image or 'picture'}: nothing is left after shaving {scale} pixels a side.")
    return Score(image, metrics.psnr(result, truth), metrics.ssim(result, truth) if with_ssim else None)


def pictures(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The 8-bit pictures of a test set in the order of their names, each with its name.

    Raises:
        DataError: the folder is missing or holds no picture, or one is not gray or RGB of 8 bits.
    """
    from upres.images import io

    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the test pictures.")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in io.SUFFIXES and p.is_file() and p.name[0] != ".")
    if not files:
        raise DataError(f"{folder}: no pictures in it; give the folder that holds the test pictures.")
    for file in files:
        pixels = io.read(file).pixels
        if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2] == 3):
            shape = "×".join(map(str, pixels.shape))
            raise DataError(f"{file}: {shape} {pixels.dtype}; test pictures are gray or RGB of 8 bits.")
        yield file.stem, pixels
