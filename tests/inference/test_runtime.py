from __future__ import annotations

import os

import pytest

from upres.inference import runtime


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1), ("800000 100000", 8)]
)
def test_a_quota_is_rounded_up_to_whole_cores(text, cores):
    assert runtime.cores_in_quota(text) == cores


def test_the_lesser_of_quota_and_affinity_counts(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(runtime, "_CPU_QUOTA", quota)
    counted = runtime.core_count.__wrapped__
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert counted() == 6
    quota.write_text("300000 100000\n")
    assert counted() == 3
    quota.write_text("max 100000\n")
    assert counted() == 6
    quota.write_text("6400000 100000\n")
    assert counted() == 6
