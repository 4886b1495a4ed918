"""Where a number comes from: the source, the versions and the machine that made it."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import upres

_PACKAGES = ("numpy", "openvino")


@dataclass(frozen=True)
class Provenance:
    """What every stored result says about its making.

    Attributes:
        upres: version.
        commit: of the running source; see `commit`.
        date: in UTC, as YYYY-MM-DD.
        processor: its model's name.
        cores: how many it has.
        versions: of Python and of the packages that computed.
    """

    upres: str
    commit: str
    date: str
    processor: str
    cores: int
    versions: dict[str, str]


def here() -> Provenance:
    """Of whatever this process computes now."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return Provenance(
        upres=upres.__version__,
        commit=commit(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        versions={"python": platform.python_version()} | versions,
    )


def commit() -> str:
    """The commit of the running source, `+` for uncommitted changes, `unknown` outside a checkout."""
    package = Path(__file__).parents[1]
    git = ["git", "-C", str(package)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", str(package)], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changes)


def _processor() -> str:
    """The model's name, with family and number where Linux tells them: cloud machines often hide the name."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor()
    first = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0]
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name']}, family {fields.get('cpu family')} model {fields.get('model')}"
