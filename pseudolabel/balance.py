"""Clusters of equal size: optimal transport by Sinkhorn's steps, as in SeLa (Asano et al. 2020) and SwAV."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from pseudolabel.kmeans import means, on_sphere, threads

SOFTEST, SOFTNESSES = 0.1, 6  # how soft the assignment is at first, in squares of distances; each time it is halved
STEPS = 10  # at each softness
ROUNDS = 3  # of prices and means in turn
BLOCK = 1024  # points, whose costs are held


def balanced(points: np.ndarray, centroids: np.ndarray, spherical: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) points, (k, d) centroids -> (k, d) centroids and (k,) float32 prices: a point belongs to the cluster of
    least distance ** 2 + price, and so each has about n / k of them.

    The prices are the dual variables of the transport: a new point is labelled by them, by itself.
    """
    prices = np.zeros(len(centroids))
    with threads() as pool:
        prices = priced(pool, points, centroids, prices)
        for _ in range(ROUNDS - 1):
            labels = np.concatenate(_blocks(pool, points, centroids, prices, lambda costs: costs.argmin(1)))
            moved, sizes = means(points, labels, len(centroids))
            centroids = np.where(sizes[:, None] > 0, moved, centroids)
            centroids = on_sphere(centroids) if spherical else centroids
            prices = priced(pool, points, centroids, prices)
    return np.asarray(centroids, np.float32), prices.astype(np.float32)


def priced(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Sinkhorn's steps: each makes a cluster dearer by the logarithm of how many times n / k its share is."""
    fair = len(points) / len(centroids)
    for halvings in range(SOFTNESSES):
        soft = SOFTEST / 2**halvings
        for _ in range(STEPS):
            shares = np.sum(_blocks(pool, points, centroids, prices, partial(_softmax, soft)), 0)
            prices = prices + soft * np.log(np.maximum(shares, 1e-9) / fair)
    return np.asarray(prices - prices.mean())


def _softmax(soft: float, costs: np.ndarray) -> np.ndarray:
    """(b, k) costs -> (k,) the shares that clusters have in these points, which are one each."""
    weights = np.exp((costs.min(1, keepdims=True) - costs) / soft)
    return np.asarray((weights / weights.sum(1, keepdims=True)).sum(0))


def _blocks(
    pool: ThreadPoolExecutor,
    points: np.ndarray,
    centroids: np.ndarray,
    prices: np.ndarray,
    take: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """What `take` makes of the costs of some points at a time, (b, k) float32, in order."""
    own = ((centroids**2).sum(1) + prices).astype(np.float32)

    def block(i: int) -> np.ndarray:
        return take(own - 2 * points[i : i + BLOCK] @ centroids.T)

    return list(pool.map(block, range(0, len(points), BLOCK)))
