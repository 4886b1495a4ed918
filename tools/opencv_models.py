"""Why OpenCV's dnn_superres models fall short of their papers: each suspect tried by itself, on Set5.

    python tools/opencv_models.py --shared ../shared                          # a minute
    python tools/opencv_models.py --shared ../shared --pack pictures.pack     # also trains ours on either kernel

Every score is the `paper` protocol's, but for the one thing that its line names.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate, correlate1d, shift

import upres
from upres.evaluation import metrics, others, protocol
from upres.images import colour
from upres.images.resize import imresize

Plane = NDArray[np.float64]
_SHIFTS = (-0.5, -0.25, 0.25, 0.5)
_SIDE = 7  # of the filter that makes one kernel's picture into the other's
_STEPS = 4_000


def antialiased(luma: Plane, scale: int) -> Plane:
    """MATLAB's reduction, which the papers used."""
    return imresize(luma, 1 / scale)


def opencv_cubic(luma: Plane, scale: int) -> Plane:
    """`cv2.resize(…, interpolation=cv2.INTER_CUBIC)`: four pixels (a = −0.75), however much the picture shrinks."""
    for axis in (0, 1):
        if scale % 2 == 0:  # between two pixels; on one, the kernel is 1 there and 0 elsewhere
            luma = correlate1d(luma, [-0.09375, 0.59375, 0.59375, -0.09375], axis=axis, mode="nearest")
        luma = luma.take(range(scale // 2, luma.shape[axis], scale), axis=axis)
    return luma


def main() -> None:
    """Print a table for each scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="holds data/test/set5, data/train/t91, peers/opencv")
    parser.add_argument("--pack", type=Path, help="training pictures, for the last two lines")
    arguments = parser.parse_args()
    for scale in (2, 3, 4):
        files = {
            name: arguments.shared / "peers" / "opencv" / f"{name}_x{scale}.pb"
            for name in ("FSRCNN", "ESPCN", "LapSRN")
        }
        networks = {n: others.find(str(f), scale).enlarger.luma for n, f in files.items() if f.exists()}
        print_table(networks, arguments.shared / "data", scale)
    if arguments.pack is not None:
        print("\n| ×2, dB | reduced by MATLAB's | by OpenCV's cubic |\n|---|---:|---:|")
        for kernel in (antialiased, opencv_cubic):
            network = trained_on(kernel, arguments.pack)
            pictures = lumas(arguments.shared / "data" / "test" / "set5", 2)
            scores = " | ".join(f"{score(network, pictures, 2, low):.2f}" for low in (antialiased, opencv_cubic))
            print(f"| our FSRCNN ×2, {_STEPS:,} steps on {kernel.__name__} | {scores} |")


def print_table(networks: dict[str, Callable[[Plane], NDArray[Any]]], data: Path, scale: int) -> None:
    """One line a suspect, one column a network, and bicubic where it makes sense."""
    pictures = lumas(data / "test" / "set5", scale)
    swapped = lumas(data / "test" / "set5", scale, order=(2, 1, 0))
    sharpen = filter_between(data / "train" / "t91", scale)
    suspects: dict[str, Callable[[Callable[[Plane], NDArray[Any]]], float]] = {
        "as it is": lambda f: score(f, pictures, scale),
        "best of 24 shifts by up to ½ pixel": lambda f: max(
            score(shifted(f, d), pictures, scale) for d in all_shifts()
        ),
        "16–235 stretched to 0–255": lambda f: score(stretched(f), pictures, scale),
        "values in 0–255, not in 0–1": lambda f: score(lambda y: f(255 * y) / 255, pictures, scale),
        "input rounded to 8 bits": lambda f: score(f, pictures, scale, lambda y, s: np.round(antialiased(y, s))),
        "red and blue exchanged": lambda f: score(f, swapped, scale),
        "border of 16 pixels left out": lambda f: score(f, pictures, scale, border=16),
        "reduced by OpenCV's cubic": lambda f: score(f, pictures, scale, opencv_cubic),
        "reduced by MATLAB's, then one 7×7 filter": lambda f: score(
            f, pictures, scale, lambda y, s: correlate(antialiased(y, s), sharpen, mode="mirror")
        ),
    }
    tried = {"bicubic": lambda y: imresize(y, scale)} | networks
    print(f"\n| ×{scale}, dB | {' | '.join(tried)} |\n|---|{'---:|' * len(tried)}")
    for name, suspect in suspects.items():
        print(f"| {name} | {' | '.join(f'{suspect(network):.2f}' for network in tried.values())} |")


def lumas(folder: Path, scale: int, order: tuple[int, ...] = (0, 1, 2)) -> list[Plane]:
    """Luma of 0–255, cropped to a multiple of the scale."""
    found: list[Plane] = []
    for file in protocol.picture_files(folder):
        pixels = protocol.read_picture(file)
        luma = colour.to_uint8(colour.luma(pixels[..., order] if pixels.ndim == 3 else pixels)).astype(np.float64)
        found.append(luma[: luma.shape[0] // scale * scale, : luma.shape[1] // scale * scale])
    return found


def score(
    network: Callable[[Plane], NDArray[Any]],
    pictures: list[Plane],
    scale: int,
    reduce: Callable[[Plane, int], Plane] = antialiased,
    *,
    border: int | None = None,
) -> float:
    """Mean PSNR in dB; the border is as wide as the scale if not given."""
    inside = (slice(border or scale, -(border or scale)),) * 2
    results = (colour.to_uint8(network(reduce(y, scale) / 255).astype(np.float64) * 255) for y in pictures)
    return fmean(metrics.psnr(result[inside], y[inside]) for result, y in zip(results, pictures, strict=True))


def all_shifts() -> list[tuple[float, float]]:
    """All pairs of quarter pixels but (0, 0)."""
    steps = (*_SHIFTS, 0.0)
    return [(dy, dx) for dy in steps for dx in steps if (dy, dx) != (0, 0)]


def shifted(network: Callable[[Plane], NDArray[Any]], by: tuple[float, float]) -> Callable[[Plane], NDArray[Any]]:
    """The network's result, moved."""
    return lambda y: shift(network(y).astype(np.float64), by, order=3, mode="nearest")


def stretched(network: Callable[[Plane], NDArray[Any]]) -> Callable[[Plane], NDArray[Any]]:
    """The network on luma whose black is 0 and whose white is 1, as OpenCV's own call gives it."""
    return lambda y: (network((255 * y - 16) / 219) * 219 + 16) / 255


def filter_between(folder: Path, scale: int) -> Plane:
    """The filter that comes nearest to making `antialiased` into `opencv_cubic`, by least squares over pictures."""
    half = _SIDE // 2
    normal, right = np.zeros((_SIDE**2, _SIDE**2)), np.zeros(_SIDE**2)
    for luma in lumas(folder, scale):
        low = antialiased(luma, scale)
        if min(low.shape) <= _SIDE:
            continue
        around = np.lib.stride_tricks.sliding_window_view(low, (_SIDE, _SIDE)).reshape(-1, _SIDE**2)
        normal += around.T @ around
        right += around.T @ opencv_cubic(luma, scale)[half:-half, half:-half].ravel()
    return np.linalg.solve(normal, right).reshape(_SIDE, _SIDE)


def trained_on(kernel: Callable[[Plane, int], Plane], pack: Path) -> Callable[[Plane], NDArray[Any]]:
    """Our FSRCNN ×2 after a short training on pictures reduced by a kernel."""
    from upres.data import patches
    from upres.data.pack import read_pack
    from upres.recipes import RECIPES
    from upres.training import loop

    patches.DEGRADATIONS["bicubic"] = lambda plane, scale: kernel(plane / 255.0, scale).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        loop.train(RECIPES["fsrcnn"].at_scale(2).with_steps(_STEPS), read_pack(pack), Path(folder))
        return upres.load(Path(folder) / "fsrcnn-x2.safetensors", 2, precision="f32").luma


if __name__ == "__main__":
    main()
