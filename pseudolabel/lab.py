"""Colours as classes: the 313 bins of CIE Lab's a and b of Zhang et al. 2016, and soft weights over them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.spatial import KDTree

STEP = 10  # of a and of b, between the centres of bins
SIGMA = 5.0  # of the Gaussian that weighs them
# richzhang/colorization, resources/pts_in_hull.npy: for each a, the least and the largest b. The list was measured and
# cannot be computed: the gamut of sRGB has 261 such bins.
HULL = {
    **{-90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100)},
    **{-20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90)},
    **{50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0)},
}


@lru_cache
def centres() -> np.ndarray:
    """(313, 2) float32: a and b of each bin, by rising a, then b."""
    return np.array([(a, b) for a, (low, high) in HULL.items() for b in range(low, high + 1, STEP)], np.float32)


def lab(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> (H, W, 3) float32: L of 0 to 100, a, b; the white is D65."""
    import cv2

    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab))


def soft(ab: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) a and b -> (n, count) int16 bins, nearest first, and their (n, count) float32 weights, which sum to 1.

    NNEncode of richzhang/colorization, resources/caffe_traininglayers.py.
    """
    distances, near = _tree().query(ab, range(1, count + 1))
    squares = distances**2
    weights = np.exp((squares[:, :1] - squares) / (2 * SIGMA**2))  # the nearest's is 1, so that none far out is 0 / 0
    return near.astype(np.int16), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@lru_cache
def _tree() -> KDTree:
    from scipy.spatial import KDTree

    return KDTree(centres())
