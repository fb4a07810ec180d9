"""Clusters: what turns features into a cluster's number, how far it is, and how much farther the next one would be.

Before k-means DeepCluster does this to features: PCA, whitening, length 1 (Caron et al. 2018, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.transforms.clustering.kmeans import balance, count_distinct, kmeans

BATCH_ROWS = 8  # rows of a matrix product, the last ones of zeros: a sample's numbers do not depend on its company
SMALL_CLUSTER_FACTOR = 10  # times smaller than on average is a cluster that is reported
MIN_POINTS_PER_CLUSTER = 39  # points to a cluster, below which faiss warns, too
MAX_CLUSTERS = 1000  # clusters, unless more are asked for
DISTANCE_TOLERANCE = 1e-4  # of distances up to 2: what is nearer than that is the same, but for rounding
MAX_DIMENSIONS = 256
MIN_POINTS_PER_DIMENSION = (
    20  # points to a dimension, at least: of fewer, the least variances are chance, which whitening blows up
)
FIT_ROWS = 1024  # rows of a matrix product while learning
MIN_VARIANCE_SHARE = 1e-6  # of the largest variance: what is below is rounding
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of a mean: a deviation below it is that of float32 itself


class Whitening(NamedTuple):
    """(n, D) features -> (n, d) of variance 1 and not correlated, then of length 1."""

    mean: np.ndarray  # (D,) float32
    basis: np.ndarray  # (D, d) float32: the directions of largest variance, each over its deviation

    def points(self, features: np.ndarray) -> np.ndarray:
        """(n, D) float32 -> (n, d) float32. A row's length is 1, of NaN NaN."""
        white = (features - self.mean) @ self.basis
        return np.asarray(white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12))


def fit_whitening(features: np.ndarray) -> Whitening:
    """(n, D) -> the whitening: of `DIMENSIONS`, or n / 20 if that is less. Refused where all rows are the same."""
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
        raise UserError(f"the features of all {n} samples are the same: there is nothing to tell clusters by", 3)
    basis = (directions[:, good] / np.sqrt(variances[good]))[:, ::-1]
    return Whitening(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))


class Assignment(NamedTuple):
    """Where n samples are."""

    cluster: np.ndarray  # (n,) int64
    distance: np.ndarray  # (n,) float32: to the centroid
    margin: np.ndarray  # (n,) float32: how much farther the second is; below 0 where --balanced prices chose


class Clusters(NamedTuple):
    """k centroids among whitened features."""

    mean: np.ndarray  # (D,) float32, of `Whitening`
    basis: np.ndarray  # (D, d) float32, of `Whitening`
    centroids: np.ndarray  # (k, d) float32
    prices: np.ndarray  # (k,) float32: added to the square of a distance; 0 unless balanced
    sizes: np.ndarray  # (k,) int64: points of the sample that it was learned from

    def whole(self) -> bool:
        """Whether the arrays are of these shapes, and finite."""
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
        """(n, D) float32 -> the cluster of least distance ** 2 + price, for each."""
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
        """(1, D), and where they are said to be -> what of that is false, by all distances; ties are no fault."""
        from scipy.spatial.distance import cdist

        away = cdist(Whitening(self.mean, self.basis).points(features), self.centroids)[0]
        costs = away**2 + self.prices
        if not (0 <= cluster < len(costs) and costs[cluster] <= costs.min() + DISTANCE_TOLERANCE):
            return f"`cluster` is {cluster}; what is stored belongs to {costs.argmin()} of {len(costs)}"
        if not abs(distance - away[cluster]) <= DISTANCE_TOLERANCE:
            return f"`distance` is {distance:.4f}; the centroid is {away[cluster]:.4f} from what is stored"
        others, farther = np.delete(costs, cluster), np.delete(away, cluster) - away[cluster]
        if not (abs(margin - farther[others <= others.min() + DISTANCE_TOLERANCE]) <= DISTANCE_TOLERANCE).any():
            return f"`margin` is {margin:.4f}; the second centroid is {farther[others.argmin()]:.4f} farther"
        return None


def fit_clusters(features: np.ndarray, k: int | None, seed: int, spherical: bool, equal: bool) -> Clusters:
    """(n, D) features of a sample -> its clusters; as many as there are 39 points for, 2 to 1000, unless `k` says."""
    n = len(features)
    if n < 2:
        raise UserError(f"clusters need features of 2 samples at least, and {n} had any; give more", 3)
    if k and k > n:
        raise UserError(
            f"clusters are learned from {n:,} samples, which cannot be {k:,}; give --clusters {n} or fewer", 3
        )
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
        raise UserError(f"--balanced leaves {empty} of {k} clusters empty, of {n} samples; give fewer --clusters", 3)
    return clusters._replace(sizes=sizes)


def size_notes(sizes: np.ndarray, origin: str, chosen: bool) -> Sequence[str]:
    """(k,) samples learned from in each cluster -> how the clusters were learned, and whether from too little.

    `origin` names the features; `chosen`: the user gave k.
    """
    n, k = int(sizes.sum()), len(sizes)
    learned = f"{k:,} clusters, of features {origin}, were learned from {n:,} samples"
    if chosen and n < MIN_POINTS_PER_CLUSTER * k:
        remedy = "give more samples" if k == 2 else "take fewer with -k, or give more samples"
        return [learned, f"{n:,} samples are fewer than {MIN_POINTS_PER_CLUSTER} to each of {k:,} clusters; {remedy}"]
    if small := int((sizes < n / k / SMALL_CLUSTER_FACTOR).sum()):
        return [
            learned,
            f"{small:,} of {k:,} clusters have less than 1/{SMALL_CLUSTER_FACTOR} of the samples of an average one",
        ]
    return [learned]


def largest_share(sizes: np.ndarray) -> str:
    """(k,) samples learned from in each cluster -> how often a guess is right that always names the largest."""
    largest = f"always naming the largest of {len(sizes):,} clusters"
    return f"{sizes.max() / sizes.sum():.1%}, {largest}, by the samples they were learned from"
