from __future__ import annotations

import os

import pytest

from upres.inference import runtime


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("300000 100000\n", 3),
        ("150000 100000\n", 2),
        ("5000 100000\n", 1),
        ("6400000 100000\n", 6),
        ("max 100000\n", 6),
        ("max\n", 6),
        ("", 6),
        ("100000 0", 6),
        (None, 6),
    ],
)
def test_the_lesser_of_quota_and_affinity_counts(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(runtime, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert runtime.core_count.__wrapped__() == cores


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 6)])
def test_the_older_control_groups_count_too(monkeypatch, tmp_path, quota, cores):
    monkeypatch.setattr(runtime, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert runtime.core_count.__wrapped__() == cores
