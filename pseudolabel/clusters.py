"""Clusters: what turns features into a cluster's number, how far it is, and how much farther the next one would be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pseudolabel import whitening
from pseudolabel.balance import balanced
from pseudolabel.kmeans import kmeans
from pseudolabel.sample import Refused
from pseudolabel.whitening import Whitening

BATCH = 8  # rows of a matrix product, the last ones of zeros: a sample's numbers do not depend on its company
FEWEST = 39  # points to a cluster, below which faiss warns, too
MOST = 1000  # clusters, unless more are asked for
SAME = 1e-4  # of distances up to 2: what is nearer than that is the same, but for rounding


class Located(NamedTuple):
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

    def located(self, features: np.ndarray) -> Located:
        """(n, D) float32 -> the cluster of least distance ** 2 + price, for each."""
        padded = np.zeros((-(-len(features) // BATCH) * BATCH, len(self.mean)), np.float32)
        padded[: len(features)] = features
        parts = [self._batch(padded[i : i + BATCH]) for i in range(0, len(padded), BATCH)]
        cluster, distance, margin = (np.concatenate(column)[: len(features)] for column in zip(*parts, strict=True))
        return Located(cluster, distance, margin)

    def _batch(self, features: np.ndarray) -> Located:
        points = Whitening(self.mean, self.basis).points(features)
        costs = (self.centroids**2).sum(1) + self.prices - 2 * points @ self.centroids.T
        first, second = np.argpartition(costs, 1, axis=1)[:, :2].T
        near, next_ = (np.linalg.norm(points - self.centroids[which], axis=1) for which in (first, second))
        return Located(first, near, next_ - near)

    def fault(self, features: np.ndarray, cluster: int, distance: float, margin: float) -> str | None:
        """(1, D), and where they are said to be -> what of that is false, by all distances; ties are no fault."""
        from scipy.spatial.distance import cdist

        away = cdist(Whitening(self.mean, self.basis).points(features), self.centroids)[0]
        costs = away**2 + self.prices
        if not (0 <= cluster < len(costs) and costs[cluster] <= costs.min() + SAME):
            return f"`cluster` is {cluster}; what is stored belongs to {costs.argmin()} of {len(costs)}"
        if not abs(distance - away[cluster]) <= SAME:
            return f"`distance` is {distance:.4f}; the centroid is {away[cluster]:.4f} from what is stored"
        others, farther = np.delete(costs, cluster), np.delete(away, cluster) - away[cluster]
        if not (abs(margin - farther[others <= others.min() + SAME]) <= SAME).any():
            return f"`margin` is {margin:.4f}; the second centroid is {farther[others.argmin()]:.4f} farther"
        return None


def learned(features: np.ndarray, k: int | None, seed: int, spherical: bool, equal: bool) -> Clusters:
    """(n, D) features of a sample -> its clusters; as many as there are 39 points for, 2 to 1000, unless `k` says."""
    if len(features) < 2:
        raise Refused(f"there are features of {len(features)} samples, too few for clusters; see which are skipped", 3)
    white = whitening.learned(features)
    blocks = range(0, len(features), whitening.BATCH)
    points = np.concatenate([white.points(features[i : i + whitening.BATCH]) for i in blocks])
    k = k or max(2, min(MOST, len(points) // FEWEST))
    centroids, prices = kmeans(points, k, seed, spherical), np.zeros(k, np.float32)
    if equal:
        centroids, prices = balanced(points, centroids, spherical)
    clusters = Clusters(*white, centroids, prices, np.zeros(k, np.int64))
    located = np.concatenate([clusters.located(features[i : i + whitening.BATCH]).cluster for i in blocks])
    return clusters._replace(sizes=np.bincount(located, minlength=k))


class Codebook(NamedTuple):
    """What `centroids.npz` holds: all that is needed to label more data the same way."""

    clusters: Clusters
    learned: Mapping[str, np.ndarray]  # what the features need
    about: Mapping[str, Any]  # the features' name and the options they depend on

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez(path, about=json.dumps(self.about), **self.clusters._asdict(), **self.learned)  # type: ignore[arg-type]


def load(path: Path) -> Codebook:
    """Read `centroids.npz`; refused where it is none."""
    try:
        with np.load(path) as arrays:
            held = {name: np.asarray(arrays[name]) for name in arrays.files}
        about = json.loads(str(held.pop("about")))
        clusters = Clusters(*(held.pop(name) for name in Clusters._fields))
        whole = all(np.isfinite(part).all() for part in clusters) and clusters.basis.shape == (
            len(clusters.mean),
            clusters.centroids.shape[1],
        )
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        why = type(fault).__name__
        raise Refused(f"--codebook {path} cannot be read ({why}); give a centroids.npz that cluster saved") from None
    if not whole:
        raise Refused(f"--codebook {path} holds numbers that do not fit each other; give one that is whole")
    return Codebook(clusters, held, about)
