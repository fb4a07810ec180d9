"""Masks over a grid of patches: True where a patch is hidden, and always as many as asked for."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np

MIN_ASPECT = 0.3  # of a block, to 1 / 0.3
MIN_BLOCK_PATCHES = 16  # patches a block aims at, at least
MAX_ATTEMPTS = 10
GRAY = 128  # of a hidden patch, for a person to see


def random_mask(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: `count` patches, each set of them as likely (facebookresearch/mae, random_masking)."""
    mask = np.zeros(height * width, bool)
    mask[rng.permutation(len(mask))[:count]] = True
    return mask.reshape(height, width)


def block_mask(height: int, width: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: rectangles that may overlap, until `count` patches are hidden.

    microsoft/unilm, beit/masking_generator.py, which stops short of the count in a third of its masks; here patches
    beside the blocks make up for what is lacking.
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
    """Hide one more rectangle of at most `most` new patches; whether one was found."""
    height, width = mask.shape
    for _ in range(MAX_ATTEMPTS):
        area, aspect = (
            rng.uniform(min(MIN_BLOCK_PATCHES, most), max(MIN_BLOCK_PATCHES, most)),
            exp(rng.uniform(log(MIN_ASPECT), -log(MIN_ASPECT))),
        )
        h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            block = mask[top : top + h, left : left + w]
            if 0 < block.size - np.count_nonzero(block) <= most:
                block[:] = True
                return True
    return False


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the patches above, below, left and right of it."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def grid_mask(height: int, width: int, unit: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width) bool: `count` squares of patches (microsoft/SimMIM, data/data_simmim.py, MaskGenerator)."""
    return random_mask(height // unit, width // unit, count, rng).repeat(unit, 0).repeat(unit, 1)


def gray_out(image: np.ndarray, mask: np.ndarray, patch: int) -> np.ndarray:
    """(H, W, 3), (H / patch, W / patch) bool -> (H, W, 3) with the patches of the mask gray."""
    return np.where(mask.repeat(patch, 0).repeat(patch, 1)[..., None], np.uint8(GRAY), image)
