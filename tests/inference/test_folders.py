from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import upres
from upres.errors import UsageError
from upres.images import io
from upres.images.formats import Encoding
from upres.images.io import Picture
from upres.inference import folders
from upres.inference.enlarging import Settings
from upres.inference.sizes import Wanted

KILLS = int(os.environ.get("UPRES_KILLS", "5"))
ENVIRONMENT = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def command(*arguments):
    return [sys.executable, "-m", "upres", "upscale", *map(str, arguments)]


def upres_(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=300, **options)


def statuses(done):
    return Counter(json.loads(line)["status"] for line in done.stdout.splitlines())


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != folders.JOURNAL
    }


@pytest.fixture
def tree(tmp_path, photo):
    root = tmp_path / "photos"
    (root / "2024" / "été").mkdir(parents=True)
    io.write(Picture(photo[:40, :50]), root / "a.jpg")
    io.write(Picture(photo[:50, :40]), root / "a.png")
    io.write(Picture(photo[50:90, :50]), root / "2024" / "été" / "日本語 “x”.webp")
    io.write(Picture(photo[:30, :30].astype(np.uint16) * 257), root / "2024" / "deep.TIF")
    (root / "notes.txt").write_text("not a picture")
    (root / ".hidden.png").write_bytes((root / "a.png").read_bytes())
    return root


def test_a_tree_is_mirrored_and_done_once(tree, tmp_path):
    out = tmp_path / "out"
    done = upres_(tree, "-o", out, "--json")
    assert (done.returncode, statuses(done)) == (0, {"done": 4}), done.stderr
    made = files(out)
    assert sorted(made) == ["2024/deep.TIF", "2024/été/日本語 “x”.webp", "a.jpg", "a.png"]
    np.testing.assert_array_equal(io.read(out / "a.png").pixels, upres.upscale(io.read(tree / "a.png").pixels))
    assert io.read(out / "2024" / "deep.TIF").pixels.dtype == np.uint16
    again = upres_(tree, "-o", out, "--json")
    assert (again.returncode, statuses(again)) == (0, {"skipped": 4})
    assert files(out) == made


def test_content_and_settings_decide_what_is_done(tree, tmp_path, photo):
    out = tmp_path / "out"
    upres_(tree, "-o", out, "--model", "bicubic")
    io.write(Picture(photo[100:140, :50]), tree / "a.jpg", overwrite=True)
    (tree / "a.png").touch()
    os.utime(out / "a.png", (1, 1))  # as a copy to another disk does
    changed = upres_(tree, "-o", out, "--model", "bicubic", "--json")
    assert statuses(changed) == {"done": 1, "skipped": 3}
    assert statuses(upres_(tree, "-o", out, "--model", "bicubic", "--scale", 3, "--json")) == {"done": 4}
    assert io.read(out / "a.jpg").pixels.shape == (120, 150, 3)


