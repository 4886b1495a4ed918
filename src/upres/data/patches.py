"""Training patches, cut from planes that stay in memory (on the GPU, where there is one) or, beyond a limit, in a file.

All planes lie end to end in one flat tensor a resolution. A patch is a gather: start + i·row_step + j·column_step,
where the signs and the order of the two steps are one of the eight flips and rotations. So a batch of augmented pairs
is two gathers, and which pairs they are depends on (seed, step) alone.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upres.errors import DataError, OutputError
from upres.images.resize import imresize

log = logging.getLogger(__name__)

_SECONDS_UNTOLD = 30.0

Degradation = Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
Target = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.uint8]]


def bicubic(plane: NDArray[np.uint8], scale: int) -> NDArray[np.float32]:
    """The papers' degradation: MATLAB's antialiased bicubic, not rounded. `(h, w)` 0–255 → `(h/s, w/s)` in [0, 1]."""
    return imresize(plane / 255.0, 1 / scale).astype(np.float32)


DEGRADATIONS: dict[str, Degradation] = {"bicubic": bicubic}


_Pairs = Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]  # high and low resolution of a picture


@dataclass(frozen=True)
class _Copy:
    """A plane at one rescale factor; `shape` is that of the copy, cropped."""

    plane: NDArray[np.uint8]
    factor: float
    shape: tuple[int, int]


def _cropped(plane: NDArray[np.uint8], factor: float, scale: int) -> tuple[int, int]:
    """The shape of a plane after `imresize` by `factor` and a crop to multiples of `scale`."""
    height, width = (math.ceil(factor * side) for side in plane.shape)
    return height - height % scale, width - width % scale


def _pairs(copies: Sequence[_Copy], scale: int, degrade: Degradation, target: Target | None) -> _Pairs:
    """High and low resolution of one copy after the other: `(h, w)` and `(h/s, w/s)`."""
    for copy in copies:
        height, width = copy.shape
        sized = copy.plane if copy.factor == 1.0 else imresize(copy.plane, copy.factor)
        high = sized[:height, :width]
        low = degrade(high, scale)
        if target is not None:
            high = target(high, low)
        assert (high.shape, low.shape) == (copy.shape, (height // scale, width // scale))
        yield high, low


def _telling(pairs: _Pairs, total: int, scale: int) -> _Pairs:
    """Log how far they are, twice a minute."""
    told = time.monotonic()
    for done, pair in enumerate(pairs, 1):
        yield pair
        if time.monotonic() - told > _SECONDS_UNTOLD:
            log.info("×%d: %d %% of the pictures are ready", scale, 100 * done // total)
            told = time.monotonic()


def _in_memory(pairs: _Pairs, high_size: int, low_size: int) -> tuple[Tensor, Tensor]:
    """All high and all low planes end to end, `(high_size,)` uint8 and `(low_size,)` float32."""
    all_high, all_low = np.empty(high_size, np.uint8), np.empty(low_size, np.float32)
    high_end = low_end = 0
    for high, low in pairs:
        all_high[high_end : high_end + high.size] = high.ravel()
        all_low[low_end : low_end + low.size] = low.ravel()
        high_end, low_end = high_end + high.size, low_end + low.size
    return torch.from_numpy(all_high), torch.from_numpy(all_low)


def _in_files(pairs: _Pairs, folder: Path | None) -> tuple[Tensor, Tensor]:
    """The same, mapped from files without a name, which are gone when the tensors are.

    They are written and not filled through the map, where a full disk would end the process with a signal.

    Raises:
        OutputError: the folder has no space, or is none.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as high_file, tempfile.TemporaryFile(dir=folder) as low_file:
            for high, low in pairs:
                high_file.write(high.ravel().data)
                low_file.write(low.ravel().data)
            high_file.flush()
            low_file.flush()
            # r+ because PyTorch knows no read-only tensors; nothing writes to them.
            all_high, all_low = np.memmap(high_file, np.uint8, "r+"), np.memmap(low_file, np.float32, "r+")
    except OSError as error:
        raise OutputError(
            f"{folder or tempfile.gettempdir()}: the training planes could not be written to a temporary file there "
            f"({error.strerror or error}); free space or choose a folder on another disk."
        ) from error
    return torch.from_numpy(all_high), torch.from_numpy(all_low)


class _Planes:
    """Planes of different sizes laid end to end in one flat tensor."""

    def __init__(self, shapes: NDArray[np.int64], flat: Tensor) -> None:
        sizes = shapes.prod(axis=1)
        self.offsets = np.cumsum(sizes) - sizes
        self.widths = shapes[:, 1]
        self.flat = flat

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
        target: what a batch holds in place of a high-resolution plane: made of that plane and of the low-resolution
            one, as large as the former; the plane itself if not given.
        rescale: each plane is also used reduced by these factors; 1.0 is the plane itself.
        device: where the planes stay.
        in_memory: bytes. Planes that would take more, in both resolutions and with all their rescaled copies, are on a
            CPU kept in unnamed temporary files and mapped, so that the system reads what is used and drops it when
            memory is short.
        folder: where those files go, the system's folder for such files if not said; not one that is itself memory
            (tmpfs).

    Raises:
        DataError: no plane is large enough for one patch.
        OutputError: the temporary files cannot be written.
    """

    def __init__(
        self,
        planes: Sequence[NDArray[np.uint8]],
        *,
        scale: int,
        patch: int,
        degradation: str = "bicubic",
        target: Target | None = None,
        rescale: Sequence[float] = (1.0,),
        device: torch.device | str = "cpu",
        in_memory: int = 2**30,
        folder: Path | None = None,
    ) -> None:
        degrade = DEGRADATIONS[degradation]
        small = sum(min(plane.shape) < patch * scale for plane in planes)
        if small:
            log.warning("%d of %d pictures are left out: below %d pixels a side", small, len(planes), patch * scale)
        copies = [_Copy(plane, factor, _cropped(plane, factor, scale)) for factor in rescale for plane in planes]
        copies = [copy for copy in copies if min(copy.shape) >= patch * scale]
        if not copies:
            raise DataError(
                f"none of {len(planes)} pictures has {patch * scale} pixels a side; "
                "give larger pictures or a recipe with a smaller patch."
            )
        high_shapes = np.array([copy.shape for copy in copies], dtype=np.int64)
        low_shapes = high_shapes // scale
        high_size, low_size = (int(shapes.prod(axis=1).sum()) for shapes in (high_shapes, low_shapes))
        pairs = _telling(_pairs(copies, scale, degrade, target), len(copies), scale)
        device = torch.device(device)
        if device.type == "cpu" and high_size + 4 * low_size > in_memory:
            high, low = _in_files(pairs, folder)
        else:
            high, low = _in_memory(pairs, high_size, low_size)
        self.scale, self.patch = scale, patch
        self._high, self._low = _Planes(high_shapes, high.to(device)), _Planes(low_shapes, low.to(device))
        self._places = low_shapes - patch + 1
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
