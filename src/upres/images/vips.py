"""libvips, through pyvips, made ready on first use."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

from upres.errors import MissingExtraError

_LOADING = threading.Lock()


def module() -> Any:
    """pyvips.

    Raises:
        MissingExtraError: it is not installed.
    """
    with _LOADING:  # `cache` alone lets two threads in at first
        return _loaded()


@cache
def _loaded() -> Any:
    """pyvips, without its way of handing libvips' warnings to Python's logging.

    There Python may collect an image as garbage that libvips warns of as it closes it, and GLib ends a process that
    warns while it warns. `VIPS_WARNING` has libvips drop them.
    """
    os.environ.setdefault("VIPS_WARNING", "0")
    try:
        import pyvips  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("pyvips", None) from error
    pyvips._remove_log_handler()  # pyright: ignore[reportUnknownMemberType,reportPrivateUsage]
    return pyvips


def reason(error: BaseException, *, otherwise: str = "no reason given") -> str:
    """The last line of what libvips says: the nearest to the cause."""
    lines = [line.strip() for line in str(getattr(error, "detail", error)).splitlines() if line.strip()]
    return lines[-1] if lines else otherwise
