from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from upres.inference import caching

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes each, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; --slow runs it"))


@pytest.fixture(scope="session", autouse=True)
def _compiled_models_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own are left alone, and those that the tests find were compiled by the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(caching.VARIABLE, str(tmp_path_factory.mktemp("compiled")))
        yield


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
