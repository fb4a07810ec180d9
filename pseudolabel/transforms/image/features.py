"""Pictures as numbers: (H, W, 3) uint8 RGB -> a row of float32. Of gradients, colours, or patches that were learned.

The patches are those of Coates & Ng 2011, An analysis of single-layer networks in unsupervised feature learning: 6 x 6
pixels of thumbnails, brought to equal contrast and whitened; a dictionary of them by k-means; a picture is how near its
patches are to each word, summed over its four quarters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pseudolabel.contracts import UserError
from pseudolabel.transforms.image import ops
from pseudolabel.transforms.kmeans import kmeans

SIDE = 96  # pixels that a picture is squeezed to for its gradients
CELL, BINS = 16, 9  # pixels of a cell's side, directions of a gradient
LEAST = 0.1 * 4 * BINS  # added to the length of a block, so that the noise of plain ground stays small
GRID = 4  # places on each side that colours are looked up in
THUMBNAIL = 32  # pixels of the side, as CIFAR's
PATCH = 6  # pixels of the side
WORDS = 256
SIZE = 4 * WORDS  # 1,024 numbers to a picture
CONTRAST = 10.0  # added to a patch's variance, of values 0 to 255
EPSILON = 0.1  # added to the variances that are whitened
TAUGHT = 100_000  # patches the dictionary is learned from


def hog(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (900,): histograms of oriented gradients of the lightness, Dalal & Triggs 2005.

    Each gradient is shared by the two nearest of 9 directions without sign, in 6 x 6 cells of 16 pixels; each block of
    2 x 2 cells is brought to length 1, clipped at 0.2, and brought to length 1 again.
    """
    import cv2

    gray = cv2.cvtColor(ops.resize(image, SIDE, SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = (cv2.Sobel(gray, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    strength, angle = cv2.cartToPolar(across, down)
    turns = angle * np.float32(BINS / np.pi)  # a half turn is BINS
    below = np.floor(turns)
    upper = strength * (turns - below)
    first = below.astype(np.int64) % BINS
    cell = np.arange(SIDE) // CELL
    at = (cell[:, None] * (SIDE // CELL) + cell) * BINS
    weights, bins = np.stack([strength - upper, upper]), np.stack([at + first, at + (first + 1) % BINS])
    counts = np.bincount(bins.ravel(), weights.ravel(), minlength=BINS * (SIDE // CELL) ** 2)
    cells = counts.reshape(SIDE // CELL, SIDE // CELL, BINS).transpose(2, 0, 1).astype(np.float32)
    blocks = sliding_window_view(cells, (2, 2), (1, 2)).transpose(1, 2, 0, 3, 4).reshape(-1, 4 * BINS)
    blocks = np.minimum(blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + LEAST), 0.2)
    return np.asarray(blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + 1e-6)).ravel()


def color_statistics(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (96,): mean and deviation of CIE L, a and b, over 100, in each of 4 x 4 places."""
    import cv2

    side = 2 * SIDE // 3
    lab = cv2.cvtColor(ops.resize(image, side, side).astype(np.float32) / 255, cv2.COLOR_RGB2Lab) / 100
    places = lab.reshape(GRID, side // GRID, GRID, side // GRID, 3).transpose(0, 2, 1, 3, 4).reshape(GRID**2, -1, 3)
    return np.hstack([places.mean(1), places.std(1)]).ravel()


def thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) -> (3 * side * side,) uint8: so many pixels on a side, row by row."""
    return ops.resize(image, side, side).ravel()


class Dictionary(NamedTuple):
    """What is learned of patches. (D is 108: 6 x 6 pixels of three colours.)"""

    patch_mean: np.ndarray  # (D,) float32
    patch_whitening: np.ndarray  # (D, D) float32: ZCA
    patch_words: np.ndarray  # (WORDS, D) float32

    def features(self, thumbnails: np.ndarray) -> np.ndarray:
        """(n, 3072) uint8 -> (n, 1024) float32."""
        features = np.empty((len(thumbnails), SIZE), np.float32)
        for i, thumbnail in enumerate(thumbnails):
            features[i] = self._one(thumbnail)
        return features

    def _one(self, thumbnail: np.ndarray) -> np.ndarray:
        """The triangle activation max(0, mean(z) - z), z the distances to the words, summed over each quarter."""
        x = (patches(thumbnail) - self.patch_mean) @ self.patch_whitening
        squares = (x**2).sum(1)[:, None] + (self.patch_words**2).sum(1) - 2 * x @ self.patch_words.T
        distances = np.sqrt(np.maximum(squares, 0))
        near = np.maximum(0, distances.mean(1, keepdims=True) - distances)
        side = THUMBNAIL - PATCH + 1
        near, half = near.reshape(side, side, WORDS), side // 2
        return np.concatenate([part.sum((0, 1)) for rows in (near[:half], near[half:]) for part in halves(rows)])


def halves(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, k) -> its left and right half."""
    return rows[:, : rows.shape[1] // 2], rows[:, rows.shape[1] // 2 :]


def patches(thumbnail: np.ndarray) -> np.ndarray:
    """(3072,) uint8 -> (729, 108) float32: all its patches, each less its mean, over sqrt(variance + 10)."""
    image = thumbnail.reshape(THUMBNAIL, THUMBNAIL, 3).astype(np.float32)
    cut = sliding_window_view(image, (PATCH, PATCH), (0, 1)).reshape(-1, 3 * PATCH**2)
    cut = cut - cut.mean(1, keepdims=True)
    return np.asarray(cut / np.sqrt(cut.var(1, keepdims=True) + CONTRAST))


def fit_patches(thumbnails: np.ndarray, rng: np.random.Generator) -> Dictionary:
    """(n, 3072) uint8 -> the dictionary, of `TAUGHT` of their patches at most, as many of each picture."""
    each = max(1, min(TAUGHT // len(thumbnails), (THUMBNAIL - PATCH + 1) ** 2))
    some = rng.permutation(len(thumbnails))[: TAUGHT // each]
    places = (THUMBNAIL - PATCH + 1) ** 2
    x = np.concatenate([patches(thumbnails[i])[rng.permutation(places)[:each]] for i in np.sort(some)])
    mean = x.mean(0)
    variances, directions = np.linalg.eigh(np.cov((x - mean).T.astype(np.float64)))
    whitening = (directions / np.sqrt(np.maximum(variances, 0) + EPSILON)) @ directions.T
    whitening = whitening.astype(np.float32)
    try:
        words = kmeans((x - mean) @ whitening, WORDS, int(rng.integers(2**31)))
    except UserError:  # of points and clusters, which nobody asked for
        few = f"the pictures have too few different patches for the {WORDS} words of coates-ng"
        raise UserError(f"{few}; give --features hog or pixels", 3) from None
    return Dictionary(mean, whitening, words)
