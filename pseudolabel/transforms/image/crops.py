"""Random crops: boxes of whole pixels, drawn by the rules of the reference implementations."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from math import sqrt
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample

MIN_SOURCE_SIDE = 16  # pixels of the short side; a crop of a smaller image shows mostly interpolation
MAX_ASPECT = 4 / 3  # largest aspect ratio of a crop, relative to the output's; the smallest is 3 / 4
MIN_COVERED = 0.1  # smallest share of the image in TensorFlow's crops: min_object_covered, with the image as object
MIN_SIDE = 8  # pixels of a square's side


class CropRule(StrEnum):
    """The implementation whose random resized crop is used."""

    torchvision = "torchvision"
    tensorflow = "tensorflow"
    byol = "byol"


class Box(NamedTuple):
    """A box in pixels of the upright image; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def crop(
    rule: CropRule, height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float = 1
) -> Box:
    """Draw a crop of `area` (smallest and largest share of the image); `shape` is width / height of the output.

    Raise `UnusableSample` if the image is too small.
    """
    check_size(height, width)
    return CROPS[rule](height, width, area, rng, shape)


def least_sides(rule: CropRule, height: int, width: int, least: float, shape: float = 1) -> tuple[int, int]:
    """Return the smallest height and width that `crop` draws if `least` is the smallest share of the image.

    Raise `UnusableSample` if the image is too small.
    """
    check_size(height, width)
    if rule == CropRule.tensorflow and max(height, width) <= 2 * min(height, width):  # then an attempt succeeds
        least = max(least, MIN_COVERED)
    pixels = least * height * width
    h, w = sqrt(pixels / (shape * MAX_ASPECT)), sqrt(pixels * shape / MAX_ASPECT)
    return int(min(h, height, width / shape * MAX_ASPECT)), int(min(w, width, height * shape * MAX_ASPECT))


def check_size(height: int, width: int) -> None:
    """Raise `UnusableSample` if an image is too small to crop."""
    if min(height, width) < MIN_SOURCE_SIDE:
        raise UnusableSample(f"{width} x {height} pixels, too small: the short side needs {MIN_SOURCE_SIDE} or more")


def torchvision(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Draw a uniform area and a log-uniform ratio, ten attempts; else take the largest central box of a valid ratio.

    pytorch/vision, transforms/transforms.py, RandomResizedCrop.get_params.
    """
    for _ in range(10):
        size, ratio, x, y = rng.random(4).tolist()
        h, w = _sides(height * width, area, shape, size, ratio)
        if 0 < w <= width and 0 < h <= height:
            return _place(height, width, h, w, x, y)
    w = max(1, min(width, round(height * shape * MAX_ASPECT)))
    h = max(1, min(height, round(width / shape * MAX_ASPECT)))
    left, top = (width - w) // 2, (height - h) // 2
    return Box(left, top, left + w, top + h)


def byol(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Draw as torchvision, in one attempt; a side that is longer than the image is cut.

    google-deepmind/deepmind-research, byol/utils/dataset.py, _decode_and_random_crop.
    """
    size, ratio, x, y = rng.random(4).tolist()
    h, w = _sides(height * width, area, shape, size, ratio)
    return _place(height, width, max(1, min(h, height)), max(1, min(w, width)), x, y)


def tensorflow(height: int, width: int, area: tuple[float, float], rng: np.random.Generator, shape: float) -> Box:
    """Draw a uniform ratio, then a uniform height that gives a valid area, until a tenth of the image is covered.

    sample_distorted_bounding_box_op.cc of TensorFlow, called as in crop_and_resize of google-research/simclr's
    data_util.py: 100 attempts. If all fail (very long image, area below a tenth), crop as torchvision (TensorFlow:
    whole image).
    """
    least, most = (share * height * width for share in area)
    for _ in range(100):
        size, ratio, x, y = rng.random(4).tolist()
        ratio = shape * (1 / MAX_ASPECT + ratio * (MAX_ASPECT - 1 / MAX_ASPECT))
        top = min(round(sqrt(most / ratio)), int((width + 0.5 - 1e-7) / ratio), height)
        h = min(round(sqrt(least / ratio)), top)
        h += int(size * (top - h + 1))
        h += round(h * ratio) * h < least  # rounding alone must not fail an attempt
        h -= round(h * ratio) * h > most
        w = round(h * ratio)
        if least <= h * w <= most and 0 < w <= width and 0 < h <= height and h * w >= MIN_COVERED * height * width:
            return _place(height, width, h, w, x, y)
    return torchvision(height, width, area, rng, shape)


CROPS = {CropRule.torchvision: torchvision, CropRule.tensorflow: tensorflow, CropRule.byol: byol}


def _sides(pixels: int, area: tuple[float, float], shape: float, size: float, ratio: float) -> tuple[int, int]:
    """Return height and width, possibly beyond the image; `size` and `ratio` are random numbers in [0, 1)."""
    least, most = area
    ratio = shape * MAX_ASPECT ** (2 * ratio - 1)
    wanted = pixels * (least + size * (most - least))
    return round(sqrt(wanted / ratio)), round(sqrt(wanted * ratio))


def _place(height: int, width: int, h: int, w: int, x: float, y: float) -> Box:
    """Return an h x w box inside the image; `x` and `y` from 0 to 1 set its position."""
    left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
    return Box(left, top, left + w, top + h)


def square_side(height: int, width: int, share: float) -> int:
    """Return `share` of the short side, the side of a square. Raise `UnusableSample` if the image is too small."""
    check_size(height, width)
    return round(min(height, width) * share)


def square(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """Draw a square whose side is `share` of the short side: `Resize(256), RandomCrop(224)` is 224 / 256."""
    side = square_side(height, width, share)
    if side < MIN_SIDE:
        raise UnusableSample(f"{width} x {height} pixels, too small: --crop {share:g} gives a side below {MIN_SIDE}")
    return _place(height, width, side, side, *rng.random(2).tolist())


def squares(height: int, width: int, share: float, rng: np.random.Generator) -> Iterator[Box]:
    """Yield ten random squares, for tasks that cannot label every square."""
    for _ in range(10):
        yield square(height, width, share, rng)
