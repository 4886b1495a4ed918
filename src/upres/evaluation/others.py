"""Any upscaler, made ready to be scored: ours by name, a network in a file, a command, finished pictures, a function.

| given as | what it is |
|---|---|
| `espcn`, `bicubic`, `x.safetensors` | what `upres.load` takes; at a scale between its own, the next larger, reduced |
| `x.onnx`, `x.pb`, `x.tflite`, … | a network in any format that OpenVINO reads; what goes in is found by trying |
| `cmd:tool {input} {output} {scale}` | a command that reads an 8-bit PNG file and writes a picture file |
| a folder | finished pictures, named as the test pictures are, or with something after that name |
| `label=…` | any of these, under a name of your own |

`{scale}` in a path stands for the scale, so that one line names the files of several.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import upres
from upres.errors import DataError, ScaleError, ToolError, UsageError, WeightsError
from upres.evaluation import metrics
from upres.evaluation.protocol import PROTOCOLS, Enlarger, ProtocolName
from upres.images import colour
from upres.images.resize import imresize
from upres.inference import loading
from upres.inference.upscaler import Reduced, Upscaler

if TYPE_CHECKING:
    from upres.inference.runtime import Precision

COMMAND = "cmd:"
_NETWORKS = (".onnx", ".pb", ".tflite", ".xml", ".pdmodel")
_LABEL = re.compile(r"([\w. +×-]+)=(.+)", re.DOTALL)
_LARGEST_SCALE = 16  # that `{scale}` is looked for at
_LAYOUTS: tuple[Literal["NCHW"], Literal["NHWC"]] = ("NCHW", "NHWC")
_CHANNELS: tuple[Literal[1], Literal[3]] = (1, 3)
_PROBE = (36, 44)  # pixels of the drawing that a network is tried on, high and wide
_ENLARGES = 20  # dB; bicubic restores the drawing at 35


@dataclass(frozen=True)
class Candidate:
    """Something to be scored at one scale.

    Attributes:
        name: that tables show.
        enlarger: what is scored.
        parameters: how many it has, where that is known.
        found: how a network of somebody else is called, as it was found out; None for all else.
        protocols: those that it can be scored under.
    """

    name: str
    enlarger: Enlarger
    parameters: int | None = None
    found: str | None = None
    protocols: tuple[ProtocolName, ...] = PROTOCOLS


def label(given: str) -> str:
    """The name that tables show for what `find` takes."""
    match = _LABEL.fullmatch(given)
    return match[1] if match else given


def find(
    given: str,
    scale: int,
    *,
    engine: Literal["openvino", "onnxruntime", "torch"] = "openvino",
    precision: Precision | Literal["auto"] = "f32",
) -> Candidate:
    """Make ready what the module's table describes; `engine` and `precision` are for our own networks.

    Raises:
        UnknownModelError: neither a name, nor a file, nor a folder.
        DataError: a folder that does not exist.
        ScaleError: a model that lacks this scale; of files named with `{scale}`, this one's is missing.
        UsageError: a command without its placeholders, or one that is not installed.
        WeightsError: a network that cannot be read, or does not enlarge by this scale.
    """
    name = label(given)
    source = given if name == given else given[len(name) + 1 :]
    if source.startswith(COMMAND):
        return Candidate(name, Command(source.removeprefix(COMMAND), scale), protocols=("selfexsr", "rgb"))
    scales = [s for s in range(1, _LARGEST_SCALE + 1) if Path(source.replace("{scale}", str(s))).exists()]
    if "{scale}" in source and scales and scale not in scales:
        raise ScaleError(name, scale, scales)
    source = source.replace("{scale}", str(scale))
    path = Path(source)
    if source.endswith("/") and not path.is_dir():
        raise DataError(f"{source}: no such folder; name one of finished pictures.")
    if path.is_dir() and source not in {"bicubic", *(record.name for record in upres.models())}:
        return Candidate(name, FinishedFolder(path))
    if path.suffix in _NETWORKS and not (path.suffix == ".onnx" and _is_ours(path)):
        return foreign_network(path, scale, name=name)
    network_scale = loading.nearest_scale(source, scale) if source != "bicubic" and scale > 1 else scale
    enlarger = upres.load(source, network_scale, engine=engine, precision=precision)
    parameters = _parameters(source, network_scale)
    if network_scale == scale or not isinstance(enlarger, Upscaler):
        return Candidate(name, enlarger, parameters)
    return Candidate(name, Reduced(enlarger, scale), parameters, found=f"its result at ×{network_scale}, reduced")


def _parameters(source: str, scale: int) -> int | None:
    """Of a network in the catalog, or of a file of ours."""
    from upres.inference import engines

    if source.endswith(".onnx"):
        return int(engines.read_metadata(source)["parameters"])
    if source.endswith(".safetensors"):
        from upres.weights import store

        return store.load(source)[1].parameters
    return next((r.parameters for r in upres.models() if (r.name, r.scale) == (source, scale)), None)


def _is_ours(path: Path) -> bool:
    from upres.inference import engines

    try:
        return "halos" in engines.read_metadata(path)
    except WeightsError:
        return False


class Function:
    """Any callable from array to array.

    Args:
        function: gets what the protocol gives: `(h, w)` luma in [0, 1] under `paper`; else `(h, w)` or `(h, w, 3)`,
            uint8, or under `lapsrn` float in [0, 1]. It returns the same kind, `scale` times as high and wide.
    """

    def __init__(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._function = function

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """See `Enlarger`."""
        return self._function(y)

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """See `Enlarger`."""
        return self._function(picture)


class Command:
    """Another program: it gets an 8-bit PNG file, and writes a picture.

    Args:
        template: the command line, with `{input}` and `{output}`, and `{scale}` where it is wanted. No shell runs it.
        scale: what `{scale}` stands for.

    Raises:
        UsageError: `{input}` or `{output}` is missing.
    """

    def __init__(self, template: str, scale: int) -> None:
        absent = [field for field in ("{input}", "{output}") if field not in template]
        if absent:
            raise UsageError(f"{COMMAND}{template}: lacks {' and '.join(absent)}; write where the files' names go.")
        self._template, self._scale = template, scale
        self._largest, self.megapixels_per_second = 0, 0.0  # of the largest picture so far

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """Not to be had: a file of luma alone would be a gray picture to the program.

        Raises:
            UsageError: always.
        """
        raise _whole_pictures_only(f"{COMMAND}{self._template}")

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """Run the program on one picture.

        Raises:
            UsageError: the picture is not of 8 bits, or there is no such program.
            ToolError: it fails, or writes nothing.
            PictureError: what it writes cannot be read.
        """
        from upres.images import io

        if picture.dtype != np.uint8:
            raise _whole_pictures_only(f"{COMMAND}{self._template}")
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "input.png"), Path(folder, "output.png")
            io.write(io.Picture(picture, {}), source)
            fields = {"{input}": str(source), "{output}": str(target), "{scale}": str(self._scale)}
            arguments = [_filled(argument, fields) for argument in shlex.split(self._template)]
            started = time.perf_counter()
            try:
                done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False)
            except OSError as error:
                raise UsageError(f"{arguments[0]}: cannot be run ({error.strerror}); check the command.") from error
            seconds = time.perf_counter() - started
            if done.returncode != 0:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise ToolError(f"{shlex.join(arguments)}: exit code {done.returncode}: {said[-1] if said else '–'}")
            if not target.exists():
                raise ToolError(f"{shlex.join(arguments)}: ended well and wrote no {target.name}; check the command.")
            result = _as_given(_eight_bits(io.read(target).pixels), picture)
        size = result.shape[0] * result.shape[1]
        if size > self._largest:
            self._largest, self.megapixels_per_second = size, size / 1e6 / seconds
        return result


def _filled(argument: str, fields: dict[str, str]) -> str:
    for field, value in fields.items():
        argument = argument.replace(field, value)
    return argument


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """A file's samples on 0–255, whatever its depth."""
    if pixels.dtype == np.uint8:
        return pixels
    peak = 65535 if pixels.dtype == np.uint16 else 1
    return colour.to_uint8(pixels.astype(np.float64) / peak * 255)


