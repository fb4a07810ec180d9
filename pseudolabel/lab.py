"""Colours as classes: the 313 bins of CIE Lab's a and b of Zhang et al. 2016, and soft weights over them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

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


def bins(ab: np.ndarray) -> np.ndarray:
    """(n, 2) a and b -> (n,) int16: the nearest bin."""
    cell = np.rint(ab / STEP).astype(np.int64)
    found: np.ndarray = _table()[tuple(np.clip(cell, -REACH, REACH).T + REACH)]
    outside = (found < 0) | (np.abs(cell) > REACH).any(1)
    if outside.any():
        found[outside] = _squares(ab[outside]).argmin(1)
    return found


def soft(ab: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) a and b -> (n, count) int16 bins, nearest first, and their (n, count) float32 weights, which sum to 1.

    NNEncode of richzhang/colorization, resources/caffe_traininglayers.py.
    """
    squares = _squares(ab)
    near = np.argpartition(squares, count - 1, axis=1)[:, :count]
    near = np.take_along_axis(near, np.take_along_axis(squares, near, 1).argsort(1, kind="stable"), 1)
    weights = np.exp(-np.take_along_axis(squares, near, 1) / (2 * SIGMA**2))
    return near.astype(np.int16), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


REACH = 11  # bins on either side of gray


@lru_cache
def _table() -> np.ndarray:
    """(23, 23) int16: the bin of each cell of the grid, -1 where there is none."""
    table = np.full((2 * REACH + 1, 2 * REACH + 1), -1, np.int16)
    table[tuple(np.rint(centres() / STEP).astype(np.int64).T + REACH)] = np.arange(len(centres()))
    return table


def _squares(ab: np.ndarray) -> np.ndarray:
    """(n, 2) -> (n, 313): squared distances to the bins."""
    return np.asarray(((ab[:, None].astype(np.float64) - centres()) ** 2).sum(2))
