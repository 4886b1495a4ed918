from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from upres.images import io
from upres.training.loop import Report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def training(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import training

    return training


@pytest.fixture
def time_to_quality(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import time_to_quality

    return time_to_quality


@pytest.fixture
def pair():
    """Every high-resolution patch is its low-resolution patch with each pixel doubled; all gray levels are exact."""
    low = torch.from_numpy(np.random.default_rng(0).integers(256, size=(6, 1, 5, 5)) / 255).float()
    return low, low.repeat_interleave(2, -1).repeat_interleave(2, -2)


def assert_pairs(batches, count):
    for _ in range(count):
        low, high = next(batches)
        assert low.shape == (2, 1, 5, 5)
        assert torch.equal(high, low.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_textbook_batches_are_pairs_turned_alike_and_never_end(tmp_path, training, pair):
    training.write_pairs(pair, tmp_path)
    assert_pairs(training.from_files(tmp_path, 2), 10)
    assert_pairs(training.from_memory(pair, 2), 10)


def test_textbook_patches_take_all_eight_turns(training, pair):
    turned = {training.turned(pair)[0][0].numpy().tobytes() for _ in range(300)}
    assert len(turned) == 8


def test_ratios_are_taken_within_a_round(training):
    turns = [
        {"upres": upres, "textbook": textbook, "in_memory": 10.0, "cut_seconds": 0.01}
        for upres, textbook in ((30.0, 10.0), (20.0, 20.0), (40.0, 20.0))
    ]
    summary = training.summary(turns, batch=4)
    assert summary["patches_per_second"] == {"upres": 30, "textbook": 20, "in_memory": 10}
    assert summary["ratio_to_textbook"] == (2, 1, 3)
    assert summary["ratio_to_in_memory"] == (3, 2, 4)
    assert summary["data_share"] == pytest.approx(0.01 * 30 / 4)


def test_a_turn_is_as_long_as_asked_for(training):
    assert training.steps_that_take(5, lambda steps: 160.0, batch=16) == 50
    assert training.steps_that_take(5, lambda steps: 1.0, batch=16) == 2


def test_every_measured_network_has_a_recipe(training):
    assert set(training.MEASURED) <= set(training.RECIPES)
    with pytest.raises(argparse.ArgumentTypeError, match=r"^drcn; choose from espcn, fsrcnn, "):
        training.networks_asked_for("espcn,drcn")


def test_minutes_are_those_between_reports(time_to_quality):
    curve = time_to_quality.Curve(batch=16)
    for step, pace, psnr in ((50, 8.0, None), (60, 16.0, 33.0), (100, 32.0, 36.0)):
        curve(Report(step, 100, 0.1, 1e-3, pace, psnr))
    assert curve.points == [(110 / 60, 60, 33.0), (130 / 60, 100, 36.0)]


def test_the_answer_is_the_shortest_schedule_that_ends_above(time_to_quality):
    runs = [{"steps": steps, "psnr": psnr} for steps, psnr in ((4000, 36.7), (1000, 36.4), (2000, 36.65))]
    assert time_to_quality.shortest_above(36.6, runs) == runs[2]
    assert time_to_quality.shortest_above(37, runs) is None


def test_an_evaluation_is_timed_with_all_its_processes(tmp_path, photo, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import evaluation

    io.write(io.Picture(photo[:60, :80], {}), tmp_path / "a.png")
    result = evaluation.timed("bicubic", "2,3", [tmp_path])
    assert (result["evaluations"], result["pictures"]) == (2, 2)
    assert 0.1 < result["processor_seconds"] < 60
    assert result["busy_share"] == result["processor_seconds"] / (result["wall_seconds"] * result["usable_cores"])
    assert 0 < result["busy_share"] <= 1.05  # the clocks of processes tick