def _as_given(result: NDArray[Any], picture: NDArray[Any]) -> NDArray[Any]:
    """A program's picture with as many channels as the one it got: some write gray as RGB, or add an opaque alpha."""
    if result.ndim == 3 and picture.ndim == 2:
        return result[..., 0]
    if result.ndim == 3 and result.shape[2] < 3:
        return np.repeat(result[..., :1], 3, axis=2)
    if result.ndim == 3:
        return result[..., :3]
    return result if picture.ndim == 2 else np.repeat(result[..., None], 3, axis=2)


def _whole_pictures_only(name: str) -> UsageError:
    return UsageError(f"{name}: takes whole 8-bit pictures; score it under the protocol selfexsr or rgb.")


_ASKED_WITHOUT_NAME = "{folder}: holds finished pictures and enlarges none; name a model."


class FinishedFolder:
    """Results that lie in files: `of(image, truth)` is the enlarger whose every answer is that image's file.

    Args:
        folder: the files; their names begin with the test pictures'.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, image: str, truth: NDArray[Any]) -> Finished:
        """What a test picture's result is.

        Args:
            image: the test picture's name.
            truth: the test picture, gray or RGB as the result then counts.

        Raises:
            DataError: no file, or several, have the picture's name.
            PictureError: the file cannot be read.
        """
        from upres.images import formats, io

        files = [f for f in sorted(self._folder.iterdir()) if f.suffix.lower() in formats.SUFFIXES]
        named = [f for f in files if f.stem == image] or [
            f for f in files if f.stem.startswith(image) and not f.stem[len(image)].isalnum()
        ]
        if len(named) != 1:
            found = "none" if not named else " and ".join(f.name for f in named)
            raise DataError(f"{self._folder}: {found} named {image} or {image}-…; keep one file for each test picture.")
        return Finished(_as_given(_eight_bits(io.read(named[0]).pixels), truth))

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """Not to be had without an image's name; `of` has it."""
        raise UsageError(_ASKED_WITHOUT_NAME.format(folder=self._folder))

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """Not to be had without an image's name; `of` has it."""
        raise UsageError(_ASKED_WITHOUT_NAME.format(folder=self._folder))


