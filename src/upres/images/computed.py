"""Rows that are computed while they are being encoded.

libvips' encoders pull their rows from an image. A source that Python answers for is shown to them as an uncompressed
TIFF file: header first, then each row when it is asked for. So neither the picture nor the file need be in memory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS_PER_STRIP = 16
_SHORT, _LONG8 = 3, 16
_CODES = {_SHORT: "H", _LONG8: "Q"}


class ComputedTiff:
    """The bytes of an uncompressed BigTIFF file whose rows come from an iterator; only forward, but for the header.

    Args:
        rows: arrays `(n, width, channels)` that follow each other, of one dtype.
        shape: `(height, width, channels)` of all of them together.
        dtype: uint8, uint16 or float32.

    Attributes:
        failure: what the iterator raised; libvips itself only sees that the file ends too early.
    """

    def __init__(self, rows: Iterator[NDArray[Any]], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        header = _header(shape, dtype)
        self.failure: BaseException | None = None
        self._rows = chain([np.frombuffer(header, np.uint8)], rows)
        self._header = header
        self._length = len(header) + shape[0] * shape[1] * shape[2] * dtype.itemsize
        self._block = memoryview(b"")
        self._block_start = 0
        self._position = 0

    def read(self, count: int) -> bytes:
        """As a file's `read`: some bytes, or none at the end."""
        if self._position < len(self._header):  # libtiff comes back to it
            content = self._header[self._position : self._position + count]
        else:
            try:
                content = self._computed(count)
            except BaseException as error:  # must not pass through C
                self.failure = error
                return b""
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int) -> int:
        """As a file's `seek`."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        return self._position

    def _computed(self, count: int) -> bytes:
        while self._position >= self._block_start + len(self._block):
            following = next(self._rows, None)
            if following is None:
                return b""
            self._block_start += len(self._block)
            self._block = np.ascontiguousarray(following).data.cast("B")
        assert self._position >= self._block_start
        start = self._position - self._block_start
        return bytes(self._block[start : start + count])


def _header(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bytes:
    """Everything before the pixels: BigTIFF's header, one directory, and its arrays.

    Source: TIFF 6.0, and the BigTIFF design note, both at libtiff's site.
    """
    height, width, channels = shape
    row_bytes = width * channels * dtype.itemsize
    starts = range(0, height, _ROWS_PER_STRIP)
    strip_bytes = [min(_ROWS_PER_STRIP, height - start) * row_bytes for start in starts]
    is_rgb, is_float = channels >= 3, dtype.kind == "f"
    tags: list[tuple[int, int, list[int]]] = [
        (256, _LONG8, [width]),
        (257, _LONG8, [height]),
        (258, _SHORT, [8 * dtype.itemsize] * channels),
        (259, _SHORT, [1]),  # no compression
        (262, _SHORT, [2 if is_rgb else 1]),  # photometric: RGB, or black is zero
        (273, _LONG8, [0] * len(starts)),  # where strips begin; below
        (277, _SHORT, [channels]),
        (278, _LONG8, [_ROWS_PER_STRIP]),
        (279, _LONG8, strip_bytes),
        (284, _SHORT, [1]),  # channels side by side
        *([(338, _SHORT, [2])] if channels in (2, 4) else []),  # alpha, not premultiplied
        (339, _SHORT, [3 if is_float else 1] * channels),
    ]
    arrays_start = 16 + 8 + 20 * len(tags) + 8
    arrays_bytes = sum(size for _, kind, values in tags if (size := len(values) * struct.calcsize(_CODES[kind])) > 8)
    pixels_start = arrays_start + arrays_bytes
    directory, arrays = b"", b""
    for number, kind, values in tags:
        if number == 273:
            values = [pixels_start + start * row_bytes for start in starts]
        packed = struct.pack(f"<{len(values)}{_CODES[kind]}", *values)
        directory += struct.pack("<HHQ", number, kind, len(values))
        if len(packed) <= 8:
            directory += packed.ljust(8, b"\0")
        else:
            directory += struct.pack("<Q", arrays_start + len(arrays))
            arrays += packed
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<Q", len(tags))
    return header + directory + bytes(8) + arrays
