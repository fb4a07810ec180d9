"""Clusters: features -> cluster number, distance to the cluster's centroid, and margin to the second centroid.

Before k-means, features get PCA, whitening and length 1, as in DeepCluster (Caron et al. 2018, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.transforms.clustering.kmeans import balance, count_distinct, kmeans, on_sphere

BATCH_ROWS = 8  # rows of a matrix product, padded with zeros: a sample's result is the same in any batch
SMALL_CLUSTER_FACTOR = 10  # a cluster is reported as small below 1/10 of the mean size
MIN_POINTS_PER_CLUSTER = 39  # points; faiss warns below the same number
MAX_CLUSTERS = 1000  # largest default number of clusters
DISTANCE_TOLERANCE = 1e-4  # distances are 0 to about 2; a smaller difference is a rounding error
MAX_DIMENSIONS = 256  # after PCA
MIN_POINTS_PER_DIMENSION = 20  # points; with fewer, the smallest variances are noise, which whitening amplifies
FIT_ROWS = 1024  # rows of a matrix product during the fit
MIN_VARIANCE_SHARE = 1e-6  # of the largest variance; a smaller variance is a rounding error
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of the mean; a smaller deviation is float32 rounding


class Whitening(NamedTuple):
    """A PCA whitening: (n, D) features -> (n, d) uncorrelated, of variance 1, then scaled to length 1."""

    mean: np.ndarray  # (D,) float32
    basis: np.ndarray  # (D, d) float32: the directions of largest variance, each divided by its deviation

    def points(self, features: np.ndarray) -> np.ndarray:
        """Return (n, D) float32 features whitened, as (n, d) float32 rows of length 1. A row with NaN gives NaN."""
        return on_sphere((features - self.mean) @ self.basis)


def fit_whitening(features: np.ndarray) -> Whitening:
    """Fit a whitening to (n, D) features; d <= min(256, max(2, n / 20)). Raise `UserError` if all rows are the same."""
    from scipy.linalg import eigh

    n, width = features.shape
    mean = features.mean(0, dtype=np.float64)
    covariance = np.zeros((width, width))
    for i in range(0, n, FIT_ROWS):
        x = features[i : i + FIT_ROWS] - mean
        covariance += x.T @ x
    keep = min(MAX_DIMENSIONS, width, max(2, n // MIN_POINTS_PER_DIMENSION))
    variances, directions = eigh(covariance / n, subset_by_index=(width - keep, width - 1))
    good = variances > MIN_VARIANCE_SHARE * variances[-1]
    if not variances[-1] > ROUNDING**2 * (mean @ mean):
        raise UserError(f"the features of all {n} samples are the same; give other --features or samples", 3)
    basis = (directions[:, good] / np.sqrt(variances[good]))[:, ::-1]
    return Whitening(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))


class Assignment(NamedTuple):
    """The assigned clusters of n samples."""

    cluster: np.ndarray  # (n,) int64
    distance: np.ndarray  # (n,) float32: to the centroid of `cluster`
    margin: np.ndarray  # (n,) float32: extra distance to the second centroid; may be negative with --balanced


class Clusters(NamedTuple):
    """k centroids in the space of whitened features."""

    mean: np.ndarray  # (D,) float32, of `Whitening`
    basis: np.ndarray  # (D, d) float32, of `Whitening`
    centroids: np.ndarray  # (k, d) float32
    prices: np.ndarray  # (k,) float32: added to squared distances; 0 without --balanced
    sizes: np.ndarray  # (k,) int64: samples of the fit in each cluster

    def whole(self) -> bool:
        """Return whether k >= 2, and all arrays are finite, with the shapes and kinds of numbers above."""
        (width, kept), k = self.basis.shape, len(self.centroids)
        shapes = [(width,), (width, kept), (k, kept), (k,), (k,)]
        kinds = [array.dtype.kind for array in self]
        return (
            k >= 2
            and [array.shape for array in self] == shapes
            and kinds == [*"ffffi"]
            and all(np.isfinite(array).all() for array in self)
        )

    def assign(self, features: np.ndarray) -> Assignment:
        """Return for each row of (n, D) float32 features the cluster with the smallest distance**2 + price."""
        padded = np.zeros((-(-len(features) // BATCH_ROWS) * BATCH_ROWS, len(self.mean)), np.float32)
        padded[: len(features)] = features
        parts = [self._batch(padded[i : i + BATCH_ROWS]) for i in range(0, len(padded), BATCH_ROWS)]
        cluster, distance, margin = (np.concatenate(column)[: len(features)] for column in zip(*parts, strict=True))
        return Assignment(cluster, distance, margin)

    def _batch(self, features: np.ndarray) -> Assignment:
        points = Whitening(self.mean, self.basis).points(features)
        costs = (self.centroids**2).sum(1) + self.prices - 2 * points @ self.centroids.T
        first, second = np.argpartition(costs, 1, axis=1)[:, :2].T
        near, next_ = (np.linalg.norm(points - self.centroids[which], axis=1) for which in (first, second))
        return Assignment(first, near, next_ - near)

    def fault(self, features: np.ndarray, cluster: int, distance: float, margin: float) -> str | None:
        """Return the fault of an assignment of (1, D) features, or None. All centroids are compared; ties are valid."""
        from scipy.spatial.distance import cdist

        away = cdist(Whitening(self.mean, self.basis).points(features), self.centroids)[0]
        costs = away**2 + self.prices
        if not (0 <= cluster < len(costs) and costs[cluster] <= costs.min() + DISTANCE_TOLERANCE):
            return f"`cluster` is {cluster}; the stored sample belongs to cluster {costs.argmin()} of {len(costs)}"
        if not abs(distance - away[cluster]) <= DISTANCE_TOLERANCE:
            return f"`distance` is {distance:.4f}; the stored sample is {away[cluster]:.4f} from the centroid"
        others, farther = np.delete(costs, cluster), np.delete(away, cluster) - away[cluster]
        if not (abs(margin - farther[others <= others.min() + DISTANCE_TOLERANCE]) <= DISTANCE_TOLERANCE).any():
            return f"`margin` is {margin:.4f}; the second centroid is {farther[others.argmin()]:.4f} farther"
        return None


def fit_clusters(features: np.ndarray, k: int | None, seed: int, spherical: bool, equal: bool) -> Clusters:
    """Fit `k` clusters to (n, D) features. By default k is n / 39, 2 to 1000, at most the number of distinct rows.

    Raise `UserError` if there are too few samples, or if `equal` leaves a cluster empty.
    """
    n = len(features)
    if n < 2:
        raise UserError(f"only {n} samples have features, and clusters need 2; give more samples", 3)
    if k and k > n:
        raise UserError(f"--clusters {k:,}: only {n:,} samples to learn from; give {n} or fewer", 3)
    white = fit_whitening(features)
    blocks = range(0, n, FIT_ROWS)
    points = np.concatenate([white.points(features[i : i + FIT_ROWS]) for i in blocks])
    k = k or max(2, min(MAX_CLUSTERS, n // MIN_POINTS_PER_CLUSTER, count_distinct(features)))
    centroids, prices = kmeans(points, k, seed, spherical), np.zeros(k, np.float32)
    if equal:
        centroids, prices = balance(points, centroids, spherical)
    clusters = Clusters(*white, centroids, prices, np.zeros(k, np.int64))
    located = np.concatenate([clusters.assign(features[i : i + FIT_ROWS]).cluster for i in blocks])
    sizes = np.bincount(located, minlength=k)
    if equal and (empty := int((sizes == 0).sum())):
        raise UserError(f"--balanced leaves {empty} of {k} clusters empty with {n} samples; give fewer --clusters", 3)
    return clusters._replace(sizes=sizes)


def size_notes(sizes: np.ndarray, origin: str, chosen: bool) -> Sequence[str]:
    """Return how the clusters were learned, and a warning if samples were too few or clusters are small.

    `sizes`: (k,) samples of the fit in each cluster. `origin`: the name of the features. `chosen`: the user gave k.
    """
    n, k = int(sizes.sum()), len(sizes)
    learned = f"{k:,} clusters were learned from {n:,} samples, with the features {origin}"
    if chosen and n < MIN_POINTS_PER_CLUSTER * k:
        remedy = "give more samples" if k == 2 else "give fewer clusters with -k, or more samples"
        return [learned, f"{n:,} samples are fewer than {MIN_POINTS_PER_CLUSTER} for each of {k:,} clusters; {remedy}"]
    if small := int((sizes < n / k / SMALL_CLUSTER_FACTOR).sum()):
        return [learned, f"{small:,} of {k:,} clusters are smaller than 1/{SMALL_CLUSTER_FACTOR} of the mean size"]
    return [learned]
