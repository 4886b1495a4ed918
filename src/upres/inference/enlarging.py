"""A picture file in, a larger picture file out, of any size and format, in bounded memory."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upres.errors import Interrupted, PictureError, TooLittleMemory, UsageError
from upres.images import io
from upres.images.formats import Encoding, Format
from upres.images.io import Picture
from upres.inference import loading, sizes, windows
from upres.inference.engines import EngineName
from upres.inference.runtime import Precision
from upres.inference.sizes import Wanted
from upres.inference.upscaler import DEFAULT_TILE, Bicubic, Enlarged
from upres.inference.windows import Pixels, Resized, Samples, Windows

MAX_BACK_PROJECTION = 20
OWN_BYTES = 300_000_000  # Python, libvips and OpenVINO with a network, before the first picture
_FLOATS_A_PIXEL = 8  # temporary float32 values in a tile, for each channel
_SMALLEST_TILE = 64
_USUAL_MEMORY = 8_000_000_000
_LARGEST_FACTOR = 4  # that a tile of the result grows by
_MOST_ENLARGED = 16  # times the pixels that an input may have
_ANY_SIZE = (1000, 1000)  # the scales that a factor needs do not depend on it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that decides a result's pixels and file, besides the picture.

    Attributes:
        model: `bicubic`, a name in the catalog, or the path of an `.onnx` or `.safetensors` file.
        wanted: the result's size.
        encoding: the result's file.
        engine: what runs the network.
        precision: of its arithmetic.
        back_projection: rounds that bring the result nearer to the input; see `Upscaler.consistent`.

    Raises:
        UsageError: rounds outside 0 to 20, or rounds for bicubic interpolation.
    """

    model: str
    wanted: Wanted
    encoding: Encoding
    engine: EngineName = "openvino"
    precision: Precision | Literal["auto"] = "auto"
    back_projection: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.back_projection <= MAX_BACK_PROJECTION:
            raise UsageError(
                f"back-projection is {self.back_projection}; it must lie between 0 and {MAX_BACK_PROJECTION}."
            )
        if self.back_projection and self.model == "bicubic":
            raise UsageError("back-projection is for networks; take a model other than bicubic.")


@dataclass(frozen=True)
class Done:
    """What was written.

    Attributes:
        size: height and width of a page.
        pages: or frames.
        input_size: height and width of the input's.
        lost: what the input carries that the result's format has no place for.
        warning: of the input's decoder.
    """

    size: tuple[int, int]
    pages: int
    input_size: tuple[int, int]
    lost: list[str]
    warning: str | None = None

    @property
    def ran_network(self) -> bool:
        """Whether the result is larger than the input in a direction; else bicubic interpolation was enough."""
        return self.size[0] > self.input_size[0] or self.size[1] > self.input_size[1]

    def describe(self) -> str:
        """`160×120`, with what is out of the ordinary."""
        height, width = self.size
        text = f"{width}×{height}" + (f", {self.pages} pages" if self.pages > 1 else "")
        text += f", without its {' and '.join(self.lost)}" if self.lost else ""
        text += f", perhaps damaged: {self.warning}" if self.warning else ""
        if self.size == self.input_size:
            return f"{text}, the size it had: no network"
        if not self.ran_network:
            return f"{text}, smaller than it was: reduced by bicubic interpolation, no network"
        return text


