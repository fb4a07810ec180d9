"""Masks over a grid of patches: true for hidden patches, with an exact number of them."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np

MIN_ASPECT = 0.3  # aspect ratios of a block: 0.3 to 1 / 0.3
MIN_BLOCK_PATCHES = 16  # patches; smallest target area of a block
MAX_ATTEMPTS = 10  # to place one block
GRAY = 128  # value of a hidden patch in a rendered image


def random_mask(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: hide `count` patches, all sets equally likely (facebookresearch/mae, random_masking)."""
    mask = np.zeros(height * width, bool)
    mask[rng.permutation(len(mask))[:count]] = True
    return mask.reshape(height, width)


def block_mask(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: hide exactly `count` patches in rectangles, which may overlap.

    microsoft/unilm, beit/masking_generator.py. The reference hides fewer than `count` in a third of its masks; here
    patches next to the blocks are hidden until the count is reached.
    """
    mask = np.zeros((height, width), bool)
    while (left := count - np.count_nonzero(mask)) and _block(mask, int(left), rng):
        pass
    while left := count - np.count_nonzero(mask):
        beside = np.flatnonzero(_grown(mask) & ~mask)
        beside = beside if len(beside) else np.flatnonzero(~mask)
        mask.flat[rng.permutation(beside)[:left]] = True
    return mask


def _block(mask: np.ndarray, most: int, rng: np.random.Generator) -> bool:
    """Hide one more rectangle with 1 to `most` new patches. Return whether one was found."""
    height, width = mask.shape
    for _ in range(MAX_ATTEMPTS):
        area = rng.uniform(min(MIN_BLOCK_PATCHES, most), max(MIN_BLOCK_PATCHES, most))
        aspect = exp(rng.uniform(log(MIN_ASPECT), -log(MIN_ASPECT)))
        h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            block = mask[top : top + h, left : left + w]
            if 0 < block.size - np.count_nonzero(block) <= most:
                block[:] = True
                return True
    return False


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return the mask extended by the patches above, below, left and right of it."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def grid_mask(height: int, width: int, unit: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: hide `count` squares of side `unit` (microsoft/SimMIM, data_simmim.py, MaskGenerator)."""
    return random_mask(height // unit, width // unit, count, rng).repeat(unit, 0).repeat(unit, 1)


def gray_out(image: np.ndarray, mask: np.ndarray, patch: int) -> np.ndarray:
    """(H, W, 3), (H / patch, W / patch) bool -> (H, W, 3) with the hidden patches in gray."""
    return np.where(mask.repeat(patch, 0).repeat(patch, 1)[..., None], np.uint8(GRAY), image)