class Finished:
    """One finished picture, whatever is asked."""

    def __init__(self, pixels: NDArray[Any]) -> None:
        self._pixels = pixels

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """The picture's luma in [0, 1]."""
        return colour.luma(self._pixels) / 255

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """The picture, in the dtype of the one that it is compared with."""
        return self._pixels if picture.dtype == np.uint8 else self._pixels / 255


@dataclass(frozen=True)
class Form:
    """How a network is called.

    Attributes:
        layout: order of the axes, as `(1, channels, h, w)` or `(1, h, w, channels)`.
        channels: 1 for luma, 3 for RGB.
        peak: the value of white: 1 or 255.
        enlarged: it wants the picture that bicubic interpolation has enlarged.
    """

    layout: Literal["NCHW", "NHWC"]
    channels: Literal[1, 3]
    peak: Literal[1, 255]
    enlarged: bool

    def shape(self, height: int, width: int) -> list[int]:
        """Of what goes in; -1 is any size."""
        sides = [height, width]
        return [1, self.channels, *sides] if self.layout == "NCHW" else [1, *sides, self.channels]

    def __str__(self) -> str:
        kind = "luma" if self.channels == 1 else "RGB"
        first = ", enlarged by bicubic" if self.enlarged else ""
        return f"{kind} in [0, {self.peak}] as {self.layout}{first}"