def test_what_upres_did_not_make_is_not_replaced(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_text("mine")
    done = upres_(tree, "-o", out, "--model", "bicubic")
    assert done.returncode == 1
    assert "a.jpg: exists already, and is not as upres made it, if it did; give --overwrite" in done.stderr
    assert (out / "a.jpg").read_text() == "mine"
    (out / "a.png").write_text("touched up")
    assert statuses(upres_(tree, "-o", out, "--model", "bicubic", "--json")) == {"failed": 2, "skipped": 2}
    done = upres_(tree, "-o", out, "--model", "bicubic", "--json", "--overwrite")
    assert statuses(done) == {"done": 2, "skipped": 2}


def test_a_bad_file_does_not_stop_the_others(tree, tmp_path):
    (tree / "2024" / "bad.png").write_bytes((tree / "a.png").read_bytes()[:900])
    (tree / "vanished.png").symlink_to(tree / "nowhere.png")
    (tree / "link.png").symlink_to(tree / "a.png")
    (tree / "again").symlink_to(tree)  # would never end
    done = upres_(tree, "-o", tmp_path / "out", "--model", "bicubic")
    assert done.returncode == 1
    assert "bad.png: the picture is damaged or cut short" in done.stderr
    assert "vanished.png: no such file; it vanished, or is a link to nothing." in done.stderr
    assert done.stderr.endswith(
        "upres: 5 done, 0 done before. Passed over: 1 linked folders, 1 hidden, 1 .txt.\n"
        "upres: 2 of 7 pictures failed.\n"
    )
    assert sorted(files(tmp_path / "out")) == [
        "2024/deep.TIF",
        "2024/été/日本語 “x”.webp",
        "a.jpg",
        "a.png",
        "link.png",
    ]


def test_name_clashes_and_long_names(tree, tmp_path):
    long = "ä" * 120 + ".webp"  # 245 bytes
    (tree / long).write_bytes((tree / "2024" / "été" / "日本語 “x”.webp").read_bytes())
    done = upres_(tree, "-o", tmp_path / "out", "--model", "bicubic", "--format", "png")
    assert done.returncode == 0, done.stderr
    names = ["2024/deep.png", "2024/été/日本語 “x”.png", "a.jpg.png", "a.png", long[:-5] + ".png"]
    assert sorted(files(tmp_path / "out")) == sorted(names)
    sources = [Path("in/a.jpg"), Path("in/a.png"), Path("in/a.jpg.png")]
    with pytest.raises(UsageError, match=r"a\.jpg and in/a\.jpg\.png would both become out/a\.jpg\.png; rename one"):
        folders.mirrored(sources, Path("in"), Path("out"), Encoding(format="png"))


def test_names_that_differ_by_case_are_two_where_the_disk_says_so(tmp_path, photo):
    root = tmp_path / "in"
    root.mkdir()
    for name in ("A.png", "a.png"):
        io.write(Picture(photo[:20, :30]), root / name, overwrite=True)
    names = sorted(path.name for path in root.iterdir())
    done = upres_(root, "-o", tmp_path / "out", "-m", "bicubic")
    assert (done.returncode, sorted(files(tmp_path / "out"))) == (0, names)


def test_names_that_differ_by_case_are_refused_where_they_are_one(tmp_path, monkeypatch):
    sources = [Path("in/A.png"), Path("in/a.png")]
    monkeypatch.setattr(folders, "_ignores_case", lambda _: True)
    with pytest.raises(UsageError, match=r"A\.png and in/a\.png would both become out/a\.png; rename one"):
        folders.mirrored(sources, Path("in"), Path("out"), Encoding())


def test_a_folder_in_the_way_of_a_result_is_named(tree, tmp_path):
    (tmp_path / "out" / "a.jpg").mkdir(parents=True)
    for more in (["--overwrite"], []):
        done = upres_(tree, "-o", tmp_path / "out", "-m", "bicubic", "--json", *more)
        assert (done.returncode, statuses(done)["failed"]) == (1, 1)
        assert "a.jpg: this is a folder; name another folder for the results with -o." in done.stderr


def test_brackets_in_the_name_of_a_folder_are_no_wildcards(tree, tmp_path):
    (tree / "[2020] x").mkdir()
    (tree / "a.png").rename(tree / "[2020] x" / "a.png")
    for pattern in ("[2020] x/*.png", "[[]2020] x/*.png", "[[]*/a.png"):
        out = tmp_path / f"out-{len(pattern)}"
        assert upres_(pattern, "-o", out, "-m", "bicubic", cwd=tree).returncode == 0
        assert [Path(name).name for name in files(out)] == ["a.png"]


def test_dry_run_says_and_does_nothing(tree, tmp_path):
    done = upres_(tree, "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    assert f"{tree / 'a.jpg'} → {tmp_path / 'out' / 'a.jpg'}, 100×80" in done.stdout.splitlines()
    assert not (tmp_path / "out").exists()
    upres_(tree, "-o", tmp_path / "out", "-m", "bicubic")
    (tmp_path / "out" / "a.jpg").unlink()
    made = files(tmp_path / "out")
    again = upres_(tree, "-o", tmp_path / "out", "-m", "bicubic", "--dry-run")
    assert again.stdout == f"{tree / 'a.jpg'} → {tmp_path / 'out' / 'a.jpg'}, 100×80\n"
    assert "upres: 1 to be done, 3 done before. Passed over: 1 hidden, 1 .txt." in again.stderr
    assert statuses(upres_(tree, "-o", tmp_path / "out", "--dry-run", "--json")) == {"planned": 4}
    assert files(tmp_path / "out") == made


def test_dry_run_says_what_would_fail(tree, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"mine")
    (tree / "gone.png").symlink_to(tmp_path / "nothing")
    done = upres_(tree, "-o", out, "-m", "bicubic", "--dry-run", "--json")
    assert (done.returncode, statuses(done)) == (1, {"failed": 2, "planned": 3})
    assert "gone.png: no such file" in done.stderr
    assert "a.jpg: exists already, and is not as upres made it, if it did; give --overwrite" in done.stderr
    really = upres_(tree, "-o", out, "-m", "bicubic", "--json")
    assert (really.returncode, statuses(really)) == (1, {"failed": 2, "done": 3})
    (tree / "gone.png").unlink()
    assert statuses(upres_(tree, "-o", out, "-m", "bicubic", "--dry-run", "--json")) == {"failed": 1, "skipped": 3}
    assert upres_(tree, "-o", out, "-m", "bicubic", "--dry-run", "--overwrite").returncode == 0


def test_dry_run_reads_headers(tree, tmp_path):
    (tree / "text.jpg").write_text("no picture")
    (tree / "drawing.svg").write_text("<svg/>")
    done = upres_(tree, "-o", tmp_path / "out", "-m", "bicubic", "--scale", 400, "--format", "webp", "--dry-run")
    assert done.returncode == 1
    assert "text.jpg: not a picture that upres can read" in done.stderr
    assert "a.jpg.webp: 20000×16000 pixels; webp has at most 16,383 a side" in done.stderr
    assert "1 .svg" in done.stderr
    large = upres_(tree / "a.jpg", "-o", tmp_path / "large.png", "--scale", 2000, "--dry-run")
    assert (large.returncode, large.stdout) == (1, "")
    assert "would have 100000×80000 pixels, 8,000 megapixels; the limit is 4,000, 16 times that of" in large.stderr
    really = upres_(tree / "a.jpg", "-o", tmp_path / "large.png", "--scale", 2000)
    assert really.stderr == large.stderr


def test_results_of_other_calls_are_no_inputs(tree, tmp_path):
    assert upres_(tree, "-o", tree / "large", "-m", "bicubic").returncode == 0
    done = upres_(tree, "-o", tmp_path / "out", "-m", "bicubic")
    assert "4 done, 0 done before. Passed over: 1 folders of results, 1 hidden, 1 .txt." in done.stderr
    assert not (tmp_path / "out" / "large").exists()
    again = upres_(tree / "large", "-o", tmp_path / "larger", "-m", "bicubic")
    assert "4 done" in again.stderr


def test_a_pattern_does_not_follow_links_that_lead_back(tree, tmp_path):
    (tree / "2024" / "back").symlink_to(tree)
    (tree / "other").symlink_to(tree / "2024")
    done = upres_(tree / "**" / "*.*", "-o", tmp_path / "out", "-m", "bicubic", "--dry-run", "--json")
    assert statuses(done) == {"planned": 4}
    base, found = folders.expand(f"{tree}/**.jpg", tmp_path / "out")
    assert (base, found) == (tree, [tree / "a.jpg"])
    assert folders.expand(f"{tree}/*/.h*.png", tmp_path / "out")[1] == []
    assert folders.expand(f"{tree}/.h*.png", tmp_path / "out")[1] == [tree / ".hidden.png"]


def test_dry_run_writes_nothing_not_even_to_the_journal(tree, tmp_path):
    out = tmp_path / "out"
    assert upres_(tree, "-o", out, "-m", "bicubic").returncode == 0
    opened = Path.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode="r", *more, **options: _only_reading(opened, path, mode))
        encoding = Encoding()
        jobs = folders.plan(tree, out, encoding).jobs
        settings = Settings(model="bicubic", wanted=Wanted(scale=2), encoding=encoding)
        found = folders.planned(jobs, settings, out, overwrite=False, max_pixels=io.MAX_PIXELS)
        assert {made.status for made in found} == {"skipped"}


def _only_reading(opened, path, mode):
    assert mode in ("r", "rb")
    return opened(path, mode)


def test_the_output_may_lie_in_the_input_and_patterns_are_mirrored(tree):
    assert upres_(tree, "-o", tree / "large", "--model", "bicubic").returncode == 0
    assert statuses(upres_(tree, "-o", tree / "large", "--model", "bicubic", "--json")) == {"skipped": 4}
    done = upres_("photos/**/*.[Tpw]*", "-o", "some", "--model", "bicubic", "--json", cwd=tree.parent)
    assert done.returncode == 0, done.stderr
    assert "a.jpg" not in files(tree.parent / "some")
    assert {"a.png", "2024/deep.TIF"} <= set(files(tree.parent / "some"))


def test_results_of_another_picture_are_not_replaced(tmp_path, photo):
    for name, pixels in (("one", photo[:30, :40]), ("two", photo[30:60, :40])):
        (tmp_path / name).mkdir()
        io.write(Picture(pixels), tmp_path / name / "a.png")
    assert upres_(tmp_path / "one", "-o", tmp_path / "out", "-m", "bicubic").returncode == 0
    made = files(tmp_path / "out")
    done = upres_(tmp_path / "two", "-o", tmp_path / "out", "-m", "bicubic")
    assert done.returncode == 1
    assert f"was made of {tmp_path}/one/a.png, not of {tmp_path}/two/a.png" in done.stderr
    assert files(tmp_path / "out") == made
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "a.png").write_bytes((tmp_path / "one" / "a.png").read_bytes())
    for more in ((), ("--dry-run",)):
        copied = upres_(tmp_path / "copy", "-o", tmp_path / "out", "-m", "bicubic", *more)
        assert (copied.returncode, "1 done before" in copied.stderr) == (0, True), copied.stderr
    (tmp_path / "one").rename(tmp_path / "moved")
    moved = upres_(tmp_path / "moved", "-o", tmp_path / "out", "-m", "bicubic", "--json")
    assert statuses(moved) == {"skipped": 1}
    assert upres_(tmp_path / "two", "-o", tmp_path / "out", "-m", "bicubic", "--overwrite").returncode == 0
    assert files(tmp_path / "out") != made


