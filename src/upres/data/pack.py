"""A folder of pictures as one file of 8-bit luma planes: what training reads.

A pack is a safetensors file: one uint8 tensor `(h, w)` a picture, named by its path in the folder. It opens in
milliseconds and needs no image library on the machine that trains.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import DataError, MissingExtraError, PictureError
from upres.files import whole_file
from upres.images import colour

SUFFIX = ".pack"
_FORMAT = "upres-pack-1"
_SMALLEST_SIDE = 48

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Skipped:
    """A file that did not become part of a pack, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Pack:
    """Luma planes with the names they were stored under, and a digest of their content."""

    names: tuple[str, ...]
    planes: tuple[Plane, ...]
    digest: str

    def split(self, held_out: int) -> tuple[Pack, Pack]:
        """Set `held_out` pictures apart for validation: (training, validation).

        The choice follows a hash of each picture's pixels, so it does not depend on names, order or machine.

        Raises:
            DataError: there would be no picture left to train on.
        """
        if held_out >= len(self.planes):
            raise DataError(
                f"{len(self.planes)} pictures with {held_out} held out leaves none to train on; "
                "add pictures or hold fewer out (--held-out)."
            )
        order = sorted(range(len(self.planes)), key=lambda i: hashlib.sha256(self.planes[i].tobytes()).digest())
        return self._only(sorted(order[held_out:])), self._only(sorted(order[:held_out]))

    def _only(self, indices: Sequence[int]) -> Pack:
        return Pack(tuple(self.names[i] for i in indices), tuple(self.planes[i] for i in indices), digest=self.digest)


def read_folder(folder: str | os.PathLike[str]) -> tuple[Pack, list[Skipped]]:
    """Read every picture below a folder as 8-bit luma; skip what is unreadable, tiny, or there twice.

    Returns:
        The pack, and the files left out with the reason.

    Raises:
        DataError: the folder does not exist or holds no usable picture.
    """
    from upres.images import io

    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or pack; give a folder of pictures or a {SUFFIX} file.")
    planes: dict[str, Plane] = {}
    first_with: dict[bytes, str] = {}
    skipped: list[Skipped] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        name = path.relative_to(folder).as_posix()
        try:
            plane = _luma_plane(io.read(path).pixels)
        except PictureError as error:
            skipped.append(Skipped(path, str(error)))
            continue
        key = hashlib.sha256(repr(plane.shape).encode() + plane.tobytes()).digest()
        if min(plane.shape) < _SMALLEST_SIDE:
            skipped.append(Skipped(path, f"smaller than {_SMALLEST_SIDE} pixels a side"))
        elif key in first_with:
            skipped.append(Skipped(path, f"the same picture as {first_with[key]}"))
        else:
            planes[name] = plane
            first_with[key] = name
    if not planes:
        raise DataError(f"{folder}: none of the {len(skipped)} files below it is a usable picture; add some.")
    digest = hashlib.sha256(b"".join(sorted(first_with))).hexdigest()[:16]
    return Pack(tuple(planes), tuple(planes.values()), digest), skipped


def _luma_plane(pixels: NDArray[Any]) -> Plane:
    """8-bit luma of whatever a picture file held; transparency is dropped."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint16:
        pixels = pixels / 257.0
    elif pixels.dtype != np.uint8:
        pixels = np.clip(pixels.astype(np.float64), 0, 1) * 255
    return colour.to_uint8(colour.luma(pixels))


def write_pack(pack: Pack, path: str | os.PathLike[str]) -> None:
    """Write a pack file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        from safetensors import numpy as safetensors_numpy
    except ImportError as error:
        raise MissingExtraError("safetensors", "train") from error
    planes = dict(zip(pack.names, pack.planes, strict=True))
    content = safetensors_numpy.save(planes, metadata={"format": _FORMAT, "digest": pack.digest})
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def read_pack(path: str | os.PathLike[str]) -> Pack:
    """Open a pack file.

    Raises:
        DataError: no such file, or not a pack.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such pack; make one with `upres pack FOLDER`.")
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("safetensors", "train") from error
    try:
        opened: Any = safe_open(path, framework="np")
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise DataError(f"{path}: not a pack that upres made; make one with `upres pack FOLDER`.")
            names: tuple[str, ...] = tuple(sorted(file.keys()))
            planes: tuple[Plane, ...] = tuple(file.get_tensor(name) for name in names)
    except SafetensorError as error:
        raise DataError(f"{path}: the pack is damaged ({error}); make it again with `upres pack FOLDER`.") from error
    return Pack(names, planes, metadata["digest"])


def open_data(path: str | os.PathLike[str]) -> tuple[Pack, list[Skipped]]:
    """A pack file, or a folder of pictures read on the spot."""
    return (read_pack(path), []) if Path(path).is_file() else read_folder(path)
