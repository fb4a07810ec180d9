"""k-means: the same bytes on any number of threads, for each block of points is one thread's, whichever it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from pseudolabel.sample import Refused

CELLS, EACH = 3, 20  # cells to a cluster that it is merged from, and points to a cell they are found by
MOST_CELLS = 8000  # all their distances to each other are held: 256 MB
SAME = 1e-10  # a square of a distance that is rounding: points here have length 1, or about
CELL_STEPS = 2
STEPS = 25  # of Lloyd's, at most
GAIN, FINE = 3e-3, 3e-4  # of the inertia, that a step must take off for there to be another: of many points, of few
BLOCK = 4096  # points


class Found(NamedTuple):
    """Centroids, and each point's nearest among them."""

    centroids: np.ndarray  # (k, d) float32
    labels: np.ndarray  # (n,) int64
    squares: np.ndarray  # (n,) float32, of distances


def kmeans(points: np.ndarray, k: int, seed: int, spherical: bool = False) -> np.ndarray:
    """(n, d) float32 -> (k, d) float32 centroids, none of them empty; of length 1 if `spherical`.

    Lloyd's steps from what Ward's method (1963) makes of three times as many cells of a sample: it merges the two that
    cost least, again and again, and so begins nearer to the end than seeds drawn as k-means++ draws them. First steps
    on the sample, then on all points.
    """
    if len(points) < k:
        raise Refused(f"{len(points)} points cannot be {k} clusters; give --clusters {max(1, len(points))} or fewer", 3)
    rng = np.random.default_rng(seed)
    cells = min(len(points), max(k, min(CELLS * k, MOST_CELLS)))
    order = rng.permutation(len(points))
    some = np.ascontiguousarray(points[np.sort(order[: EACH * cells])])
    seeds = points[order[:cells]]
    with threads() as pool:
        if cells > k:
            seeds = merged(lloyd(pool, some, seeds, spherical, CELL_STEPS).centroids, k)
        many = len(some) < len(points)
        found = lloyd(pool, some, seeds, spherical, gain=GAIN if many else FINE)
        if many:
            found = lloyd(pool, points, found.centroids, spherical)
        return repaired(pool, points, found)


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many as there are cores for this process: nothing else runs while a task learns."""
    import faiss

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores, initializer=partial(faiss.omp_set_num_threads, 1)) as pool:
        yield pool


def assigned(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d), (k, d) -> (n,) int64 the nearest centroid, and (n,) float32 the square of how far it is."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    blocks = [np.ascontiguousarray(points[i : i + BLOCK]) for i in range(0, len(points), BLOCK)]
    found = list(pool.map(lambda block: index.search(block, 1), blocks))
    return np.concatenate([near for _, near in found])[:, 0], np.concatenate([squares for squares, _ in found])[:, 0]


def means(points: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, d), (n,) -> (k, d) the mean of each cluster, 0 where it is empty, and (k,) int64 how many it has."""
    from scipy.sparse import csr_array

    sizes = np.bincount(labels, minlength=k)
    member = csr_array((np.ones(len(points), np.float32), np.argsort(labels, kind="stable"), np.r_[0, sizes.cumsum()]))
    member.resize(k, len(points))
    return (member @ points) / np.maximum(sizes, 1)[:, None].astype(np.float32), sizes


def lloyd(
    pool: ThreadPoolExecutor,
    points: np.ndarray,
    centroids: np.ndarray,
    spherical: bool,
    steps: int = STEPS,
    gain: float = GAIN,
) -> Found:
    """Lloyd's steps, until one gains too little. A centroid that no point is nearest to stays where it is."""
    before = np.inf
    for step in range(steps + 1):
        labels, squares = assigned(pool, points, centroids)
        inertia = float(squares.sum(dtype=np.float64))
        if step == steps or inertia >= (1 - gain) * before:
            break
        before = inertia
        moved, sizes = means(points, labels, len(centroids))
        centroids = np.where(sizes[:, None] > 0, moved, centroids)
        centroids = on_sphere(centroids) if spherical else centroids
    return Found(centroids, labels, squares)


def on_sphere(points: np.ndarray) -> np.ndarray:
    """(n, d) -> the same, each of length 1."""
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))


def merged(cells: np.ndarray, k: int) -> np.ndarray:
    """(m, d) -> (k, d): the means of the clusters that Ward's method makes of them."""
    from scipy.cluster.hierarchy import cut_tree, ward

    return means(cells, cut_tree(ward(cells.astype(np.float64)), k)[:, 0], k)[0]


def repaired(pool: ThreadPoolExecutor, points: np.ndarray, found: Found) -> np.ndarray:
    """Put each centroid that no point is nearest to on one of the points that are farthest from their own."""
    centroids, labels, squares = found
    while len(empty := np.flatnonzero(np.bincount(labels, minlength=len(centroids)) == 0)):
        far = np.argsort(-squares, kind="stable")[: len(empty)]
        if squares[far[0]] <= SAME:
            some = len(centroids) - len(empty)
            raise Refused(f"there are only {some} different points; give --clusters {some} or fewer", 3)
        centroids = centroids.copy()
        centroids[empty] = points[far]
        labels, squares = assigned(pool, points, centroids)
    return centroids
