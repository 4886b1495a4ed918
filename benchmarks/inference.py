"""Measure how fast each network runs on the processor, engine beside engine, interleaved in one process.

    python benchmarks/inference.py [--peers DIR] [--test-set Set5] [--json FILE] [--plot FILE]

Every network enlarges luma by ×2: 960×540 in, for the deep ones 320×180, for the recursive ones, which take up to
thirty times as long a pixel, 120×68. Networks without weights in the catalog run with random ones, as deep and wide as
their recipe has them. The engines:

upres            `upres.load(…).luma`, precision chosen as by default; for networks without weights, bf16 where the
                 processor has it.
upres f32        the same in float32.
upres int8       the same in 8 bits, where OpenVINO has them.
openvino, …      OpenVINO on the exported file as it is, in both precisions.
onnxruntime      ONNX Runtime on the exported file.
eager            PyTorch in float32: the fastest of the network as written and in deployable form, each with channels
                 first and last.
eager bf16       the same four under autocast.
compiled         `torch.compile` of the deployable form, channels last, float32, where there is a compiler.
opencv           OpenCV's `dnn` module on the exported file.
dnn_superres     OpenCV's `dnn_superres` with its own model of the same name, from `--peers`; BGR in and out, so it is
                 compared with `upres picture`, the whole way from RGB to RGB, which is measured beside it.

The floor is bicubic enlargement of the same picture by libvips, OpenCV, Pillow and upres. The ceiling is the best of
several large convolutions and a matrix product in OpenVINO, in each precision; a network's share of it is the
operations of the network as the paper writes it, multiplications and additions, over time and ceiling.

After one round that is dropped, each round runs everything once, in an order of its own, for an engine's threads and
memory weigh on what runs next; medians over the rounds are reported, and ratios of them. With `--test-set`, the plot
has each engine's PSNR on that folder, from 8-bit file to 8-bit file.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import write_record
from rich.console import Console
from rich.table import Table

import upres
from upres.images.resize import imresize
from upres.inference.engines import Engine, EnlargesFirst, OnnxRuntimeEngine, OpenVINOEngine
from upres.inference.graphs import Interface, LumaGraph
from upres.inference.quantize import quantize
from upres.inference.runtime import Compiled, core, core_count, has_bf16, has_int8
from upres.inference.upscaler import Upscaler
from upres.recipes import RECIPES

SCALE = 2
SIZE = (540, 960)
DEEP_SIZES = {"vdsr": (180, 320), "red": (180, 320), "lapsrn": (180, 320), "drrn": (68, 120), "drcn": (68, 120)}
PLOTTED = {
    "upres": "#0072b2",
    "upres int8": "#56b4e9",
    "eager": "#d55e00",
    "compiled": "#cc79a7",
    "onnxruntime": "#009e73",
    "opencv": "#e69f00",
    "dnn_superres": "#000000",
}  # colours that the colour-blind can tell apart (Okabe and Ito 2008)
PEERS = {"espcn": "ESPCN", "fsrcnn": "FSRCNN", "lapsrn": "LapSRN"}


@dataclass(frozen=True)
class Timing:
    """Median time of one network in one engine, and what follows from it."""

    network: str
    engine: str
    milliseconds: float
    megapixels_per_second: float
    gflops_per_second: float
    share_of_ceiling: float
    psnr: float | None = None


@dataclass(frozen=True)
class Subject:
    """A network to measure: its ONNX file, its module, and the luma that it enlarges."""

    name: str
    onnx: Path
    module: Any
    halo: int | None
    enlarges_first: bool
    y: NDArray[np.float32]
    flops: int

    @property
    def picture(self) -> NDArray[np.uint8]:
        return np.repeat((self.y[..., None] * 255).astype(np.uint8), 3, axis=2)


def subjects(names: list[str], folder: Path) -> Iterator[Subject]:
    import torch

    from upres.export import to_onnx
    from upres.networks import NETWORKS, enlarges_first
    from upres.weights import store

    for name in names:
        shipped = [record for record in upres.models() if (record.name, record.scale) == (name, SCALE)]
        if shipped:
            module, _ = store.load(shipped[0].safetensors, SCALE)
            onnx = shipped[0].onnx
        else:
            torch.manual_seed(0)
            module = NETWORKS[name](scale=SCALE, **RECIPES[name].arguments).eval()
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
            metadata = store.Metadata(
                network=name,
                arguments={"scale": SCALE},
                scale=SCALE,
                halos={SCALE: module.halo},
                parameters=0,
                recipe={},
                steps=0,
                seed=0,
                data="",
                commit="",
            )
            onnx = folder / f"{name}.onnx"
            onnx.write_bytes(to_onnx(module, metadata))
        size = DEEP_SIZES.get(name, SIZE)
        y = np.random.default_rng(0).random(size, np.float32)
        yield Subject(name, onnx, module.eval(), module.halo, enlarges_first(module), y, flops(module, size))


def flops(module: Any, size: tuple[int, int]) -> int:
    """Operations of a network as it is written, less what no engine should do: the fixed bicubic layer."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, 1, 32, 32))
    total = counter.get_total_flops()
    if getattr(module, "enlarge", None) is not None and hasattr(module.enlarge, "kernel"):
        total -= 2 * 32 * 32 * SCALE**2 * 25
    return total * size[0] * size[1] // 32**2