class _Graph:
    """A network of somebody else, called in one form. One call runs at a time; further threads wait."""

    def __init__(self, compiled: Any, form: Form, scale: int) -> None:
        self.form = form
        self._request, self._dtype = compiled.create_infer_request(), compiled.input(0).get_element_type().to_dtype()
        self._scale, self._busy = scale, threading.Lock()

    def __call__(self, picture: NDArray[Any], /) -> NDArray[np.float32]:
        """`(h, w)` or `(h, w, 3)` in [0, 1] → enlarged, unclipped."""
        form = self.form
        given = imresize(picture.astype(np.float32), self._scale) if form.enlarged else picture
        planes = np.atleast_3d(given) * form.peak
        batch = (planes if form.layout == "NHWC" else planes.transpose(2, 0, 1))[None]
        if self._dtype.kind in "ui":
            batch = np.clip(batch + 0.5, 0, 255)
        with self._busy:
            answers = self._request.infer({0: np.ascontiguousarray(batch, dtype=self._dtype)}).values()
            largest = max((np.array(a, np.float32) for a in answers if np.ndim(a) == 4), key=np.size)[0]
        # The output need not have the input's layout; the channels are the axis that is not a side.
        if largest.shape[0] == form.channels:
            largest = largest.transpose(1, 2, 0)
        return (largest if picture.ndim == 3 else largest[..., 0]) / np.float32(form.peak)


