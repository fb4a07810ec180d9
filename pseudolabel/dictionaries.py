"""Learned patches: Coates & Ng 2011, An analysis of single-layer networks in unsupervised feature learning.

6 x 6 patches of thumbnails, brought to equal contrast and whitened; a dictionary of them by k-means; a picture is how
near its patches are to each word, summed over its four quarters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pseudolabel.kmeans import kmeans

THUMBNAIL = 32  # pixels of the side, as CIFAR's
PATCH = 6  # pixels of the side
WORDS = 256
SIZE = 4 * WORDS  # 1,024 numbers to a picture
LEAST = 10.0  # added to a patch's variance, of values 0 to 255
EPSILON = 0.1  # added to the variances that are whitened
TAUGHT = 100_000  # patches the dictionary is learned from


class Dictionary(NamedTuple):
    """What is learned of patches. (D is 108: 6 x 6 pixels of three colours.)"""

    patch_mean: np.ndarray  # (D,) float32
    patch_whitening: np.ndarray  # (D, D) float32: ZCA
    patch_words: np.ndarray  # (WORDS, D) float32

    def features(self, thumbnails: np.ndarray) -> np.ndarray:
        """(n, 3072) uint8 -> (n, 1024) float32."""
        return np.stack([self._one(thumbnail) for thumbnail in thumbnails])

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
    return np.asarray(cut / np.sqrt(cut.var(1, keepdims=True) + LEAST))


def learned(thumbnails: np.ndarray, rng: np.random.Generator) -> Dictionary:
    """(n, 3072) uint8 -> the dictionary, of `TAUGHT` of their patches at most, as many of each picture."""
    each = max(1, min(TAUGHT // len(thumbnails), (THUMBNAIL - PATCH + 1) ** 2))
    some = rng.permutation(len(thumbnails))[: TAUGHT // each]
    x = np.concatenate([rng.permutation(patches(thumbnails[i]))[:each] for i in np.sort(some)])
    mean = x.mean(0)
    variances, directions = np.linalg.eigh(np.cov((x - mean).T.astype(np.float64)))
    whitening = (directions / np.sqrt(np.maximum(variances, 0) + EPSILON)) @ directions.T
    whitening = whitening.astype(np.float32)
    words = kmeans((x - mean) @ whitening, WORDS, int(rng.integers(2**31)))
    return Dictionary(mean, whitening, words)