def fastest(candidates: list[Callable[[], Any]]) -> Callable[[], Any]:
    """Of several ways to do the same, the one that took the least in a short trial."""

    def trial(run: Callable[[], Any]) -> float:
        run()
        return min(seconds(run) for _ in range(2))

    return min(candidates, key=trial)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def torch_runs(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    import torch

    from upres.export import deployable
    from upres.networks import enlarges_first

    class Deployed(torch.nn.Module):
        """The deployable form, with the enlargement that it leaves out."""

        def __init__(self, network: Any) -> None:
            super().__init__()
            self.body = deployable(network)
            self.enlarge = network.enlarge if enlarges_first(network) else torch.nn.Identity()

        def forward(self, y: Any) -> Any:
            return self.body(self.enlarge(y))

    y = torch.from_numpy(subject.y)[None, None]
    last = torch.channels_last
    forms = [subject.module, Deployed(subject.module).eval()]

    def eager(module: Any, channels_last: bool, bf16: bool) -> Callable[[], Any]:
        import copy

        module = copy.deepcopy(module)
        if channels_last:
            module = module.to(memory_format=last)
        sample = y.contiguous(memory_format=last) if channels_last else y

        def run() -> Any:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return module(sample)

        return run

    for engine, bf16 in (("eager", False), ("eager bf16", True)):
        if not bf16 or has_bf16():
            yield (
                engine,
                fastest([eager(form, channels_last, bf16) for form in forms for channels_last in (False, True)]),
            )
    compiled = torch.compile(forms[1].to(memory_format=last))

    def run() -> Any:
        with torch.inference_mode():
            return compiled(y.contiguous(memory_format=last))

    try:
        run()
    except Exception as error:  # whatever a missing or a broken compiler raises
        print(f"{subject.name}: torch.compile failed ({type(error).__name__}), so it is left out")
    else:
        yield "compiled", run


def upres_runs(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    shipped = any((record.name, record.scale) == (subject.name, SCALE) for record in upres.models())

    def loaded(precision: Any) -> Any:
        if shipped:
            return upres.load(subject.name, SCALE, precision=precision)
        chosen = ("bf16" if has_bf16() else "f32") if precision == "auto" else precision

        def make(precision: Any) -> Engine:
            engine = OpenVINOEngine(subject.onnx, precision)
            return EnlargesFirst(engine, SCALE) if subject.enlarges_first else engine

        return Upscaler(make, name=subject.name, scale=SCALE, halo=subject.halo, precision=chosen, workers=core_count())

    automatic, f32 = loaded("auto"), loaded("f32")
    yield "upres", lambda: automatic.luma(subject.y)
    yield "upres f32", lambda: f32.luma(subject.y)
    if has_int8():
        int8 = loaded("int8")
        yield "upres int8", lambda: int8.luma(subject.y)
    yield "upres picture", lambda: automatic(subject.picture)


def openvino_runs(subject: Subject) -> Iterator[tuple[str, Callable[[], Any]]]:
    def as_exported(precision: Any) -> Callable[[], Any]:
        compiled = Compiled(core().read_model(str(subject.onnx)), precision, streams=1)
        return lambda: compiled(enlarged_input(subject)[None, None])

    yield "openvino f32", as_exported("f32")
    if has_bf16():
        yield "openvino bf16", as_exported("bf16")


def enlarged_input(subject: Subject) -> NDArray[np.float32]:
    return imresize(subject.y, SCALE) if subject.enlarges_first else subject.y


def other_runs(subject: Subject, peers: Path | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    if importlib.util.find_spec("onnxruntime"):
        session = OnnxRuntimeEngine(subject.onnx)
        yield "onnxruntime", lambda: session(enlarged_input(subject))
    if not importlib.util.find_spec("cv2"):
        return
    import cv2

    try:
        net = cv2.dnn.readNetFromONNX(str(subject.onnx))
        net.setInput(subject.y[None, None])
        net.forward()
    except cv2.error as error:
        print(f"{subject.name}: OpenCV cannot run the exported file: {str(error).strip().splitlines()[-1]}")
    else:

        def run() -> Any:
            net.setInput(enlarged_input(subject)[None, None])
            return net.forward()

        yield "opencv", run
    theirs = superres_model(subject.name, peers)
    if theirs is not None:
        yield "dnn_superres", lambda: theirs.upsample(subject.picture)


def floor_runs() -> Iterator[tuple[str, Callable[[], Any]]]:
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    width, height = SIZE[1] * SCALE, SIZE[0] * SCALE
    yield "upres", lambda: imresize(picture, SCALE)
    import pyvips

    image = pyvips.Image.new_from_array(picture)
    yield "libvips", lambda: image.resize(SCALE, kernel="cubic").numpy()
    if importlib.util.find_spec("cv2"):
        import cv2

        yield "opencv", lambda: cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    if importlib.util.find_spec("PIL"):
        from PIL import Image

        small = Image.fromarray(picture)
        yield "pillow", lambda: small.resize((width, height), Image.Resampling.BICUBIC)


def ceiling_runs(precision: Any) -> Iterator[tuple[int, Callable[[], Any]]]:
    """(operations, run) of large products that should go as fast as the processor can."""
    import openvino
    from openvino import opset13 as op

    rng = np.random.default_rng(0)
    for channels, side in ((64, 256), (128, 256), (256, 128)):
        x: Any = op.parameter([1, 1, -1, -1], np.float32)
        y: Any = op.convolution(x, weights(rng, channels, 1), [1, 1], [1, 1], [1, 1], [1, 1])
        for _ in range(8):
            y = op.relu(op.convolution(y, weights(rng, channels, channels), [1, 1], [1, 1], [1, 1], [1, 1]))
        y = op.reduce_mean(y, op.constant(np.array([1])), keep_dims=True)
        graph = LumaGraph(openvino.Model([y], [x]), Interface(scale=1, is_residual=False, values_per_pixel=0, work={}))
        if precision == "int8":
            quantize(graph)
        compiled = Compiled(graph.model, precision, streams=1)
        picture = rng.random((1, 1, side, side), np.float32)
        yield 2 * 9 * channels * channels * side * side * 8, lambda c=compiled, p=picture: c(p)
    if precision == "int8":
        return
    size = 2048
    x = op.parameter([size, size], np.float32)
    y = op.matmul(x, op.constant(rng.random((size, size), np.float32)), False, False)
    product = Compiled(openvino.Model([op.reduce_mean(y, op.constant(np.array([1])))], [x]), precision, streams=1)
    matrix = rng.random((size, size), np.float32)
    yield 2 * size**3, lambda: product(matrix)


def weights(rng: np.random.Generator, out: int, inputs: int) -> Any:
    from openvino import opset13 as op

    return op.constant((rng.standard_normal((out, inputs, 3, 3)) / (3 * inputs**0.5)).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(RECIPES), help="which")
    parser.add_argument("--peers", type=Path, help="the folder of OpenCV's models, FSRCNN_x2.pb and so on")
    parser.add_argument("--test-set", type=Path, help="a folder of test pictures, for the plot's PSNR")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything runs")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--plot", type=Path, help="draw PSNR over speed to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    show(result)
    write_record(arguments, result)
    if arguments.plot:
        plot(result, arguments.plot)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    precisions = ["f32", *["bf16"] * has_bf16(), *["int8"] * has_int8()]
    measured = list(subjects(arguments.networks, folder))
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    for subject in measured:
        for kind in (upres_runs, openvino_runs, torch_runs):
            runs |= {(subject.name, engine): run for engine, run in kind(subject)}
        runs |= {(subject.name, engine): run for engine, run in other_runs(subject, arguments.peers)}
    runs |= {("bicubic", engine): run for engine, run in floor_runs()}
    operations: dict[tuple[str, str], int] = {}
    for precision in precisions:
        for i, (count, run) in enumerate(ceiling_runs(precision)):
            runs["ceiling", f"{precision} {i}"] = run
            operations["ceiling", f"{precision} {i}"] = count
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for round_number in range(arguments.rounds + 1):
        for key in random.Random(round_number).sample(list(runs), len(runs)):
            elapsed = seconds(runs[key])
            if round_number:
                times[key].append(elapsed)
        print(f"round {round_number} of {arguments.rounds} is done", flush=True)
    medians = {key: statistics.median(values) for key, values in times.items()}
    ceiling = {
        precision: max(count / medians[key] / 1e9 for key, count in operations.items() if key[1].startswith(precision))
        for precision in precisions
    }
    by_name = {subject.name: subject for subject in measured}
    quality = {name: psnr_by_engine(by_name[name], arguments) for name in by_name} if arguments.test_set else {}
    timings = [
        timing(by_name[name], engine, median, ceiling, quality.get(name, {}))
        for (name, engine), median in medians.items()
        if name in by_name
    ]
    return {
        "threads": core_count(),
        "rounds": arguments.rounds,
        "ceiling_gflops_per_second": ceiling,
        "bicubic_milliseconds": {engine: medians[n, engine] * 1e3 for n, engine in medians if n == "bicubic"},
        "timings": [asdict(entry) for entry in timings],
    }


def psnr_by_engine(subject: Subject, arguments: argparse.Namespace) -> dict[str, float]:
    """PSNR in dB on the test set of what has weights; all engines that compute in float32 give the same."""
    from upres.evaluation.report import evaluate

    if (subject.name, SCALE) not in {(record.name, record.scale) for record in upres.models()}:
        return {}

    def score(enlarger: Any) -> float:
        return evaluate(enlarger, arguments.test_set, SCALE, "selfexsr", model="", with_ssim=False).psnr

    scores = dict.fromkeys(PLOTTED, score(upres.load(subject.name, SCALE, precision="f32")))
    scores["upres"] = score(upres.load(subject.name, SCALE))
    if has_int8():
        scores["upres int8"] = score(upres.load(subject.name, SCALE, precision="int8"))
    del scores["dnn_superres"]
    theirs = superres_model(subject.name, arguments.peers)
    if theirs is not None:
        scores["dnn_superres"] = score(BgrEnlarger(theirs))
    return scores


class BgrEnlarger:
    """OpenCV's upscaler, which takes BGR and one call at a time, as something that `evaluate` can score."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._one_at_a_time = threading.Lock()

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        raise NotImplementedError

    def __call__(self, picture: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        with self._one_at_a_time:
            return self._model.upsample(np.ascontiguousarray(picture[..., ::-1]))[..., ::-1]


def superres_model(name: str, peers: Path | None) -> Any | None:
    """OpenCV's own model of a network, where there is one and OpenCV was built with `dnn_superres`."""
    if peers is None or name not in PEERS or not importlib.util.find_spec("cv2"):
        return None
    import cv2

    if not hasattr(cv2, "dnn_superres"):
        return None
    model = cv2.dnn_superres.DnnSuperResImpl_create()
    model.readModel(str(peers / f"{PEERS[name]}_x{SCALE}.pb"))
    model.setModel(PEERS[name].lower(), SCALE)
    return model


def timing(
    subject: Subject, engine: str, median: float, ceiling: dict[str, float], quality: dict[str, float]
) -> Timing:
    automatic = "bf16" if engine in ("upres", "upres picture") and "bf16" in ceiling else "f32"
    precision = next((name for name in ceiling if name in engine), automatic)
    rate = subject.flops / median / 1e9
    return Timing(
        network=subject.name,
        engine=engine,
        milliseconds=median * 1e3,
        megapixels_per_second=subject.y.size * SCALE**2 / median / 1e6,
        gflops_per_second=rate,
        share_of_ceiling=rate / ceiling[precision],
        psnr=quality.get(engine),
    )


def show(result: dict[str, Any]) -> None:
    console = Console(width=140)
    console.print(f"ceiling, GFLOP/s: {result['ceiling_gflops_per_second']}; {result['threads']} threads")
    console.print(f"bicubic, ms: { {k: round(v, 1) for k, v in result['bicubic_milliseconds'].items()} }")
    by_key = {(entry["network"], entry["engine"]): entry for entry in result["timings"]}
    table = Table(title="milliseconds (how many times upres' time)", title_justify="left")
    engines = list(dict.fromkeys(engine for _, engine in by_key))
    for heading in ("network", *engines, "GFLOP/s", "of ceiling"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name in dict.fromkeys(network for network, _ in by_key):
        ours, picture = by_key[name, "upres"], by_key[name, "upres picture"]
        cells: list[str] = []
        for engine in engines:
            entry = by_key.get((name, engine))
            base = picture if engine == "dnn_superres" else ours
            ratio = f" ({entry['milliseconds'] / base['milliseconds']:.1f})" if entry else ""
            cells.append(f"{entry['milliseconds']:.0f}{ratio}" if entry else "–")
        table.add_row(name, *cells, f"{ours['gflops_per_second']:.0f}", f"{ours['share_of_ceiling']:.0%}")
    console.print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR over speed, a colour for each engine and the network's name at its dots."""
    import matplotlib.pyplot as plt

    entries = [entry for entry in result["timings"] if entry["psnr"] is not None and entry["engine"] in PLOTTED]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for engine, colour in PLOTTED.items():
        dots = [entry for entry in entries if entry["engine"] == engine]
        axes.scatter(
            [entry["megapixels_per_second"] for entry in dots],
            [entry["psnr"] for entry in dots],
            color=colour,
            label=engine,
            s=70 if engine == "upres" else 35,
            zorder=3 if engine == "upres" else 2,
        )
    for entry in entries:
        if entry["engine"] in ("upres", "dnn_superres"):
            place = (entry["megapixels_per_second"], entry["psnr"])
            axes.annotate(entry["network"], place, textcoords="offset points", xytext=(7, 5), fontsize=9)
    axes.set_xscale("log")
    axes.set_xlabel(f"megapixels a second (×2, {result['threads']} threads), logarithmic")
    axes.set_ylabel("PSNR in dB, Set5 ×2, from 8-bit file to 8-bit file")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
