"""`upres doctor`: what this machine has, what upres makes of it, and how fast that is."""

from __future__ import annotations

import platform
import time
from typing import Any

import upres

_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
)
_ENGINES = {"openvino": None, "onnxruntime": "onnxruntime", "torch": "train"}
_TEST_SIZE = (540, 960)
_TEST_SECONDS = 1.2


def doctor() -> None:
    """Print what this machine has, what upres makes of it, its speed."""
    from upres.inference.enlarging import free_memory
    from upres.inference.runtime import core, core_count, has_int8

    print(f"upres {upres.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print(f"processor: {core().get_property('CPU', 'FULL_DEVICE_NAME')}, {core_count()} of its cores for this process")
    print(f"  it has: {', '.join(_features()) or 'nothing that Linux would tell'}")
    print(f"  OpenVINO uses: {', '.join(sorted(core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')))}")
    print(f"memory: {free_memory() / 1e9:.1f} GB by default, half of what is free")
    for package, extra in _ENGINES.items():
        print(f"engine {package}: {_version(package, extra)}")
    print(f"pictures: libvips {_libvips()}")
    default: Any = upres.load(upres.DEFAULT_MODEL, 2)
    print(f"by default: {default.explain()}")
    print(f"compiled networks: {_kept()}")
    print(f"speed of networks alone, ×2 of {_TEST_SIZE[1]}×{_TEST_SIZE[0]}, in megapixels of the result a second:")
    tested: list[Any] = [default, upres.load("espcn", 2)]
    if default.precision != "f32":
        tested.insert(1, upres.load(upres.DEFAULT_MODEL, 2, precision="f32"))
    if has_int8():
        tested.append(upres.load("espcn", 2, precision="int8"))
    for upscaler in tested:
        print(f"  {upscaler.name}, {upscaler.precision}: {_megapixels_per_second(upscaler):.1f}")


def _features() -> list[str]:
    """The processor's features that networks profit from, where Linux lists them."""
    from upres.inference.runtime import processor_features

    return [feature for feature in _FEATURES if feature in processor_features()]


def _kept() -> str:
    from upres.inference import caching

    folder = caching.folder()
    if folder is None:
        return "not kept, as UPRES_CACHE is empty or there is no home"
    total = sum(size for _, size in caching.entries()) / 1e6
    return f"{total:.1f} MB of at most {caching.MOST_BYTES / 1e6:.0f} in {folder}"


def _version(package: str, extra: str | None) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"not installed; pip install 'upres[{extra}]'" if extra else "not installed; install upres again"


def _libvips() -> str:
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

    return ".".join(str(pyvips.version(part)) for part in range(3))


def _megapixels_per_second(upscaler: Any) -> float:
    """The fastest of the runs that fit into a second or so."""
    import numpy as np

    y = np.random.default_rng(0).random(_TEST_SIZE, np.float32)
    upscaler.luma(y)
    fastest, end = float("inf"), time.perf_counter() + _TEST_SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        upscaler.luma(y)
        fastest = min(fastest, time.perf_counter() - started)
    return y.size * upscaler.scale**2 / fastest / 1e6
