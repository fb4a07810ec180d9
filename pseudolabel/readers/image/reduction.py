"""Reduced decoding: decode a JPEG at a half, a quarter or an eighth of its size where that shows all that is asked for.

A pixel of the reduced image is what libjpeg makes of 2 x 2, 4 x 4 or 8 x 8 pixels of the source; pixels of the last
column and row that are made of fewer are left out. So whole pixels of the reduced image are whole pixels of the source.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pseudolabel.contracts import Skipped, or_skipped
from pseudolabel.readers.image.chroma import jpeg_sampling
from pseudolabel.readers.image.jpeg import read_jpeg_header
from pseudolabel.readers.image.orientation import jpeg_orientation

FACTORS = (8, 4, 2)  # libjpeg decodes at these with SIMD, and needs half of the time
Suffices = Callable[[int, int], bool]  # (height, width) -> whether an image of this size has enough pixels


class ReducedImage(np.ndarray):
    """An image that was decoded at 1 / `factor` of its size."""

    factor: int

    def __new__(cls, image: np.ndarray, factor: int) -> ReducedImage:
        made = image.view(cls)
        made.factor = factor
        return made

    def __array_finalize__(self, whole: Any) -> None:
        """Keep the factor of the image that this one is a part of."""
        self.factor = getattr(whole, "factor", 1)


def reduction(data: bytes, suffices: Suffices) -> int:
    """Return the largest factor by which a file may be reduced. 1: not at all, or it is not a regular JPEG.

    Chroma must suffice too. If `suffices` raises `SampleError`, every pixel is needed: its reason names the source.
    """
    header = read_jpeg_header(data)
    if not header or header.components not in (1, 3):
        return 1
    sides = (header.height, header.width)
    sampling = jpeg_sampling(header.factors)
    if not sampling.even and min(sampling.across, sampling.down) > 1:  # libjpeg then scales chroma in another way
        return 1
    step = 1 if sampling.even else max(sampling.across, sampling.down)  # what libjpeg leaves coarser in one direction
    orientation = 0
    for factor in FACTORS:
        height, width = (side // (factor * step) for side in sides)
        if not height or not width or not _holds(suffices, height, width):
            continue
        orientation = orientation or jpeg_orientation(header.metadata)
        if orientation in (5, 6, 7, 8) and not _holds(suffices, width, height):
            continue
        if orientation == 1 or not any(side % factor for side in sides):  # else the image would begin within a pixel
            return factor
    return 1


def _holds(suffices: Suffices, height: int, width: int) -> bool:
    enough = or_skipped(partial(suffices, height, width))
    return not isinstance(enough, Skipped) and bool(enough)  # it may be a bool of NumPy
