"""Image features for clustering: (H, W, 3) uint8 RGB -> (D,) gradients or colour statistics."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pseudolabel.transforms.image import ops

HOG_SIDE = 96  # pixels; an image is resized to this square for its gradients
CELL, BINS = 16, 9  # pixels of a cell's side; directions of a gradient
BLOCK_NORM_OFFSET = 0.1 * 4 * BINS  # added to a block's norm, so that noise in flat areas stays small
COLOR_GRID = 4  # cells per side for the colour statistics


def hog(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (900,): histograms of oriented gradients (HOG) of the luma, Dalal & Triggs 2005.

    Each gradient is split between the two nearest of 9 unsigned directions, in 6 x 6 cells of 16 pixels. Each block of
    2 x 2 cells is normalised to length 1, clipped at 0.2, and normalised again.
    """
    import cv2

    gray = cv2.cvtColor(ops.resize(image, HOG_SIDE, HOG_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = (cv2.Sobel(gray, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    strength, angle = cv2.cartToPolar(across, down)
    turns = angle * np.float32(BINS / np.pi)  # angle in units of bins; half a turn is BINS bins
    below = np.floor(turns)
    upper = strength * (turns - below)
    first = below.astype(np.int64) % BINS
    cell = np.arange(HOG_SIDE) // CELL
    at = (cell[:, None] * (HOG_SIDE // CELL) + cell) * BINS
    weights, bins = np.stack([strength - upper, upper]), np.stack([at + first, at + (first + 1) % BINS])
    counts = np.bincount(bins.ravel(), weights.ravel(), minlength=BINS * (HOG_SIDE // CELL) ** 2)
    cells = counts.reshape(HOG_SIDE // CELL, HOG_SIDE // CELL, BINS).transpose(2, 0, 1).astype(np.float32)
    blocks = sliding_window_view(cells, (2, 2), (1, 2)).transpose(1, 2, 0, 3, 4).reshape(-1, 4 * BINS)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + BLOCK_NORM_OFFSET), 0.2)
    return np.asarray(blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + 1e-6)).ravel()


def color_statistics(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (96,): mean and standard deviation of CIE L, a and b, divided by 100, in 4 x 4 cells."""
    import cv2

    side = 2 * HOG_SIDE // 3
    lab = cv2.cvtColor(ops.resize(image, side, side).astype(np.float32) / 255, cv2.COLOR_RGB2Lab) / 100
    places = (
        lab.reshape(COLOR_GRID, side // COLOR_GRID, COLOR_GRID, side // COLOR_GRID, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(COLOR_GRID**2, -1, 3)
    )
    return np.hstack([places.mean(1), places.std(1)]).ravel()