def test_many_lines_in_a_journal_are_read_by_all_before_any_decides(tree, tmp_path):
    out = tmp_path / "out"
    assert upres_(tree, "-o", out, "-m", "bicubic").returncode == 0
    own = (out / folders.JOURNAL).read_bytes()
    other = json.dumps(json.loads(own.splitlines()[1]) | {"target": "elsewhere.png"}).encode() + b"\n"
    (out / folders.JOURNAL).write_bytes(other * 20_000 + own)
    again = upres_(tree, "-o", out, "-m", "bicubic", "--json")
    assert (again.returncode, statuses(again)) == (0, {"skipped": 4}), again.stdout


def test_a_line_whose_file_never_took_its_place_leaves_the_one_that_is_there(tree, tmp_path):
    """As after a kill between the journal's line and the file: old and new settings go on alike."""
    out = tmp_path / "out"
    assert upres_(tree, "-o", out, "-m", "bicubic").returncode == 0
    made = files(out)
    assert upres_(tree, "-o", out, "-m", "bicubic", "-s", "3").returncode == 0
    for name, content in made.items():
        (out / name).write_bytes(content)
    again = upres_(tree, "-o", out, "-m", "bicubic", "--json")
    assert (again.returncode, statuses(again)) == (0, {"skipped": 4}), again.stdout
    other = upres_(tree, "-o", out, "-m", "bicubic", "-s", "3", "--json")
    assert (other.returncode, statuses(other)) == (0, {"done": 4}), other.stdout


