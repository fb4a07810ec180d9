"""Colour operations on (H, W, 3) RGB, 0 to 255: uint8 is rounded and clipped after each step, float32 only clipped.

The operations of `JITTER` are defined as in torchvision and Pillow. Factor 1 (hue: 0) changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.spatial import KDTree

LUMA = (0.299, 0.587, 0.114)  # weights of R, G, B in Rec. 601
GREEN_MAGENTA = np.array([[-1.0, 2.0, -1.0]])  # a lens's chromatic aberration separates colours along this axis


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with black."""
    return _blend(image, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean gray of the image."""
    import cv2

    mean = sum(share * channel for share, channel in zip(LUMA, cv2.mean(image), strict=False))
    return _blend(image, factor, shift=(1 - factor) * mean)


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend each pixel with its own gray."""
    return _blend(image, factor, gray=1 - factor)


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Shift the hue of HSV by `turn`, a share of the colour circle."""
    import cv2

    if image.dtype == np.uint8:
        if not (steps := round(turn * 256) % 256):
            return image
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv.reshape(len(hsv), -1)[:] += np.tile(np.array([steps, 0, 0], np.uint8), hsv.shape[1])  # uint8 wraps around
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def to_gray(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3) with the luma of Rec. 601 in each channel."""
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def drop_channels(image: np.ndarray, keep: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W, 3): keep channel `keep`, fill the others with noise (Doersch et al. 2015, section 3.1).

    The noise is 127, 128 or 129. Its standard deviation, 0.8, is about a hundredth of the replaced channel's.
    """
    dropped = rng.integers(127, 130, image.shape, np.uint8)
    dropped[..., keep] = image[..., keep]
    return dropped


def project_green_magenta(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3): remove each colour's component along a = (-1, 2, -1) by I - a'a / aa' (Doersch, 3.1)."""
    import cv2

    away = np.eye(3) - GREEN_MAGENTA.T @ GREEN_MAGENTA / (GREEN_MAGENTA @ GREEN_MAGENTA.T)
    return np.asarray(cv2.transform(image, away))


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Apply a Gaussian blur of `sigma` pixels. The kernel ends at 3 sigma for uint8 and at 4 sigma for floats."""
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def solarise(image: np.ndarray) -> np.ndarray:
    """Invert the values above the middle of 0 to 255."""
    return np.asarray(np.minimum(image, 255 - image))


JITTER = (brightness, contrast, saturation, hue)


def jitter(image: np.ndarray, factors: Sequence[float], order: Sequence[int]) -> np.ndarray:
    """Apply the operations of `JITTER` in `order` (indices). Operation i takes `factors[i]`."""
    for i in order:
        image = JITTER[i](image, factors[i])
    return image


def _blend(image: np.ndarray, factor: float, gray: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """Return each pixel times `factor`, plus `gray` times its luma, plus `shift`, clipped to 0..255."""
    import cv2

    r, g, b = (gray * share for share in LUMA)
    matrix = np.array([(factor + r, g, b, shift), (r, factor + g, b, shift), (r, g, factor + b, shift)])
    out = cv2.transform(image, matrix)
    return np.asarray(out if out.dtype == np.uint8 else np.clip(out, 0, 255, out=out))


STEP = 10  # distance between centres of colour bins, in units of a and b of CIE Lab
SIGMA = 5.0  # width of the Gaussian that weights the bins, in units of a and b
# richzhang/colorization, resources/pts_in_hull.npy: for each a, the smallest and the largest b. The list was measured
# and cannot be computed: the gamut of sRGB has 261 such bins, the list 313.
HULL = {
    **{-90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100)},
    **{-20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90)},
    **{50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0)},
}


@lru_cache
def bin_centers() -> np.ndarray:
    """Return (313, 2) float32: a and b of each bin, sorted by a, then by b."""
    return np.array([(a, b) for a, (low, high) in HULL.items() for b in range(low, high + 1, STEP)], np.float32)


def lab(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sRGB -> (H, W, 3) float32 CIE Lab: L from 0 to 100, a, b; white point D65."""
    import cv2

    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab))


def soft_bins(ab: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) a and b -> (n, count) int16 bins, nearest first, and (n, count) float32 weights; each row sums to 1.

    Same as NNEncode of richzhang/colorization, resources/caffe_traininglayers.py.
    """
    distances, near = _tree().query(ab, range(1, count + 1))
    squares = distances**2
    weights = np.exp((squares[:, :1] - squares) / (2 * SIGMA**2))  # the nearest bin has weight 1, which prevents 0 / 0
    return near.astype(np.int16), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@lru_cache
def _tree() -> KDTree:
    from scipy.spatial import KDTree

    return KDTree(bin_centers())
