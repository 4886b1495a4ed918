"""A folder of pictures as one file of 8-bit luma planes: what training reads.

A pack is a safetensors file: one uint8 tensor `(h, w)` a picture, named by its path in the folder. It opens in
milliseconds, whatever its size, for its planes are mapped and not read; and it needs no image library on the machine
that trains.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import DataError, MissingExtraError, PictureError
from upres.files import make_folder, whole_file
from upres.images import colour
from upres.images.formats import SUFFIXES

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
    """Luma planes with the names they were stored under, and a digest of their content.

    The planes of a pack file are read-only views of it: the system reads them when they are used, and drops them when
    memory is short. So the file must stay as it is for as long as they are in use.
    """

    names: tuple[str, ...]
    planes: tuple[Plane, ...]
    digest: str

    @property
    def order(self) -> str:
        """What the order of the planes is known by: a digest of their names, by which they are sorted."""
        return hashlib.sha256("\0".join(self.names).encode()).hexdigest()[:16]

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
        order = sorted(range(len(self.planes)), key=lambda i: hashlib.sha256(_rows(self.planes[i])).digest())
        return self._only(sorted(order[held_out:])), self._only(sorted(order[:held_out]))

    def _only(self, indices: Sequence[int]) -> Pack:
        return Pack(tuple(self.names[i] for i in indices), tuple(self.planes[i] for i in indices), digest=self.digest)


def _rows(plane: Plane) -> memoryview:
    """A plane's bytes row by row; not a copy, unless the rows lie apart."""
    return plane.ravel().data


def read_folder(folder: str | os.PathLike[str]) -> tuple[Pack, list[Skipped]]:
    """Read every picture below a folder into memory as 8-bit luma; skip what is unreadable, tiny, or there twice.

    Returns:
        The pack, and the files left out with the reason.

    Raises:
        DataError: the folder does not exist or holds no usable picture.
    """
    folder = Path(folder)
    used: list[_Picture] = []
    files, skipped = _files_below(folder)
    for found in _pictures(folder, files):
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            used.append(found)
    pack = Pack(
        names=tuple(picture.name for picture in used),
        planes=tuple(picture.plane for picture in used),
        digest=_digest(picture.hash for picture in used),
    )
    return pack, skipped


