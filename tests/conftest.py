from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test sets and reference files, which is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: the test sets and MATLAB's files are needed")
    return SHARED


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """The example photo, `(300, 451, 3)`."""
    from upres.images import io

    return io.read(REPOSITORY / "examples" / "cat.jpg").pixels
