"""What DeepCluster does to features before k-means: PCA, whitening, length 1 (Caron et al. 2018, section 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pseudolabel.sample import Refused

DIMENSIONS = 256
EACH = 20  # points to a dimension, at least: of fewer, the least variances are chance, which whitening blows up
BATCH = 1024  # rows of a matrix product while learning
FLAT = 1e-6  # of the largest variance: what is below is rounding


class Whitening(NamedTuple):
    """(n, D) features -> (n, d) of variance 1 and not correlated, then of length 1."""

    mean: np.ndarray  # (D,) float32
    basis: np.ndarray  # (D, d) float32: the directions of largest variance, each over its deviation

    def points(self, features: np.ndarray) -> np.ndarray:
        """(n, D) float32 -> (n, d) float32. A row's length is 1, of NaN NaN."""
        white = (features - self.mean) @ self.basis
        return np.asarray(white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12))


def learned(features: np.ndarray) -> Whitening:
    """(n, D) -> the whitening: of `DIMENSIONS`, or n / 20 if that is less. Refused where all rows are the same."""
    from scipy.linalg import eigh

    n, width = features.shape
    mean = features.mean(0, dtype=np.float64)
    covariance = np.zeros((width, width))
    for i in range(0, n, BATCH):
        x = features[i : i + BATCH] - mean
        covariance += x.T @ x
    keep = min(DIMENSIONS, width, max(2, n // EACH))
    variances, directions = eigh(covariance / n, subset_by_index=(width - keep, width - 1))
    good = variances > FLAT * max(variances[-1], np.finfo(np.float32).tiny)
    if not variances[-1] > np.finfo(np.float32).eps * (mean @ mean):
        raise Refused(f"the features of all {n} samples are the same: there is nothing to tell clusters by", 3)
    basis = (directions[:, good] / np.sqrt(variances[good]))[:, ::-1]
    return Whitening(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))
