from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from upres.inference import caching, engines, graphs, runtime
from upres.inference.engines import OpenVINOEngine
from upres.inference.runtime import has_bf16, has_int8
from upres.weights import catalog

Y = np.random.default_rng(0).random((40, 50), np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(caching.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def _onnx(name, scale=2):
    return str(catalog.find(name, scale).onnx)


def _is_whole(path):
    content = path.read_bytes()
    return hashlib.blake2b(content[32:], digest_size=32).digest() == content[:32]


@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
@pytest.mark.parametrize("name", ["fsrcnn", "vdsr", "lapsrn"])
def test_the_next_engine_neither_reads_nor_compiles_and_is_the_same(name, precision, monkeypatch):
    if (precision == "bf16" and not has_bf16()) or (precision == "int8" and not has_int8()):
        pytest.skip(f"this processor has no {precision}")
    first = OpenVINOEngine(_onnx(name), precision, workers=1)
    residual, whole = first.residual(Y), first(Y)

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(graphs, "prepare", refuse)
    monkeypatch.setattr(engines, "quantize", refuse)
    second = OpenVINOEngine(_onnx(name), precision, workers=1)
    assert second.bytes_per_pixel == first.bytes_per_pixel
    assert second.cost(300, 413) == first.cost(300, 413)
    np.testing.assert_array_equal(second.residual(Y), residual)
    np.testing.assert_array_equal(second(Y), whole)


def test_weights_streams_and_precisions_have_their_own_entries(folder):
    made = [("fsrcnn", "f32", 1), ("fsrcnn", "f32", 2), ("espcn", "f32", 1)]
    made += [("fsrcnn", "bf16", 1)] if has_bf16() else []
    for name, precision, workers in made:
        OpenVINOEngine(_onnx(name), precision, workers=workers)(Y)
    assert len(list(folder.iterdir())) == len(made)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9] + b"\0" * 9])
def test_a_damaged_entry_is_as_good_as_none(damage, folder):
    expected = OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y), expected)
    assert _is_whole(path)


def test_what_openvino_cannot_read_is_compiled_again(folder):
    expected = OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y)
    (path,) = folder.iterdir()
    facts = path.read_bytes()[32:].partition(b"\n")[0] + b"\nof another OpenVINO"
    path.write_bytes(hashlib.blake2b(facts, digest_size=32).digest() + facts)
    np.testing.assert_array_equal(OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y), expected)
    assert b"of another OpenVINO" not in path.read_bytes()


def test_what_was_not_used_for_longest_makes_room(folder, monkeypatch):
    for age, name in ((300, "espcn"), (200, "fsrcnn"), (100, "fsrcnn-s")):
        before = set(folder.iterdir()) if folder.exists() else set()
        OpenVINOEngine(_onnx(name), workers=1)(Y)
        (added,) = set(folder.iterdir()) - before
        then = added.stat().st_mtime - age
        os.utime(added, (then, then))
    OpenVINOEngine(_onnx("espcn"), workers=1)(Y)  # used again
    entries = caching.entries()
    espcn, _, fsrcnn = (path for path, _ in entries)
    monkeypatch.setattr(caching, "MOST_BYTES", sum(size for _, size in entries))
    OpenVINOEngine(_onnx("espcn"), workers=2)(Y)
    assert espcn.exists()
    assert not fsrcnn.exists()
    assert sum(size for _, size in caching.entries()) <= caching.MOST_BYTES


def test_processes_that_write_at_once_leave_one_whole_entry(folder):
    code = (
        "import sys, hashlib, numpy as np; from upres.inference.engines import OpenVINOEngine;"
        "y = np.random.default_rng(0).random((40, 50), np.float32);"
        "print(hashlib.sha256(OpenVINOEngine(sys.argv[1], workers=1)(y).tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", code, _onnx("fsrcnn")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(printed) == 1
    (path,) = folder.iterdir()
    assert _is_whole(path)


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for unusable in (tmp_path / "file" / "cache", tmp_path / ("x" * 300)):
        monkeypatch.setenv(caching.VARIABLE, str(unusable))
        assert OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y).shape == (80, 100)
        assert caching.entries() == []


def test_an_empty_name_keeps_nothing(folder, monkeypatch):
    monkeypatch.setenv(caching.VARIABLE, "")
    OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y)
    assert not folder.exists()
    assert caching.entries() == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other variables")
def test_without_a_name_it_is_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(caching.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caching.folder() == tmp_path / "upres"


def test_a_processor_is_known_again_at_another_speed(tmp_path, monkeypatch):
    described = []
    for speed in (2000.0, 1999.871):
        path = tmp_path / f"{speed}"
        path.write_text(f"model name\t: Some\ncpu MHz\t\t: {speed}\nflags\t\t: avx2 amx_tile\nbugs\t: spectre\n")
        monkeypatch.setattr(runtime, "_CPU_INFO", path)
        described.append(runtime.processor_features.__wrapped__())
    assert described == [{"avx2", "amx_tile"}] * 2


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    monkeypatch.delenv(caching.VARIABLE)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: Path("~/.cache/upres"))
    assert caching.folder() is None


def test_a_model_whose_weights_lie_elsewhere_is_not_kept(tmp_path, folder):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(_onnx("fsrcnn"))
    path = tmp_path / "parted.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    np.testing.assert_array_equal(OpenVINOEngine(path, workers=1)(Y), OpenVINOEngine(_onnx("fsrcnn"), workers=1)(Y))
    assert len(list(folder.iterdir())) == 1
