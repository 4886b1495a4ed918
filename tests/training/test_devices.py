"""Several processes train as one does, on one machine and on two that share a network address."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys

import pytest

from upres.data.pack import Pack, write_pack

STEPS = 40

RECIPE = f"""
from upres.training.recipe import Recipe
RECIPE = Recipe(
    network="drrn", scale=2, more_scales=(3,), arguments={{"units": 2, "channels": 8, "batch_norm": False}},
    growth=((0, 1), (20, 2)), steps={STEPS}, batch=4, patch=6, warmup=4, held_out=1, validate_every=10, precision="f32",
)
"""

SINGLE_SCALE = f"""
from upres.training.recipe import Recipe
RECIPE = Recipe(
    network="espcn", scale=2, arguments={{"residual": True}}, steps={STEPS}, batch=4, patch=6, warmup=4, held_out=1,
    validate_every=10, precision="f32", optimizer="sgd", learning_rate=1e-1, expansion=2,
)
"""


@pytest.fixture
def folder(tmp_path, photo):
    planes = tuple(photo[y : y + 60, x : x + 70, 1].copy() for y in (0, 100) for x in (0, 150))
    write_pack(Pack(tuple("abcd"), planes, digest="cat"), tmp_path / "cat.pack")
    (tmp_path / "recipe.py").write_text(RECIPE)
    return tmp_path


def start(folder, name, *options, **environment):
    command = [sys.executable, "-m", "upres", "train", str(folder / "recipe.py"), "--data", str(folder / "cat.pack")]
    command += ["--device", "cpu", "--no-compile", "--out", str(folder / name), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"} | environment
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # its own processes end with it
    )


def finish(*processes):
    for process in processes:
        try:
            output, _ = process.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            for each in processes:
                os.killpg(each.pid, signal.SIGABRT)
            outputs = "\n".join(each.communicate()[0] for each in processes)
            pytest.fail(f"they were here, and not done after 200 s:\n{outputs}")
        assert process.returncode == 0, output
    return output


def curve(folder, name):
    with (folder / name / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(2, STEPS + 1, 2))
    assert [int(row["step"]) for row in rows if row["psnr"]] == list(range(10, STEPS + 1, 10))
    return [float(row[column]) for row in rows for column in ("loss", "psnr") if row[column]]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_two_processes_follow_the_curve_of_one_with_twice_the_batch_each(folder):
    finish(start(folder, "one"))
    output = finish(start(folder, "two", "--devices", "2"))
    assert output.count("step 10:") == 1  # one process speaks
    port = free_port()
    finish(
        *(
            start(folder, "machines", "--nodes", "2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK=rank)
            for rank in "01"
        )
    )
    alone = curve(folder, "one")
    assert curve(folder, "two") == pytest.approx(alone, rel=1e-5)
    assert curve(folder, "machines") == pytest.approx(alone, rel=1e-5)
    for name in ("one", "two", "machines"):
        assert (folder / name / "drrn.safetensors").exists()
        assert (folder / name / "drrn.onnx").exists()


def test_two_processes_share_a_network_of_a_single_buffer_and_its_factors(folder):
    (folder / "recipe.py").write_text(SINGLE_SCALE)
    finish(start(folder, "one"))
    finish(start(folder, "two", "--devices", "2"))
    assert curve(folder, "two") == pytest.approx(curve(folder, "one"), rel=1e-5)


@pytest.mark.parametrize(("learning_rate", "code"), [(1e-1, 0), (1e30, 1)], ids=["done", "diverged"])
def test_nothing_of_the_network_outlives_its_group(folder, learning_rate, code):
    """Else that network's end waits, now and then, for a thread of the group that waits for it."""
    watching = """
import gc, torch
from torch.nn.parallel import DistributedDataParallel

leave = torch.distributed.destroy_process_group
def leave_if_alone():
    print("networks:", sum(isinstance(each, DistributedDataParallel) for each in gc.get_objects()))
    leave()
torch.distributed.destroy_process_group = leave_if_alone
"""
    (folder / "recipe.py").write_text(SINGLE_SCALE.replace("1e-1", str(learning_rate)) + watching)
    process = start(folder, "watched", "--devices", "2")
    output, _ = process.communicate(timeout=200)
    assert output.count("networks: 0") == 2, output
    assert process.returncode == code


def test_machines_that_do_not_know_each_other_are_told_how(folder):
    process = start(folder, "alone", "--nodes", "2")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "set MASTER_ADDR, MASTER_PORT and NODE_RANK" in output
