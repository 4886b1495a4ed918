"""Large pictures in tiles whose overlap is the network's receptive field, so that no seam can appear."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cost = Callable[[int, int], float]  # of a run over so many rows and columns, in any unit
_NARROWEST = 64  # columns of a tile, where there is a choice
WIDTH_STEP = 8  # engines are slow for odd widths; heights are all the same to them


@dataclass(frozen=True)
class Tile:
    """A part of a picture: what one run contributes, and what it has to read for that.

    Attributes:
        kept: rows and columns of the picture; the tiles' `kept` cover it once.
        read: rows and columns around them, as far as the halo and the picture reach.
    """

    kept: tuple[slice, slice]
    read: tuple[slice, slice]

    def inside(self, scale: int) -> tuple[slice, slice]:
        """Where `kept` lies in what a run over `read` makes."""
        rows, columns = (
            slice((kept.start - read.start) * scale, (kept.stop - read.start) * scale)
            for kept, read in zip(self.kept, self.read, strict=True)
        )
        return rows, columns

    def enlarged(self, scale: int) -> tuple[slice, slice]:
        """Where `kept` lies in the enlarged picture."""
        rows, columns = (slice(kept.start * scale, kept.stop * scale) for kept in self.kept)
        return rows, columns


def split(
    height: int, width: int, *, halo: int | None, tile: int, workers: int = 1, cost: Cost = operator.mul
) -> list[Tile]:
    """Cut a picture into tiles of nearly equal size, as few and as square as costs the least.

    What is computed twice, once for each side of a border, counts, and so does a worker that has nothing to do. All
    tiles read one shape, so that an engine prepares for one only.

    Args:
        height: of the picture.
        width: of the picture.
        halo: how far an output looks; None where it looks over the whole picture, which is then one tile.
        tile: a tile contributes at most tile · tile pixels.
        workers: tiles that run at the same time.
        cost: of what a tile reads; its area if not given.
    """
    if halo is None:
        return [Tile((slice(0, height), slice(0, width)), (slice(0, height), slice(0, width)))]

    def total(grid: tuple[int, int]) -> tuple[float, int]:
        rows, columns = grid
        a_tile = cost(_window(height, rows, halo), _window(width, columns, halo, step=WIDTH_STEP))
        return -(-rows * columns // workers) * a_tile, rows * columns

    rows, columns = min(_grids(height, width, tile, workers), key=total)
    return [
        Tile((kept_rows, kept_columns), (read_rows, read_columns))
        for kept_rows, read_rows in _spans(height, rows, halo)
        for kept_columns, read_columns in _spans(width, columns, halo, step=WIDTH_STEP)
    ]


def _grids(height: int, width: int, tile: int, workers: int) -> Iterator[tuple[int, int]]:
    """Numbers of rows and columns whose tiles are small enough, and more of each for the workers' and speed's sake.

    Of a picture wider than `tile`, no tile is higher than that, however narrow: whole strips of it are held in memory.
    """
    for columns in range(1, min(width, max(-(-width // tile) + workers, width // _NARROWEST)) + 1):
        most_rows = tile * tile // max(-(-width // columns), min(width, tile))
        if most_rows == 0:
            continue
        least = -(-height // most_rows)
        for rows in range(least, min(height, least + workers - 1) + 1):
            yield rows, columns


def _spans(length: int, parts: int, halo: int, *, step: int = 1) -> Iterator[tuple[slice, slice]]:
    """(kept, read) along one side; every read has one length."""
    kept, window = -(-length // parts), _window(length, parts, halo, step=step)
    for start in range(0, length, kept):
        first = min(max(start - halo, 0), length - window)
        yield slice(start, min(start + kept, length)), slice(first, first + window)


def _window(length: int, parts: int, halo: int, *, step: int = 1) -> int:
    """What a tile reads along one side, a multiple of `step`; of two tiles, each has a neighbour on one side only."""
    wanted = -(-length // parts) + min(parts - 1, 2) * halo
    return min(length, -(-wanted // step) * step)


def each(tiles: Sequence[Tile], work: Callable[[Tile], None], *, workers: int) -> None:
    """Call `work` on every tile, on several threads where there are workers for that."""
    if workers == 1 or len(tiles) == 1:
        for tile in tiles:
            work(tile)
        return
    with ThreadPoolExecutor(min(workers, len(tiles))) as pool:
        for _ in pool.map(work, tiles):
            pass


def run(
    engine: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    y: NDArray[np.float32],
    *,
    scale: int,
    halo: int | None,
    tile: int,
    workers: int = 1,
    cost: Cost = operator.mul,
) -> NDArray[np.float32]:
    """Run an engine over luma tile by tile; the result equals that of one run over the whole.

    Args:
        engine: what enlarges a tile.
        y: luma `(h, w)`.
        scale: what the engine enlarges by.
        halo: see `split`.
        tile: see `split`.
        workers: see `split`.
        cost: see `split`.
    """
    tiles = split(*y.shape, halo=halo, tile=tile, workers=workers, cost=cost)
    if len(tiles) == 1:
        return engine(y)
    out = np.empty((y.shape[0] * scale, y.shape[1] * scale), np.float32)

    def work(tile: Tile) -> None:
        out[tile.enlarged(scale)] = engine(np.ascontiguousarray(y[tile.read]))[tile.inside(scale)]

    each(tiles, work, workers=workers)
    return out
