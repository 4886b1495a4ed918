from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import upres

REPOSITORY = Path(__file__).parent.parent


def python(code, cwd=None):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=300)


def test_surface():
    assert sorted(upres.__all__) == [
        "DEFAULT_MODEL",
        "DataError",
        "MissingExtraError",
        "OutputError",
        "PictureError",
        "ScaleError",
        "UnknownModelError",
        "UpresError",
        "UsageError",
        "WeightsError",
        "evaluate",
        "load",
        "models",
        "upscale",
    ]
    assert upres.__version__ == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


HEAVY = "torch|lightning|openvino|pyvips|onnx|onnxruntime|skimage|scipy|safetensors|matplotlib"


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import upres", ""),
        ("import upres; upres.models()", ""),
        ("import upres.cli", ""),
        ("import upres, numpy; upres.upscale(numpy.zeros((4, 4), 'uint8'))", "openvino"),
        ("import upres.evaluation.report, upres.evaluation.tables, upres.evaluation.others", ""),
        ("import upres.training.loop, upres.recipes", "torch|lightning|scipy|matplotlib"),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code, allowed):
    done = python(f"{code}\nimport sys\nprint(sorted({{m.split('.')[0] for m in sys.modules}}))")
    assert done.returncode == 0, done.stderr
    loaded = set(ast.literal_eval(done.stdout)) & set(HEAVY.split("|"))
    assert loaded <= set(allowed.split("|"))


def test_nothing_is_reported_to_anybody(tmp_path):
    code = (
        "import socket\n"
        "def refuse(*arguments, **options): raise SystemExit(f'tried to reach {arguments}')\n"
        "socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import numpy, sys, upres\n"
        "upres.upscale(numpy.zeros((8, 8), 'uint8'))\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_training_imports_neither_openvino_nor_libvips():
    code = (
        "import sys; sys.modules['openvino'] = sys.modules['pyvips'] = None\n"
        "import upres.cli, upres.training.loop, upres.recipes, upres.export, upres.data.pack"
    )
    assert python(code).returncode == 0


def test_lines_stay_short_enough_to_be_read():
    assert len((REPOSITORY / "CONTRIBUTING.md").read_text().splitlines()) <= 60


def readme_blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


def test_readme_python_runs(tmp_path):
    blocks = readme_blocks("python")
    assert blocks
    for block in blocks:
        (tmp_path / "photo.jpg").write_bytes((REPOSITORY / "examples" / "cat.jpg").read_bytes())
        done = python(block, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_readme_commands_exist():
    done = subprocess.run([sys.executable, "-m", "upres", "--help"], capture_output=True, text=True, timeout=60)
    commands = {
        line.split()[1] for block in readme_blocks("sh") for line in block.splitlines() if line.startswith("upres ")
    }
    assert commands
    for command in commands:
        assert re.search(rf"\b{command}\b", done.stdout)
