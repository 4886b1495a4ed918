"""Training patches, cut from planes that stay in memory (on the GPU, where there is one).

All planes lie end to end in one flat tensor a resolution. A patch is a gather: start + i·row_step + j·column_step,
where the signs and the order of the two steps are one of the eight flips and rotations. So a batch of augmented pairs
is two gathers, and which pairs they are depends on (seed, step) alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upres.errors import DataError
from upres.images.resize import imresize

log = logging.getLogger(__name__)

Degradation = Callable[[NDArray[np.uint8], int], NDArray[np.float32]]


def bicubic(plane: NDArray[np.uint8], scale: int) -> NDArray[np.float32]:
    """The papers' degradation: MATLAB's antialiased bicubic, not rounded. `(h, w)` 0–255 → `(h/s, w/s)` in [0, 1]."""
    return imresize(plane / 255.0, 1 / scale).astype(np.float32)


DEGRADATIONS: dict[str, Degradation] = {"bicubic": bicubic}


class _Planes:
    """Planes of different sizes laid end to end in one flat tensor."""

    def __init__(self, planes: Sequence[NDArray[np.generic]], device: torch.device) -> None:
        sizes = np.array([plane.size for plane in planes], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.widths = np.array([plane.shape[1] for plane in planes], dtype=np.int64)
        self.flat = torch.from_numpy(np.concatenate([plane.ravel() for plane in planes])).to(device)

    def cut(
        self,
        picture: NDArray[np.int64],
        top: NDArray[np.int64],
        left: NDArray[np.int64],
        turn: NDArray[np.int64],
        side: int,
    ) -> Tensor:
        """`(B, 1, side, side)` float patches; bit 0 of `turn` flips rows, bit 1 columns, bit 2 swaps them."""
        width = self.widths[picture]
        flip_rows, flip_columns, swap = turn & 1, turn >> 1 & 1, turn >> 2 & 1
        start = self.offsets[picture] + (top + flip_rows * (side - 1)) * width + left + flip_columns * (side - 1)
        down, right = np.where(flip_rows, -width, width), np.where(flip_columns, -1, 1)
        steps = np.stack([start, np.where(swap, right, down), np.where(swap, down, right)])
        start_, row_step, column_step = torch.from_numpy(steps).to(self.flat.device)
        along = torch.arange(side, device=self.flat.device)
        rows = start_[:, None] + row_step[:, None] * along
        index = rows[:, :, None] + (column_step[:, None] * along)[:, None, :]
        patches = self.flat[index][:, None]
        return patches.float() / 255 if patches.dtype == torch.uint8 else patches


class PatchSource:
    """Pairs of low- and high-resolution patches from a set of planes.

    Args:
        planes: high-resolution luma, uint8 `(h, w)`.
        scale: whole factor between the two.
        patch: side of a low-resolution patch in pixels; the other is `scale` times that.
        degradation: what makes a low-resolution plane; a name in `DEGRADATIONS`.
        rescale: each plane is also used reduced by these factors; 1.0 is the plane itself.
        device: where the planes stay.

    Raises:
        DataError: no plane is large enough for one patch.
    """

    def __init__(
        self,
        planes: Sequence[NDArray[np.uint8]],
        *,
        scale: int,
        patch: int,
        degradation: str = "bicubic",
        rescale: Sequence[float] = (1.0,),
        device: torch.device | str = "cpu",
    ) -> None:
        degrade = DEGRADATIONS[degradation]
        small = sum(min(plane.shape) < patch * scale for plane in planes)
        if small:
            log.warning("%d of %d pictures are left out: below %d pixels a side", small, len(planes), patch * scale)
        high: list[NDArray[np.uint8]] = []
        low: list[NDArray[np.float32]] = []
        for factor in rescale:
            for plane in planes:
                sized = plane if factor == 1.0 else imresize(plane, factor)
                height, width = (side - side % scale for side in sized.shape)
                if min(height, width) >= patch * scale:
                    high.append(sized[:height, :width])
                    low.append(degrade(high[-1], scale))
        if not high:
            raise DataError(
                f"none of {len(planes)} pictures has {patch * scale} pixels a side; "
                "give larger pictures or a recipe with a smaller patch."
            )
        self.scale, self.patch = scale, patch
        self._high, self._low = _Planes(high, torch.device(device)), _Planes(low, torch.device(device))
        self._places = np.array([[p.shape[0] - patch + 1, p.shape[1] - patch + 1] for p in low], dtype=np.int64)
        self._up_to = np.cumsum(self._places.prod(axis=1))

    def batch(self, size: int, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step: low `(size, 1, p, p)` and high `(size, 1, s·p, s·p)`, float32 in [0, 1].

        Every place of every picture is equally likely, in each of its eight flips and rotations.
        """
        random = np.random.default_rng([seed, step])
        place = random.integers(self._up_to[-1], size=size)
        turn = random.integers(8, size=size)
        picture = np.searchsorted(self._up_to, place, side="right")
        within = place - (self._up_to[picture] - self._places[picture].prod(axis=1))
        top, left = np.divmod(within, self._places[picture, 1])
        low = self._low.cut(picture, top, left, turn, self.patch)
        high = self._high.cut(picture, top * self.scale, left * self.scale, turn, self.patch * self.scale)
        return low, high
