from __future__ import annotations

import sys
import tracemalloc
from contextlib import contextmanager

import pytest


@pytest.fixture
def file_size_limit():
    """A context in which no file can grow beyond a number of bytes: the error of a full disk, from the system."""
    if sys.platform == "win32":
        pytest.skip("needs RLIMIT_FSIZE")
    import resource

    @contextmanager
    def limit(most):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def peak_memory():
    """A function that calls another and returns the bytes it has allocated at most, NumPy's included."""

    def peak(function):
        tracemalloc.start()
        try:
            function()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return peak
