"""Large pictures in tiles whose overlap is the network's receptive field, so that no seam can appear."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def split(height: int, width: int, *, halo: int | None, tile: int, workers: int = 1) -> list[Tile]:
    """Cut a picture into tiles of nearly equal size, as few and as square as costs the least.

    What is computed twice, once for each side of a border, counts, and so does a worker that has nothing to do. All
    tiles read one shape, so that an engine prepares for one only.

    Args:
        height: of the picture.
        width: of the picture.
        halo: how far an output looks; None where it looks over the whole picture, which is then one tile.
        tile: a tile contributes at most tile · tile pixels.
        workers: tiles that run at the same time.
    """
    if halo is None:
        return [Tile((slice(0, height), slice(0, width)), (slice(0, height), slice(0, width)))]

    def cost(grid: tuple[int, int]) -> tuple[int, int]:
        rows, columns = grid
        pixels_a_tile = _window(height, rows, halo) * _window(width, columns, halo)
        return -(-rows * columns // workers) * pixels_a_tile, rows * columns

    rows, columns = min(_grids(height, width, tile, workers), key=cost)
    return [
        Tile((kept_rows, kept_columns), (read_rows, read_columns))
        for kept_rows, read_rows in _spans(height, rows, halo)
        for kept_columns, read_columns in _spans(width, columns, halo)
    ]


def _grids(height: int, width: int, tile: int, workers: int) -> Iterator[tuple[int, int]]:
    """Numbers of rows and columns whose tiles are small enough, and a few more of each for the workers' sake."""
    for columns in range(1, min(width, -(-width // tile) + workers) + 1):
        most_rows = tile * tile // -(-width // columns)
        if most_rows == 0:
            continue
        least = -(-height // most_rows)
        for rows in range(least, min(height, least + workers - 1) + 1):
            yield rows, columns


def _spans(length: int, parts: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """(kept, read) along one side; every read has one length."""
    step, window = -(-length // parts), _window(length, parts, halo)
    for start in range(0, length, step):
        first = min(max(start - halo, 0), length - window)
        yield slice(start, min(start + step, length)), slice(first, first + window)


def _window(length: int, parts: int, halo: int) -> int:
    """What a tile reads along one side; of two tiles, each has a neighbour on one side only."""
    return min(length, -(-length // parts) + min(parts - 1, 2) * halo)


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
) -> NDArray[np.float32]:
    """Run an engine over luma tile by tile; the result equals that of one run over the whole.

    Args:
        engine: what enlarges a tile.
        y: luma `(h, w)`.
        scale: what the engine enlarges by.
        halo: see `split`.
        tile: see `split`.
        workers: see `split`.
    """
    tiles = split(*y.shape, halo=halo, tile=tile, workers=workers)
    if len(tiles) == 1:
        return engine(y)
    out = np.empty((y.shape[0] * scale, y.shape[1] * scale), np.float32)

    def work(tile: Tile) -> None:
        out[tile.enlarged(scale)] = engine(np.ascontiguousarray(y[tile.read]))[tile.inside(scale)]

    each(tiles, work, workers=workers)
    return out
