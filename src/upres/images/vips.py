"""libvips, through pyvips, made ready on first use."""

from __future__ import annotations

import os
import re
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


def is_cause(error: BaseException) -> bool:
    """Whether an error was raised from one of libvips."""
    return error.__cause__ is not None and isinstance(error.__cause__, module().Error)


def reason(error: BaseException, *, otherwise: str = "no reason given") -> str:
    """The last line of what libvips says, the nearest to the cause; with the one before if it is but a number."""
    lines = [line.strip() for line in str(getattr(error, "detail", error)).splitlines() if line.strip()]
    if len(lines) > 1 and not re.search("[a-z]", lines[-1]):
        lines[-1] = f"{lines[-2]} {lines[-1]}"
    return lines[-1] if lines else otherwise
