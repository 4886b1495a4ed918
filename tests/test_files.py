from __future__ import annotations

import subprocess
import sys

import pytest

from upres.errors import OutputError
from upres.files import remove_unfinished, whole_file

KILLED = """
import os, sys
from upres.files import whole_file
with whole_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_temporary_files_of_killed_processes_are_removed_and_those_in_use_are_left(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed.txt")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with whole_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        remove_unfinished(tmp_path)
        assert list(tmp_path.iterdir()) == [temporary]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_temporary_files_of_other_machines_are_left(tmp_path, monkeypatch):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed.txt")], check=False)
    monkeypatch.setattr("platform.node", lambda: "another")
    remove_unfinished(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fill_the_disk():
        with whole_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        fill_the_disk()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
