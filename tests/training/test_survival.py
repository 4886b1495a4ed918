"""Runs that are killed, interrupted, or out of disk end with the very weights of a run that was left alone.

The killed processes are forks of one that has imported PyTorch, which is what most of a start costs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from upres.data.pack import Pack, write_pack
from upres.images import io
from upres.images.io import Picture
from upres.training import checkpoint
from upres.weights import store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KILLS = 20

RECIPE = """
from upres.training.recipe import Recipe
RECIPE = Recipe(
    network="fsrcnn", scale=2, arguments={"d": 6, "s": 3, "m": 1}, steps=600, batch=2, patch=6, warmup=4, settle=20,
    held_out=1, validate_every=100, optimizer="soap", schedule="cosine",
)
"""

# Each function is a process: it ends by itself, or is killed.
SCRIPT = """
import os, random, resource, runpy, signal, sys, time
from pathlib import Path
import torch
from upres.data.pack import read_pack
from upres.errors import OutputError
from upres.training import checkpoint, loop
torch.set_num_threads(1)
folder = Path(sys.argv[1])
recipe = runpy.run_path(str(folder / "recipe.py"))["RECIPE"]

def run(out, **options):
    resume = bool(checkpoint.find(out)) or any(out.glob("*.safetensors"))
    loop.train(recipe, read_pack(folder / "cat.pack"), out, resume=resume, accelerator="cpu", compile=False, **options)

def forked(function, *arguments, kill_after=None, **options):
    child = os.fork()
    if child == 0:
        try:
            function(*arguments, **options)
        except BaseException as error:
            print("child:", type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """Holds data, recipe, and `alone`, the run that nothing happens to."""
    folder = tmp_path_factory.mktemp("runs")
    planes = tuple(photo[y : y + 60, x : x + 70, 1].copy() for y in (0, 100) for x in (0, 150))
    write_pack(Pack(tuple("abcd"), planes, digest="cat"), folder / "cat.pack")
    (folder / "recipe.py").write_text(RECIPE)
    script(folder, 'assert forked(run, folder / "alone") == 0')
    return folder


def script(folder: Path, body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT + body, str(folder)], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def weights(folder: Path, run: str) -> dict[str, bytes]:
    network, metadata = store.load(folder / run / "fsrcnn-x2.safetensors")
    assert metadata.steps == 600
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def test_killed_at_random_moments(folder):
    output = script(
        folder,
        f"""
moments = random.Random(0)
kills = finished = code = 0
while kills < {KILLS} or code != 0:  # a run begun after the first had ended is brought to its end, too
    out = folder / f"killed-{{finished}}"
    moment = moments.uniform(0.05, 0.6) if kills < {KILLS} else None
    code = forked(run, out, kill_after=moment, report_every=1, checkpoint_seconds=0)
    assert code in (0, -signal.SIGKILL), code
    kills += code == -signal.SIGKILL
    finished += code == 0
print(kills, "kills,", finished, "runs finished")
""",
    )
    print(output)
    assert output.startswith(f"{KILLS} kills, ")
    for out in folder.glob("killed-*"):
        assert weights(folder, out.name) == weights(folder, "alone")
        assert not [path.name for path in out.iterdir() if path.name.startswith((".upres", "checkpoint"))]


@pytest.mark.parametrize("moment", ["half of it written", "written, not yet in place"])
def test_killed_while_a_checkpoint_is_written(folder, moment):
    body = """
def die_in_fsync(count, half):
    fsync, calls = os.fsync, 0
    def dying(descriptor):
        nonlocal calls
        calls += 1
        if calls == count:
            if half:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)
    os.fsync = dying
    run(folder / NAME)

for count in (1, 3, 2):  # before there is any checkpoint, and with one or two there
    assert forked(die_in_fsync, count, HALF) == -signal.SIGKILL
    left = [path for path in (folder / NAME).iterdir() if path.name.startswith(".upres-")]
    assert len(left) == 1, left
assert forked(run, folder / NAME) == 0
"""
    script(folder, body.replace("HALF", str(moment.startswith("half"))).replace("NAME", repr(moment)))
    assert weights(folder, moment) == weights(folder, "alone")


def test_a_damaged_checkpoint_is_passed_over(folder):
    output = script(
        folder,
        """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
def stop_late(report):
    if report.step == 400:
        os.kill(os.getpid(), signal.SIGKILL)
assert forked(run, folder / "damaged", watch=stop_late) == -signal.SIGKILL
newest, before = checkpoint.find(folder / "damaged")
content = bytearray(newest.read_bytes())
content[len(content) // 2] ^= 1
newest.write_bytes(content)
assert forked(run, folder / "damaged") == 0
""",
    )
    assert "damaged and removed: checkpoint-000000300.pt; going on from" in output
    assert "going on from checkpoint-000000200.pt" in output
    assert weights(folder, "damaged") == weights(folder, "alone")


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(folder):
    output = script(
        folder,
        """
def fill_up(report):
    if report.step == 350:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
assert forked(run, folder / "full", watch=fill_up) == 1
print([path.name for path in checkpoint.find(folder / "full")])
print([path.name for path in (folder / "full").iterdir() if path.name.startswith(".upres")])
assert forked(run, folder / "full") == 0
""",
    )
    lines = output.splitlines()
    assert lines[0].startswith("child: OutputError")
    assert "could not be written (File too large)" in lines[0]
    assert lines[1:3] == ["['checkpoint-000000300.pt', 'checkpoint-000000200.pt']", "[]"]
    assert weights(folder, "full") == weights(folder, "alone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_on_the_command_line(folder, number):
    command = [sys.executable, "-m", "upres", "train", str(folder / "recipe.py"), "--data", str(folder / "cat.pack")]
    out = folder / f"stopped by {number}"
    command += ["--device", "cpu", "--precision", "bf16", "--no-compile", "--out", str(out)]  # as `alone` has it
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        while not run.stdout.readline().startswith("step 100"):
            assert run.poll() is None
        run.send_signal(number)
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "upres: stopped after step " in stderr
    again = stderr.splitlines()[-1]
    assert again.startswith("upres train ")
    assert again.endswith(" --resume")
    assert checkpoint.find(out)
    subprocess.run([*command, "--resume"], check=True, capture_output=True, env=environment)
    assert (out / "fsrcnn-x2.onnx").exists()
    if number == signal.SIGINT:
        assert weights(folder, out.name) == weights(folder, "alone")
        finished = subprocess.run([*command, "--resume"], capture_output=True, text=True, env=environment)
        assert finished.returncode == 0


def test_leaving_out_resume_harms_no_unfinished_run(folder, photo):
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(4):
        io.write(Picture(photo[i * 20 : i * 20 + 60, :70], {}), pictures / f"{i}.png")
    command = [sys.executable, "-m", "upres", "train", str(folder / "recipe.py"), "--data", str(pictures)]
    command += ["--device", "cpu", "--no-compile", "--out", str(folder / "own")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        while not run.stdout.readline().startswith("step 100"):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    (pictures / "0.png").unlink()
    again = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert again.returncode == 2
    assert "holds an unfinished run; --resume goes on with it" in again.stderr
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, env=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "as they were when the run began" in resumed.stdout
    assert (folder / "own" / "fsrcnn-x2.onnx").exists()