def pack_folder(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> tuple[Pack, list[Skipped]]:
    """Write the pack file of a folder, whole or not at all, with one picture at a time in memory.

    The file is the one that `write_pack` makes of what `read_folder` returns. Until it is complete, its folder holds
    the planes twice. A file of an earlier call at `path` is replaced and, should it lie in `folder`, not read.

    Returns:
        The pack as `read_pack` opens it, and the files left out with the reason.

    Raises:
        DataError: the folder does not exist or holds no usable picture.
        OutputError: the pack cannot be written.
    """
    _safetensors()  # before the work and not after it
    folder, path = Path(folder), Path(path)
    files, skipped = _files_below(folder, without=path)
    names: list[str] = []
    shapes: list[tuple[int, ...]] = []
    hashes: list[bytes] = []
    make_folder(path.parent)
    with whole_file(path) as temporary, tempfile.TemporaryFile(dir=path.parent) as spool:
        for found in _pictures(folder, files):
            if isinstance(found, Skipped):
                skipped.append(found)
            else:
                spool.write(_rows(found.plane))
                names.append(found.name)
                shapes.append(found.plane.shape)
                hashes.append(found.hash)
        spool.flush()
        ends = np.cumsum([height * width for height, width in shapes])
        spooled = np.split(np.asarray(np.memmap(spool, np.uint8, "r")), ends[:-1])
        planes = (plane.reshape(shape) for plane, shape in zip(spooled, shapes, strict=True))
        _write(Pack(tuple(names), tuple(planes), _digest(hashes)), temporary)
    return read_pack(path), skipped


@dataclass(frozen=True)
class _Picture:
    """A picture that becomes part of a pack; `hash` is that of its shape and pixels."""

    name: str
    plane: Plane
    hash: bytes


def _files_below(folder: Path, without: Path | None = None) -> tuple[list[Path], list[Skipped]]:
    """The files in a folder and its folders, in order, and what is passed over.

    That are links to folders, so that none leads in a circle, and what is hidden; of hidden files, those are listed
    whose names are pictures'.

    Raises:
        DataError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or pack; give a folder of pictures or a {SUFFIX} file.")
    files: list[Path] = []
    skipped: list[Skipped] = []
    for root, folders, names in os.walk(folder):
        for name in list(folders):
            path = Path(root, name)
            if name.startswith(".") or path.is_symlink():
                folders.remove(name)
                is_hidden = name.startswith(".")
                skipped.append(Skipped(path, "a hidden folder" if is_hidden else "a link to a folder"))
        for name in names:
            path = Path(root, name)
            if not name.startswith("."):
                files += [path] if path.is_file() else []
            elif path.suffix.lower() in SUFFIXES:
                skipped.append(Skipped(path, "a hidden file"))
    if without is not None:
        files = [p for p in files if p.name != without.name or p.resolve() != without.resolve()]
    return sorted(files), sorted(skipped, key=lambda found: found.path)


def _pictures(folder: Path, files: Sequence[Path]) -> Iterator[_Picture | Skipped]:
    """Read files one after the other and say of each what it is: a picture to use, or one to skip.

    Raises:
        DataError: after the last, if none was usable.
    """
    from upres.images import io

    first_with: dict[bytes, str] = {}
    for path in files:
        try:
            plane = _luma_plane(io.read(path).pixels)
        except PictureError as error:
            yield Skipped(path, str(error).removeprefix(f"{path}: "))
            continue
        content = hashlib.sha256(repr(plane.shape).encode())
        content.update(_rows(plane))
        key = content.digest()
        if min(plane.shape) < _SMALLEST_SIDE:
            yield Skipped(path, f"smaller than {_SMALLEST_SIDE} pixels a side")
        elif key in first_with:
            yield Skipped(path, f"the same picture as {first_with[key]}")
        else:
            first_with[key] = path.relative_to(folder).as_posix()
            yield _Picture(first_with[key], plane, key)
    if not first_with:
        raise DataError(f"{folder}: none of the {len(files)} files below it is a usable picture; add some.")


def _digest(hashes: Iterable[bytes]) -> str:
    """What a pack's content is known by; names and order do not matter."""
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()[:16]


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
    with whole_file(path) as temporary:
        _write(pack, temporary)


def _write(pack: Pack, path: Path) -> None:
    """Write plane after plane in safetensors' format: the header's length, the header, the data.

    The library would have all planes in memory, and the order of its metadata changes from call to call; here the same
    pack gives the same bytes. Planes lie in the order of their names and the data begins at a multiple of 8, as there.
    """
    planes = dict(sorted(zip(pack.names, pack.planes, strict=True), key=lambda named: named[0]))
    header: dict[str, Any] = {"__metadata__": {"format": _FORMAT, "digest": pack.digest}}
    end = 0
    for name, plane in planes.items():
        header[name] = {"dtype": "U8", "shape": plane.shape, "data_offsets": (end, end + plane.size)}
        end += plane.size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for plane in planes.values():
            file.write(_rows(plane))


def read_pack(path: str | os.PathLike[str]) -> Pack:
    """Open a pack file; its planes are read-only views of it.

    Raises:
        DataError: no such file, not a pack, or one that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such pack; make one with `upres pack FOLDER`.")
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="np") as checked:  # the header, and that the data is all there
            metadata: dict[str, str] = checked.metadata() or {}
        content = np.asarray(np.memmap(path, np.uint8, "r"))
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{path}: the pack is damaged, or none ({error}); give a folder of pictures, or make it again with `upres "
            "pack FOLDER`."
        ) from error
    except OSError as error:
        raise DataError(f"{path}: the pack cannot be read ({error}); check its permissions.") from error
    if metadata.get("format") != _FORMAT:
        raise DataError(f"{path}: not a pack that upres made; make one with `upres pack FOLDER`.")
    data = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(content[8:data].tobytes())
    del header["__metadata__"]
    planes: dict[str, Plane] = {}
    for name, entry in sorted(header.items()):
        if entry["dtype"] != "U8" or len(entry["shape"]) != 2:
            raise DataError(f"{path}: {name} is not a plane of bytes; make the pack again with `upres pack FOLDER`.")
        start, end = entry["data_offsets"]
        planes[name] = content[data + start : data + end].reshape(entry["shape"])
    return Pack(tuple(planes), tuple(planes.values()), metadata["digest"])


def _safetensors() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise MissingExtraError("safetensors", "train") from error
    return safetensors


def open_data(path: str | os.PathLike[str]) -> tuple[Pack, list[Skipped]]:
    """A pack file, or a folder of pictures read on the spot."""
    return (read_pack(path), []) if Path(path).is_file() else read_folder(path)
