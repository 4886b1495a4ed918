"""Measure the core install: size of site-packages, and what `import upres` costs beyond `import numpy`.

    python benchmarks/install.py [--json benchmarks/results/install-DATE.json]

Makes a new virtual environment and installs this checkout into it without extras.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import record_arguments, write_record

REPOSITORY = Path(__file__).parent.parent


def seconds(python: Path, code: str) -> float:
    """Time of a statement in a fresh process, the interpreter's own start not counted."""
    program = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    return float(subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    arguments = record_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", "constraints.txt", "."], cwd=REPOSITORY, check=True)
        (site_packages,) = Path(folder).glob("lib/python*/site-packages")
        size = sum(path.stat().st_blocks * 512 for path in site_packages.rglob("*") if path.is_file()) / 1e6
        has_torch = (site_packages / "torch").exists()
        numpy_s, upres_s = [], []
        for _ in range(11):
            numpy_s.append(seconds(python, "import numpy"))
            upres_s.append(seconds(python, "import upres"))
    result = {
        "site_packages_mb": round(size, 1),
        "torch_installed": has_torch,
        "import_numpy_s": statistics.median(numpy_s),
        "import_upres_s": statistics.median(upres_s),
    }
    print(result)
    write_record(arguments, {"benchmark": "install"} | result)


if __name__ == "__main__":
    main()
