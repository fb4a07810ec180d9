"""Colour operations on (H, W, 3) RGB of 0 to 255: uint8, rounded and clipped after each step, or float32, only clipped.

Each means what it means in torchvision and Pillow; the factor 1 (of hue, 0) changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.spatial import KDTree

LUMA = (0.299, 0.587, 0.114)  # Rec. 601
GREEN_MAGENTA = np.array([[-1.0, 2.0, -1.0]])  # chromatic aberration of a lens separates colours along this axis


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black."""
    return _blended(image, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean gray of the picture."""
    import cv2

    mean = sum(share * channel for share, channel in zip(LUMA, cv2.mean(image), strict=False))
    return _blended(image, factor, shift=(1 - factor) * mean)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend each pixel with its gray."""
    return _blended(image, factor, gray=1 - factor)


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hue of HSV by a share of the circle."""
    import cv2

    if image.dtype == np.uint8:
        if not (steps := round(turn * 256) % 256):
            return image
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv.reshape(len(hsv), -1)[:] += np.tile(np.array([steps, 0, 0], np.uint8), hsv.shape[1])  # the hue wraps around
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def to_gray(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3), each channel the luma of Rec. 601."""
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def drop_channels(image: np.ndarray, keep: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> the same: channel `keep`, and noise in the other two (Doersch et al. 2015, section 3.1).

    The noise is 127, 128 or 129: its deviation, 0.8, is about a hundredth of that of the channel it replaces.
    """
    dropped = rng.integers(127, 130, image.shape, np.uint8)
    dropped[..., keep] = image[..., keep]
    return dropped


def project_green_magenta(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3): remove the part of each colour along a = (-1, 2, -1), by I - a'a / aa' (same section)."""
    import cv2

    away = np.eye(3) - GREEN_MAGENTA.T @ GREEN_MAGENTA / (GREEN_MAGENTA @ GREEN_MAGENTA.T)
    return np.asarray(cv2.transform(image, away))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian of `sigma` pixels, cut off where it no longer shows: beyond three of them, for floats beyond four."""
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def solarise(image: np.ndarray) -> np.ndarray:
    """Invert what is brighter than the middle."""
    return np.asarray(np.minimum(image, 255 - image))


JITTER = (brightness, contrast, saturation, hue)


def jitter(image: np.ndarray, factors: Sequence[float], order: Sequence[int]) -> np.ndarray:
    """Apply the operations of `JITTER` that `order` names, one after the other, each with its factor of four."""
    for i in order:
        image = JITTER[i](image, factors[i])
    return image


def _blended(image: np.ndarray, factor: float, gray: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """Each pixel times `factor`, plus `to_gray` times its luma, plus `shift`; clipped to 0..255."""
    import cv2

    r, g, b = (gray * share for share in LUMA)
    matrix = np.array([(factor + r, g, b, shift), (r, factor + g, b, shift), (r, g, factor + b, shift)])
    out = cv2.transform(image, matrix)
    return np.asarray(out if out.dtype == np.uint8 else np.clip(out, 0, 255, out=out))


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
def bin_centers() -> np.ndarray:
    """(313, 2) float32: a and b of each bin, by rising a, then b."""
    return np.array([(a, b) for a, (low, high) in HULL.items() for b in range(low, high + 1, STEP)], np.float32)


def lab(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> (H, W, 3) float32: L of 0 to 100, a, b; the white is D65."""
    import cv2

    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab))


def soft_bins(ab: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
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

    return KDTree(bin_centers())
