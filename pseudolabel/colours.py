"""Colour operations on (H, W, 3) RGB of 0 to 255: uint8, rounded and clipped after each step, or float32, only clipped.

Each means what it means in torchvision and Pillow; the factor 1 (of hue, 0) changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LUMA = (0.299, 0.587, 0.114)  # Rec. 601


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


def gray(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3), each channel the luma of Rec. 601."""
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


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
    """Each pixel times `factor`, plus `gray` times its luma, plus `shift`; clipped to 0..255."""
    import cv2

    r, g, b = (gray * share for share in LUMA)
    matrix = np.array([(factor + r, g, b, shift), (r, factor + g, b, shift), (r, g, factor + b, shift)])
    out = cv2.transform(image, matrix)
    return np.asarray(out if out.dtype == np.uint8 else np.clip(out, 0, 255, out=out))
