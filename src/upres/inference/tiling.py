"""Large pictures in tiles whose overlap is the network's receptive field, so that no seam can appear."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from upres.inference.engines import Engine


def run(engine: Engine, y: NDArray[np.float32], *, scale: int, halo: int, tile: int) -> NDArray[np.float32]:
    """Run an engine over a picture tile by tile; the result equals that of one run over the whole.

    Args:
        engine: what enlarges a tile.
        y: luma `(h, w)`.
        scale: what the engine enlarges by.
        halo: how far an output looks, in pixels of `y`.
        tile: side of the square that one run contributes, in pixels of `y`; each run also reads the halo around it.
    """
    height, width = y.shape
    if height <= tile + 2 * halo and width <= tile + 2 * halo:
        return engine(y)
    out = np.empty((height * scale, width * scale), np.float32)
    for rows, read_rows in _spans(height, halo, tile):
        for columns, read_columns in _spans(width, halo, tile):
            enlarged = engine(np.ascontiguousarray(y[read_rows, read_columns]))
            inside = (_within(rows, read_rows, scale), _within(columns, read_columns, scale))
            out[_times(rows, scale), _times(columns, scale)] = enlarged[inside]
    return out


def _spans(length: int, halo: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """(kept, read) along one side; every read has one length, so that an engine prepares for one shape."""
    window = min(length, tile + 2 * halo)
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        first = min(max(start - halo, 0), length - window)
        yield slice(start, stop), slice(first, first + window)


def _times(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)


def _within(kept: slice, read: slice, scale: int) -> slice:
    return slice((kept.start - read.start) * scale, (kept.stop - read.start) * scale)