@pytest.mark.parametrize(
    ("pictures", "out", "says"),
    [
        ("photos", "photos", "photos: holds the pictures themselves; name another folder"),
        ("photos/2024", "photos", "photos: holds the pictures themselves"),
        ("photos/*.png", ".", ".: holds the pictures themselves"),
        ("photos/*/../*.png", "out", "has .. behind a wildcard"),
    ],
)
def test_results_never_fall_among_the_pictures(tree, tmp_path, pictures, out, says):
    before = files(tree)
    for more in ((), ("--dry-run",)):
        done = upres_(pictures, "-o", out, "-m", "bicubic", *more, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
    assert files(tree) == before


def test_a_pattern_leaves_results_of_other_calls_out(tree):
    assert upres_(tree, "-o", tree / "x2", "-m", "bicubic").returncode == 0
    done = upres_(f"{tree}/**/*.png", "-o", tree / "x3", "-m", "bicubic", "-s", "3", "--json")
    assert (done.returncode, statuses(done)) == (0, {"done": 1}), done.stdout
    assert list(files(tree / "x3")) == ["a.png"]


def test_what_is_no_ordinary_file_is_not_opened(tree, tmp_path):
    os.mkfifo(tree / "pipe.png")
    done = upres_(tree, "-o", tmp_path / "out", "-m", "bicubic")
    assert done.returncode == 1
    assert "pipe.png: not an ordinary file" in done.stderr
    assert "4 done" in done.stderr


def test_a_drive_without_locks_does(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folders.fcntl, "lockf", refuse)
    with folders.Journal(tmp_path) as journal:
        assert journal.claim(tmp_path / "a.png")
        journal.release(tmp_path / "a.png")


def test_a_read_only_input_is_left_as_it_is(tree, tmp_path):
    before = files(tree)
    for path in (*tree.rglob("*"), tree):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert upres_(tree, "-o", tmp_path / "out", "--model", "bicubic").returncode == 0
        assert files(tree) == before
    finally:
        for path in (tree, *tree.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


@pytest.fixture
def many(tmp_path, photo):
    root = tmp_path / "many"
    for i in range(24):
        folder = root / f"{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        suffix = (".png", ".jpg", ".tif", ".webp")[i % 4]
        io.write(Picture(photo[i * 5 : i * 5 + 150, i * 5 : i * 5 + 200]), folder / f"{i}{suffix}")
    return root


def test_two_processes_share_a_folder(many, tmp_path):
    out = tmp_path / "out"
    pair = [
        subprocess.Popen(command(many, "-o", out, "--json"), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    lines = [json.loads(line) for output in outputs for line in output.splitlines()]
    assert Counter(line["status"] for line in lines)["done"] == 24  # each by one of them only
    assert not [name for name in files(out) if Path(name).name.startswith(".")]
    upres_(many, "-o", tmp_path / "alone")
    assert files(out) == files(tmp_path / "alone")


def test_killed_at_any_moment_a_later_call_finishes_what_is_missing(many, tmp_path):
    """`UPRES_KILLS` sets how many times; the moments are random but repeatable."""
    expected_in = tmp_path / "expected"
    started = time.perf_counter()
    assert upres_(many, "-o", expected_in).returncode == 0
    whole = time.perf_counter() - started
    expected, out = files(expected_in), tmp_path / "out"
    moments = random.Random(0)
    survived = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(many, "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        time.sleep(moments.uniform(0.3, 1) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        present = {name: content for name, content in files(out).items() if not Path(name).name.startswith(".")}
        for name, content in present.items():
            assert content == expected[name], name
        done = upres_(many, "-o", out, "--json", "--dry-run")
        assert done.returncode == 0
        survived = len(present)
        if survived == 24:  # begin again
            for name in moments.sample(sorted(present), 20):
                (out / name).unlink()
            survived = 4
    last = upres_(many, "-o", out, "--json")
    assert statuses(last) == Counter({"done": 24 - survived, "skipped": survived}) - Counter()
    assert files(out) == expected


def test_links_and_hidden_files_are_counted(tree, tmp_path):
    (tmp_path / "album").mkdir()
    (tree / "album").symlink_to(tmp_path / "album")
    (tree / ".thumbnails").mkdir()
    done = upres_(tree, "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0
    for counted in ("1 linked folders", "2 hidden", "1 .txt"):
        assert counted in done.stderr


def test_a_folder_that_may_not_be_looked_into_does_not_stop_the_others(tree, tmp_path, monkeypatch):
    locked = tree / "lost+found"
    locked.mkdir()
    stat = os.stat

    def stat_outside(path, *arguments, **options):
        if Path(os.fsdecode(path)).parent == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat_outside)
    plan = folders.plan(tree, tmp_path / "out", Encoding())
    assert len(plan.jobs) == 4
    assert [path.name for path in folders.expand(f"{tree}/**/*.jpg", tmp_path / "out")[1]] == ["a.jpg"]


def test_each_damaged_picture_gets_its_own_reason(tmp_path, photo):
    bad = tmp_path / "bad"
    bad.mkdir()
    for i in range(4):
        for suffix in (".jpg", ".tif", ".avif"):
            io.write(Picture(photo[:80, :90]), bad / f"{i}{suffix}")
            content = (bad / f"{i}{suffix}").read_bytes()
            (bad / f"{i}{suffix}").write_bytes(content[: len(content) * 2 // 3])
    done = upres_(bad, "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    errors = {Path(outcome["picture"]).name: outcome["error"] for outcome in outcomes}
    assert len(errors) == 12
    for name, error in errors.items():
        assert "no reason given" not in error, error
        assert ("JPEG" in error) == name.endswith(".jpg"), error


def test_names_cannot_give_a_terminal_orders(tmp_path, photo):
    folder = tmp_path / "in"
    folder.mkdir()
    io.write(Picture(photo[:20, :20]), folder / "a\x1b[31mred\n.png")
    (folder / "b\x1b]0;title\x07.png").write_text("no picture")
    done = upres_(folder, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "a\\x1b[31mred\\n.png: 40×40" in done.stdout
    assert "b\\x1b]0;title\\x07.png: not a picture" in done.stderr
    assert not {"\x1b", "\x07"} & set(done.stdout + done.stderr)