class RGBNetwork:
    """A network of somebody else that enlarges RGB."""

    precision = "f32"

    def __init__(self, graph: Callable[[NDArray[Any]], NDArray[np.float32]], name: str) -> None:
        self._graph, self._name = graph, name

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """Not to be had: the network wants colours.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self._name}: takes RGB; score it under the protocol selfexsr, lapsrn or rgb.")

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """See `Enlarger`; a gray picture goes through as three equal channels."""
        peak = 255 if picture.dtype == np.uint8 else 1
        coloured = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        large = np.clip(self._graph(coloured / peak), 0, 1)
        large = large if picture.ndim == 3 else large.mean(axis=2)
        return colour.to_uint8(large * 255) if picture.dtype == np.uint8 else large


def foreign_network(path: Path, scale: int, *, name: str) -> Candidate:
    """A network in any format that OpenVINO reads, in the form in which it restores a reduced drawing best.

    Files say too little: many leave every axis open, and none says what white is. So each form is tried.

    Raises:
        WeightsError: the file cannot be read, has several inputs, or no form enlarges at all.
        ScaleError: it enlarges, but not by this scale.
    """
    from upres.inference import runtime
    from upres.inference.engines import LumaEngine

    if not path.is_file():
        raise WeightsError(f"{path}: no such model file; check the path.")
    core = runtime.core()
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path}: OpenVINO cannot read this file; give a whole one, best in ONNX.") from error
    if len(model.inputs) != 1:
        raise WeightsError(f"{path}: has {len(model.inputs)} inputs; give a network from one picture to one picture.")
    tried = [(_restores(graph, scale), graph) for graph in _graphs(core, model, scale)]
    # To a tenth: a network without biases does the same in either range, and the first form is the usual one.
    quality, graph = max(tried, key=lambda pair: round(pair[0], 1), default=(0.0, None))
    if graph is None:
        own = [s for s in range(2, _LARGEST_SCALE + 1) if any(_fitting(model, s))]
        if own:
            raise ScaleError(name, scale, own)
    if graph is None or quality < _ENLARGES:
        shape = model.input(0).get_partial_shape()
        raise WeightsError(
            f"{path}: takes {shape}; as luma or RGB, in [0, 1] or [0, 255], it does not enlarge a picture ×{scale}. "
            "Give a network of this scale, from picture to picture."
        )
    is_luma = graph.form.channels == 1
    luma = LumaEngine(graph)
    enlarger = Upscaler(lambda _: luma, name=name, scale=scale, halo=None) if is_luma else RGBNetwork(graph, name)
    protocols: tuple[ProtocolName, ...] = PROTOCOLS if is_luma else ("selfexsr", "lapsrn", "rgb")
    return Candidate(name, enlarger, _float_constants(model), str(graph.form), protocols)


def _graphs(core: Any, model: Any, scale: int) -> list[_Graph]:
    """The network in every form whose output has the right size, by its layers' own shape rules."""
    graphs: list[_Graph] = []
    for form in _fitting(model, scale):
        free = model.clone()
        free.reshape(form.shape(-1, -1))
        compiled = core.compile_model(free, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        graphs += [_Graph(compiled, form, scale), _Graph(compiled, replace(form, peak=255), scale)]
    return graphs


def _fitting(model: Any, scale: int) -> Iterator[Form]:
    """Forms, white being 1, in which the network's output is `scale` times as high and wide as the picture."""
    height, width = _PROBE
    stated = model.input(0).get_partial_shape()
    if len(stated) != 4:
        return
    for layout, channels, enlarged in product(_LAYOUTS, _CHANNELS, (False, True)):
        form = Form(layout, channels, 1, enlarged)
        factor = scale if enlarged else 1
        axis = stated[1 if layout == "NCHW" else 3]
        fits = axis.is_dynamic or axis.get_length() == channels
        wanted = (channels, scale * height, scale * width)
        if fits and _gives(model, form.shape(factor * height, factor * width), wanted):
            yield form


def _gives(model: Any, shape: list[int], wanted: tuple[int, int, int]) -> bool:
    """Whether a network, given this shape, has `wanted` channels, height and width among its outputs."""
    fixed = model.clone()
    try:
        fixed.reshape(shape)
    except RuntimeError:  # its layers do not take this shape, which is what is being found out
        return False
    outputs = [tuple(o.get_shape()) for o in fixed.outputs if o.get_partial_shape().is_static]
    return (1, *wanted) in outputs or (1, *wanted[1:], wanted[0]) in outputs


def _restores(graph: _Graph, scale: int) -> float:
    """PSNR in dB of what a network makes of a drawing that was reduced; in the wrong form it falls short."""
    rows, columns = np.mgrid[: _PROBE[0] * scale, : _PROBE[1] * scale] / scale
    disc = 1 / (1 + np.exp(3 * (np.hypot(rows - 18, columns - 16) - 11)))
    stripes = 1 / (1 + np.exp(9 * np.sin((columns + rows / 2) / 1.7)))
    drawing = 0.15 + 0.4 * disc + 0.3 * stripes * (columns > 26)
    if graph.form.channels == 3:
        drawing = np.stack([drawing, 0.8 * drawing, 1 - drawing], axis=2)
    return metrics.psnr(graph(imresize(drawing, 1 / scale)), drawing, peak=1)


def _float_constants(model: Any) -> int:
    """Numbers in a graph's tables of floats: its parameters, and any fixed kernels."""
    shapes: list[list[int]] = [
        list(node.shape)
        for node in model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().is_real() and len(node.shape) > 0
    ]
    return sum(map(math.prod, shapes))


def candidate(model: Any, scale: int) -> Candidate:
    """What `upres.evaluate` takes: anything that `find` does, an enlarger, or any other callable from array to array.

    Raises:
        UsageError: none of these; and as `find`.
    """
    if isinstance(model, str | os.PathLike):
        return find(os.fspath(model), scale)
    kind = type(model).__name__
    if not callable(model):
        raise UsageError(f"the model is a {kind}; give a name, a file, or a callable from array to array.")
    function: Any = model
    enlarger: Enlarger = function if hasattr(function, "luma") else Function(function)
    return Candidate(getattr(model, "name", getattr(model, "__name__", kind)), enlarger)
