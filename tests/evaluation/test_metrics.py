from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from upres.errors import UsageError
from upres.evaluation import metrics


@pytest.fixture
def pair():
    random = np.random.default_rng(0)
    truth = gaussian_filter(random.random((60, 50)) * 255, 1.5)
    return np.round(truth + random.normal(0, 3, truth.shape)).clip(0, 255), truth


def test_psnr_agrees_with_scikit_image(pair):
    assert metrics.psnr(*pair) == pytest.approx(peak_signal_noise_ratio(pair[1], pair[0], data_range=255))
    assert metrics.psnr(pair[0], pair[0]) == math.inf


def test_ssim_agrees_with_its_definition(pair):
    """Wang 2004 written out over explicit 11×11 windows."""
    x, y = pair
    axis = np.arange(-5, 6)
    window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
            vab = (window * a * b).sum() - ma * mb
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append((2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert metrics.ssim(x, y) == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("size", [(11, 11), (64, 40), (40, 64, 3)])
def test_ssim_agrees_with_scikit_image(size):
    random = np.random.default_rng(0)
    truth = random.integers(0, 256, size)
    result = np.clip(truth + random.normal(0, 20, size), 0, 255)
    theirs = structural_similarity(
        result,
        truth.astype(float),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2 if len(size) == 3 else None,
    )
    assert metrics.ssim(result, truth) == pytest.approx(theirs, abs=1e-10)


def test_wrong_pairs_are_named(pair):
    with pytest.raises(UsageError, match=r"\(60, 50\) and \(59, 50\)"):
        metrics.psnr(pair[0], pair[1][1:])
    with pytest.raises(UsageError, match="50×10 picture; its window needs 11×11"):
        metrics.ssim(pair[0][:10], pair[1][:10])