class Enlarger:
    """A model made ready for pictures of any size; engines are made once and shared between threads.

    Args:
        settings: what is wanted.
        memory: bytes that the process may take.

    Attributes:
        stopped: once set, pictures in work are given up, and those that follow; whoever goes on clears it.
        workers: parts of a picture that are computed at the same time.

    Raises:
        UsageError: a model, engine or precision that cannot be had.
    """

    def __init__(self, settings: Settings, *, memory: int) -> None:
        self.settings, self.memory = settings, memory
        self.stopped = threading.Event()
        self._upscalers = {scale: self._load(scale) for scale in loading.scales(settings.model)}
        if not self._upscalers:
            self._load(2)  # bicubic needs no scales, but its engine and precision are checked as any other's
        self.workers = max((upscaler.workers for upscaler in self._upscalers.values()), default=1)

    def _load(self, scale: int) -> Any:
        settings = self.settings
        upscaler = loading.load(settings.model, scale, engine=settings.engine, precision=settings.precision)
        return upscaler if isinstance(upscaler, Bicubic) else upscaler.consistent(settings.back_projection)

    def explain(self) -> list[str]:
        """What runs, and why, a line for each of the model's scales that the result may need; and the memory."""
        needed = set(self._upscalers)
        if self.settings.wanted.scale is not None:
            needed = set(sizes.steps(_ANY_SIZE, self.settings.wanted.of(_ANY_SIZE), self._upscalers))
        lines = [upscaler.explain() for scale, upscaler in self._upscalers.items() if scale in needed]
        lines = lines or ["bicubic, in float64 as MATLAB"]
        return [*lines, f"memory up to {self.memory / 1e9:.1f} GB"]

    def result(self, pixels: NDArray[Any], size: tuple[int, int], dtype: np.dtype[Any]) -> Windows:
        """The enlargement or reduction to `size` (height, width) of pixels that will be written as `dtype`."""
        copied = pixels.shape[:2] == size
        opaque = pixels.ndim == 2 or not windows.has_alpha(pixels.shape[2])
        as_matlab = self.settings.model == "bicubic" and opaque and dtype.kind != "f"
        picture: Windows = Samples(pixels) if pixels.dtype == dtype and (copied or as_matlab) else Pixels(pixels)
        for scale in sizes.steps(picture.size, size, self._upscalers):
            upscaler = self._upscalers[scale]
            is_last = (picture.size[0] * scale, picture.size[1] * scale) == size
            precision = upscaler.precision_for(pixels.dtype)
            picture = Enlarged(picture, upscaler, precision, dtype=dtype if is_last else None)
        return picture if picture.size == size else Resized(picture, size)

    def file(
        self,
        source: str | os.PathLike[str] | bytes,
        target: str | os.PathLike[str],
        *,
        format: Format,
        max_pixels: int = io.MAX_PIXELS,
        share: float = 1,
        written: Callable[[Path], None] | None = None,
        advanced: Callable[[float], None] | None = None,
    ) -> Done:
        """Read a picture, enlarge it and write it, replacing what is there.

        Args:
            source: a file, or its content.
            target: a file.
            format: what the target will be.
            max_pixels: of the input; the result may have 16 times as many.
            share: of the memory that this picture may take.
            written: is called with the finished temporary file before it takes its place.
            advanced: is called with the share of the result's rows that are made, after each strip of them.

        Raises:
            PictureError: the picture cannot be read, or the format cannot hold its result.
            TooLittleMemory: its result does not fit the memory.
            OutputError: the disk refuses the result.
        """
        name = "standard input" if isinstance(source, bytes) else os.fspath(source)
        memory = int(self.memory * share)

        def tile(shape: tuple[int, ...], pages: int, dtype: np.dtype[Any], *, from_lossless: bool = False) -> int:
            input_size = (shape[0] // pages, shape[1])
            size = checked_size(shape, pages, self.settings.wanted, target, format, max_pixels=max_pixels)

            def network(height: int, width: int) -> int:
                steps = list(sizes.steps(input_size, size, self._upscalers))
                if not steps:
                    return 0
                upscaler = self._upscalers[steps[-1]]
                before = math.prod(steps[:-1])  # the enlargement that the last step starts from
                whole = (input_size[0] * before, input_size[1] * before)
                height, width = (
                    min(side, math.ceil(part * side / total))
                    for part, side, total in zip((height, width), whole, size, strict=True)
                )
                if upscaler.halo is None:
                    height, width = whole
                return upscaler.bytes_for(height, width, dtype, of=whole)

            return _tile(
                shape,
                pages,
                dtype,
                size,
                format,
                network,
                lossless=self.settings.encoding.is_lossless(format, from_lossless=from_lossless),
                workers=self.workers,
                memory=memory,
            )

        def finish(temporary: Path) -> None:
            self._check_not_stopped()
            if written is not None:
                written(temporary)

        try:
            picture = io.read(source, pages=True, max_pixels=max_pixels, admit=tile)
            picture = io.without_opaque_alpha(picture, target, format)
            pixels = picture.pixels
            height, width = pixels.shape[0] // picture.pages, pixels.shape[1]
            size = self.settings.wanted.of((height, width))
            side = tile(pixels.shape, picture.pages, pixels.dtype, from_lossless=picture.is_lossless)
            rows = self._rows(picture, size, format, side)
            shape = (size[0] * picture.pages, size[1], pixels.shape[2] if pixels.ndim == 3 else 1)
            if advanced is not None:
                rows = _counted(rows, shape[0], advanced)
            encoding = self.settings.encoding
            io.write_rows(rows, shape, picture, target, format=format, encoding=encoding, written=finish)
        except UsageError as error:
            raise PictureError(f"{name}: {error}") from error
        except TooLittleMemory as error:
            raise TooLittleMemory(f"{name}: {error}") from error
        except MemoryError as error:
            raise PictureError(f"{name}: there is not enough memory for the result; take a smaller scale.") from error
        return Done(size, picture.pages, (height, width), io.lost(picture, format), picture.warning)

    def _rows(self, picture: Picture, size: tuple[int, int], format: Format, tile: int) -> Iterator[NDArray[Any]]:
        dtype = format.dtype(picture.pixels.dtype)
        for number in range(picture.pages):
            result = self.result(picture.page(number), size, dtype)
            workers = result.workers if isinstance(result, Enlarged) else self.workers
            for strip in windows.strips(result, dtype, tile=tile, workers=workers):
                self._check_not_stopped()
                yield strip

    def _check_not_stopped(self) -> None:
        if self.stopped.is_set():
            raise Interrupted("stopped; the picture in work was given up.")


def _counted(strips: Iterator[NDArray[Any]], total: int, advanced: Callable[[float], None]) -> Iterator[NDArray[Any]]:
    made = 0
    for strip in strips:
        made += strip.shape[0]
        advanced(made / total)
        yield strip


def checked_size(
    shape: tuple[int, ...],
    pages: int,
    wanted: Wanted,
    target: str | os.PathLike[str],
    format: Format,
    *,
    max_pixels: int,
) -> tuple[int, int]:
    """Height and width of a page of the result.

    Args:
        shape: of the input's pixels, all pages together.
        pages: of the input.
        wanted: the result's size.
        target: the result's file.
        format: of it.
        max_pixels: of an input; a result may have 16 times as many.

    Raises:
        PictureError: the result would have more.
        UsageError: the format cannot hold it.
    """
    size = wanted.of((shape[0] // pages, shape[1]))
    if size[0] * size[1] * pages > _MOST_ENLARGED * max_pixels:
        raise PictureError(
            f"{target}: would have {size[1]}×{size[0]} pixels, {size[0] * size[1] * pages / 1e6:,.0f} megapixels; "
            f"the limit is {_MOST_ENLARGED * max_pixels / 1e6:,.0f}, {_MOST_ENLARGED} times that of inputs "
            "(--max-megapixels)."
        )
    io.check_fits(target, format, size, pages=pages)
    return size


def _tile(
    shape: tuple[int, ...],
    pages: int,
    dtype: np.dtype[Any],
    size: tuple[int, int],
    format: Format,
    network: Callable[[int, int], int],
    *,
    lossless: bool,
    workers: int,
    memory: int,
) -> int:
    """The side of a tile of the result with which all keeps to the memory, the format's encoder included.

    Args:
        shape: of the input's pixels, all pages together.
        pages: of the input.
        dtype: of the input.
        size: of a page of the result.
        format: that the result is written in.
        network: bytes that it holds for a tile of the result of this height and width.
        lossless: whether the format, where it has the choice, is written without loss.
        workers: tiles that are computed at the same time.
        memory: bytes that the process may take.

    Raises:
        TooLittleMemory: even the smallest does not.
    """
    channels = shape[2] if len(shape) == 3 else 1
    copied = channels - 1 if windows.has_alpha(channels) and not format.alpha else 0  # an opaque alpha is left out
    item = format.dtype(dtype).itemsize
    factor = max(1.0, size[0] * pages / shape[0])
    fixed = OWN_BYTES + shape[0] * shape[1] * (channels + copied) * dtype.itemsize
    fixed += size[0] * size[1] * pages * format.held_bytes(dtype, alpha=channels in (2, 4), lossless=lossless)
    tile = DEFAULT_TILE
    while True:
        side = int(tile * min(factor, _LARGEST_FACTOR))
        strips = 3 * min(side, size[0]) * max(side, size[1]) * channels * item
        height = min(size[0], side * side // min(side, size[1]))  # of a narrow picture's tiles, which are long
        width = min(size[1], side * side // min(side, size[0]))
        pixels = min(side * side, size[0] * size[1])
        read = pixels * max(
            1.0, shape[0] * shape[1] / (size[0] * size[1] * pages)
        )  # a reduction reads more than it gives
        floats = int(channels * (pixels * _FLOATS_A_PIXEL + read * 2))
        needed = fixed + strips + workers * (4 * floats + network(height, width))
        if needed <= memory:
            return side
        if tile <= _SMALLEST_TILE:
            raise TooLittleMemory(
                f"a result of {size[1]}×{size[0]} pixels takes about {needed / 1e6:,.0f} MB; "
                f"{memory / 1e6:,.0f} MB are allowed (--memory)."
            )
        tile //= 2


def free_memory() -> int:
    """Bytes that this process may take without others suffering: half of what the machine has free.

    A limit on the process's control group counts as well. Where the system does not say, 8 GB are taken as free.
    """
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    free = [_USUAL_MEMORY]
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        free = [int(lines["MemAvailable"].split()[0]) * 1024]
    if group.exists() and (limit := group.read_text(encoding="ascii").strip()) != "max":
        free.append(int(limit))
    return min(free) // 2
