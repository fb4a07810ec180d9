"""Random crops: boxes of whole pixels, drawn by the rules of the reference codes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from math import sqrt
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample

MIN_SOURCE_SIDE = 16  # pixels of the short side; of less, a crop shows the interpolation and little else
MAX_ASPECT = 4 / 3  # how unequal the sides of a crop may be drawn, as they will be shown
MIN_COVERED = 0.1  # least share of the picture in TensorFlow's crops: min_object_covered, the object being the picture
MIN_SIDE = 8  # pixels of a square


class CropRule(StrEnum):
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
    rule: CropRule, height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float = 1
) -> Box:
    """Draw a crop of `area` (least and most share of the picture); `shape` is width over height of what it becomes.

    Raises `UnusableSample` where the picture is too small.
    """
    check_size(height, width)
    return CROPS[rule](height, width, area, rng, shape)


def check_size(height: int, width: int) -> None:
    """Raise `UnusableSample` where a picture is too small to cut views from."""
    if min(height, width) < MIN_SOURCE_SIDE:
        raise UnusableSample(f"{width} x {height} pixels, too small: the short side needs {MIN_SOURCE_SIDE}")


def torchvision(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Area uniform, ratio log-uniform, ten attempts, then the largest middle that is not too long.

    pytorch/vision, transforms/transforms.py, RandomResizedCrop.get_params.
    """
    for _ in range(10):
        size, ratio, x, y = rng.random(4).tolist()
        h, w = _sides(height * width, area, shape, size, ratio)
        if 0 < w <= width and 0 < h <= height:
            return _placed(height, width, h, w, x, y)
    w = max(1, min(width, round(height * shape * MAX_ASPECT)))
    h = max(1, min(height, round(width / shape * MAX_ASPECT)))
    return _placed(height, width, h, w, 0.5, 0.5)


def byol(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """As torchvision's, but what is too long for the picture is cut.

    google-deepmind/deepmind-research, byol/utils/dataset.py, _decode_and_random_crop.
    """
    size, ratio, x, y = rng.random(4).tolist()
    h, w = _sides(height * width, area, shape, size, ratio)
    return _placed(height, width, max(1, min(h, height)), max(1, min(w, width)), x, y)


def tensorflow(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Ratio uniform, then the height uniform among those of the right area; a tenth of the picture at least.

    sample_distorted_bounding_box_op.cc of tensorflow, as google-research/simclr's data_util.py, crop_and_resize, calls
    it: 100 attempts. Then, as of very long pictures or of less than a tenth, torchvision's (there: the whole picture).
    """
    least, most = (share * height * width for share in area)
    for _ in range(100):
        size, ratio, x, y = rng.random(4).tolist()
        ratio = shape * (1 / MAX_ASPECT + ratio * (MAX_ASPECT - 1 / MAX_ASPECT))
        top = min(round(sqrt(most / ratio)), int((width + 0.5 - 1e-7) / ratio), height)
        h = min(round(sqrt(least / ratio)), top)
        h += int(size * (top - h + 1))
        h += round(h * ratio) * h < least  # what rounding took or gave is no reason to fail
        h -= round(h * ratio) * h > most
        w = round(h * ratio)
        if least <= h * w <= most and 0 < w <= width and 0 < h <= height and h * w >= MIN_COVERED * height * width:
            return _placed(height, width, h, w, x, y)
    return torchvision(height, width, area, rng, shape)


CROPS = {CropRule.torchvision: torchvision, CropRule.tensorflow: tensorflow, CropRule.byol: byol}


def _sides(pixels: int, area: tuple[float, float], shape: float, size: float, ratio: float) -> tuple[int, int]:
    """Area uniform, ratio log-uniform, by two chances of 0 to 1: height and width, be they in the picture or not."""
    least, most = area
    ratio = shape * MAX_ASPECT ** (2 * ratio - 1)
    wanted = pixels * (least + size * (most - least))
    return round(sqrt(wanted / ratio)), round(sqrt(wanted * ratio))


def _placed(height: int, width: int, h: int, w: int, x: float, y: float) -> Box:
    """Anywhere in the picture, by two chances of 0 to 1."""
    left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
    return Box(left, top, left + w, top + h)


def square(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """A square of `share` of the short side, anywhere: `Resize(256), RandomCrop(224)` is a share of 224 / 256."""
    check_size(height, width)
    side = round(min(height, width) * share)
    if side < MIN_SIDE:
        raise UnusableSample(f"{width} x {height} pixels, too small: a square of {share:g} has fewer than {MIN_SIDE}")
    return _placed(height, width, side, side, *rng.random(2).tolist())


def squares(height: int, width: int, share: float, rng: np.random.Generator) -> Iterator[Box]:
    """Some squares, for tasks that cannot tell anything of each: ten at most."""
    for _ in range(10):
        yield square(height, width, share, rng)
