"""Whether a result gives back what it was made from."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from upres.errors import PictureError, TooLittleMemory
from upres.images import io
from upres.inference import windows
from upres.inference.enlarging import OWN_BYTES
from upres.inference.windows import Pixels, Resized

_TILE = 1024


def consistency(
    small: str | os.PathLike[str] | bytes, large: str | os.PathLike[str], *, memory: float = math.inf
) -> float | None:
    """PSNR in dB of an enlarged file, reduced with the protocol's bicubic, against the file that it was made from.

    All channels count alike, peak is white; colours are multiplied by alpha where there is one. None if the second
    file is smaller than the first, infinity if the two agree.

    Args:
        small: the file that the other was made from, or its content.
        large: the enlarged file.
        memory: bytes that the process may take. Both pictures are held whole.

    Raises:
        PictureError: a file cannot be read, or the two have not as many pages.
        TooLittleMemory: the two do not fit.
    """
    held = OWN_BYTES

    def admit(shape: tuple[int, ...], pages: int, dtype: np.dtype[Any]) -> None:
        needed = held + math.prod(shape) * dtype.itemsize
        if needed > memory:
            raise TooLittleMemory(
                f"{large}: comparing it with its input takes {needed / 1e6:,.0f} MB; {memory / 1e6:,.0f} MB are "
                "allowed (--memory)."
            )

    truth = io.read(small, pages=True, max_pixels=2**62, admit=admit)
    held += truth.pixels.nbytes
    result = io.read(large, pages=True, max_pixels=2**62, admit=admit)
    if truth.pages != result.pages:
        raise PictureError(
            f"{large}: has {result.pages} pages or frames where its input has {truth.pages}; WebP and GIF may merge "
            "frames that are equal, which cannot be verified."
        )
    error, count = 0.0, 0
    for number in range(truth.pages):
        expected = Pixels(truth.page(number))
        page = Pixels(result.page(number))
        if page.size[0] < expected.size[0] or page.size[1] < expected.size[1]:
            return None
        reduced = Resized(page, expected.size)
        for rows, columns, values in windows.tiles(reduced, np.dtype(np.float32), tile=_TILE):
            difference = _premultiplied(values) - _premultiplied(_alike(expected(rows, columns), values.shape[2]))
            error += float(np.sum(np.square(difference), dtype=np.float64))
            count += difference.size
    return math.inf if error == 0 else -10 * math.log10(error / count)


def _premultiplied(values: np.ndarray) -> np.ndarray:
    if not windows.has_alpha(values.shape[2]):
        return values
    alpha = values[..., -1:]
    return np.concatenate([values[..., :-1] * alpha, alpha], axis=2)


def _alike(values: np.ndarray, channels: int) -> np.ndarray:
    """Values with the channels that the result's format made of them: gray as RGB, no transparency as opaque."""
    colours, alpha = (values[..., :-1], values[..., -1:]) if windows.has_alpha(values.shape[2]) else (values, None)
    if channels >= 3 and colours.shape[2] == 1:
        colours = colours.repeat(3, axis=2)
    if not windows.has_alpha(channels):
        return colours
    return np.concatenate([colours, np.ones_like(colours[..., :1]) if alpha is None else alpha], axis=2)
