"""OpenVINO as upres uses it: one core without telemetry, and compiled models that threads can share."""

from __future__ import annotations

import math
import os
import platform
import queue
import re
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError

T = TypeVar("T")
Precision = Literal["f32", "bf16", "int8"]

# OpenVINO's Python binding sets itself up on first use under locks that it holds while it waits for the interpreter:
# two threads that compile their first model, or run one for the first time, wait for each other for ever.
FIRST_USE = threading.RLock()
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_CPU_INFO = Path("/proc/cpuinfo")


def core() -> Any:
    """OpenVINO's core.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    with FIRST_USE:
        return _made_core()


@lru_cache(maxsize=1)
def _made_core() -> Any:
    modules: dict[str, Any] = sys.modules
    modules.setdefault(
        "openvino_telemetry", None
    )  # it would report each use to Google Analytics; OpenVINO does without
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", None) from error
    return openvino.Core()


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_int8() -> bool:
    """Whether OpenVINO computes in 8 bits on this processor."""
    return "INT8" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=1)
def processor_features() -> frozenset[str]:
    """What Linux says that the processor has, as `avx2` and `amx_bf16`; nothing on other systems."""
    text = _CPU_INFO.read_text(encoding="utf-8") if _CPU_INFO.exists() else ""
    lists = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)  # of each core; the rest may change
    return frozenset(" ".join(lists).split())


def is_x86_without_avx512() -> bool:
    """Whether the processor is such a one; outside Linux, which alone says so, any x86 is taken for one."""
    return _is_x86() and "avx512f" not in processor_features()


def is_x86_without_dot_products() -> bool:
    """Whether the processor is an x86 that multiplies bytes and adds the products step by step.

    Outside Linux, which alone says so, any x86 is taken for one.
    """
    return _is_x86() and not {"avx_vnni", "avx512_vnni", "amx_int8"} & processor_features()


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


@lru_cache(maxsize=1)
def core_count() -> int:
    """Processor cores that this process may use: those that it may run on, or fewer if its container's share is less.

    A process that starts a thread on each core of a machine, but may use the time of two, is stopped most of the time.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Cores that a Linux container may use the time of, by version 2 or 1 of control groups; else infinity."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((_CONTROL_GROUP / name).read_text(encoding="ascii") for name in files)
            quota, period = map(int, words.split())
            if quota > 0:
                return quota / period
        except (OSError, ValueError, ZeroDivisionError):  # absent, unreadable, or `max`
            continue
    return math.inf


class Compiled:
    """A model compiled for the CPU; as many calls as it has streams run at once, further threads wait.

    Args:
        model: an `openvino.Model` with one output, or what `exported` gave of it. One whose shapes are free prepares
            for each shape when it first comes.
        precision: of the arithmetic; for int8, which the model itself has to ask for, of what it leaves in floating
            point: bf16 where the processor has it.
        streams: calls at once; each has an equal share of the cores.

    Raises:
        RuntimeError: bytes that this OpenVINO did not export.
    """

    def __init__(self, model: Any, precision: Precision, *, streams: int) -> None:
        floating = ("bf16" if has_bf16() else "f32") if precision == "int8" else precision
        options = {
            "INFERENCE_PRECISION_HINT": floating,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": core_count(),
        }
        make = core().import_model if isinstance(model, bytes) else core().compile_model
        self._model = make(BytesIO(model) if isinstance(model, bytes) else model, "CPU", options)
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(streams):
            self._idle.put(self._model.create_infer_request())

    def exported(self) -> bytes:
        """The compiled model, for another process of the same processor and OpenVINO."""
        stream = BytesIO()
        self._model.export_model(stream)
        return stream.getvalue()

    def __call__(self, *inputs: NDArray[Any], take: Callable[[NDArray[Any]], T] = np.array) -> T:
        """Run the model.

        Args:
            inputs: of the model.
            take: makes what is returned of the result, whose memory the next run writes over: a copy if not given.
        """
        request = self._idle.get()
        try:
            return take(request.infer(dict(enumerate(inputs)), share_inputs=True, share_outputs=True)[0])
        finally:
            self._idle.put(request)
