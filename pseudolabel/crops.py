"""Random crops: boxes of whole pixels, drawn by the rules of the reference codes."""

from __future__ import annotations

from enum import StrEnum
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np

from pseudolabel.sample import Unusable

SMALLEST = 16  # pixels of the short side; of less, a crop shows the interpolation and little else
RATIO = 4 / 3  # a crop's sides, as they will be shown, are at most this unequal
COVERED = 0.1  # least share of the picture in TensorFlow's crops: min_object_covered, the object being the picture


class Rule(StrEnum):
    """Whose random resized crop."""

    torchvision = "torchvision"
    tensorflow = "tensorflow"
    byol = "byol"


class Box(NamedTuple):
    """Left, top, right, bottom in pixels of the upright picture; right and bottom are one beyond."""

    left: int
    top: int
    right: int
    bottom: int


def crop(
    rule: Rule, height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float = 1
) -> Box:
    """Draw a crop of `area` (least and most share of the picture); `shape` is width over height of what it becomes.

    Raises `Unusable` where the picture is too small.
    """
    enough(height, width)
    return CROPS[rule](height, width, area, rng, shape)


def enough(height: int, width: int) -> None:
    """Raise `Unusable` where a picture is too small to cut views from."""
    if min(height, width) < SMALLEST:
        raise Unusable(f"{width} x {height} pixels, too small: the short side needs {SMALLEST}")


def torchvision(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Area uniform, ratio log-uniform, ten attempts, then the largest middle that is not too long.

    pytorch/vision, transforms/transforms.py, RandomResizedCrop.get_params.
    """
    for _ in range(10):
        h, w = _drawn(height, width, area, rng, shape)
        if 0 < w <= width and 0 < h <= height:
            return _placed(height, width, h, w, rng)
    w = min(width, round(height * shape * RATIO))
    h = min(height, round(width / shape * RATIO))
    left, top = (width - w) // 2, (height - h) // 2
    return Box(left, top, left + w, top + h)


def byol(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """As torchvision's, but what is too long for the picture is cut.

    google-deepmind/deepmind-research, byol/utils/dataset.py, _decode_and_random_crop.
    """
    h, w = _drawn(height, width, area, rng, shape)
    return _placed(height, width, max(1, min(h, height)), max(1, min(w, width)), rng)


def tensorflow(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Ratio uniform, then the height uniform among those of the right area; a tenth of the picture at least.

    sample_distorted_bounding_box_op.cc of tensorflow, as google-research/simclr's data_util.py, crop_and_resize, calls
    it: 100 attempts, then the whole picture.
    """
    least, most = (share * height * width for share in area)
    for _ in range(100):
        ratio = shape * rng.uniform(1 / RATIO, RATIO)
        top = min(round(sqrt(most / ratio)), int((width + 0.5 - 1e-7) / ratio), height)
        h = min(round(sqrt(least / ratio)), top)
        h += int(rng.integers(0, top - h + 1))
        h += round(h * ratio) * h < least  # what rounding took or gave is no reason to fail
        h -= round(h * ratio) * h > most
        w = round(h * ratio)
        if least <= h * w <= most and 0 < w <= width and 0 < h <= height and h * w >= COVERED * height * width:
            return _placed(height, width, h, w, rng)
    return Box(0, 0, width, height)


CROPS = {Rule.torchvision: torchvision, Rule.tensorflow: tensorflow, Rule.byol: byol}


def _drawn(
    height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float
) -> tuple[int, int]:
    """Area uniform, ratio log-uniform: height and width, be they in the picture or not."""
    pixels = rng.uniform(*area) * height * width
    ratio = shape * exp(rng.uniform(-log(RATIO), log(RATIO)))
    return round(sqrt(pixels / ratio)), round(sqrt(pixels * ratio))


def _placed(height: int, width: int, h: int, w: int, rng: np.random.Generator) -> Box:
    """Anywhere in the picture, each place as likely."""
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    return Box(left, top, left + w, top + h)


def square(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """A square of `share` of the short side, anywhere: `Resize(256), RandomCrop(224)` is a share of 224 / 256."""
    enough(height, width)
    side = round(min(height, width) * share)
    return _placed(height, width, side, side, rng)
