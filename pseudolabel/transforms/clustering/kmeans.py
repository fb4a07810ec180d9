"""k-means: the same bytes on any number of threads, for each block of points is one thread's, whichever it is.

And clusters of equal size: optimal transport by Sinkhorn's steps, as in SeLa (Asano et al. 2020) and SwAV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UserError, usable_cores

CELLS_PER_CLUSTER, POINTS_PER_CELL = (
    3,
    20,
)  # cells to a cluster that it is merged from, and points to a cell they are found by
MAX_CELLS = 5000  # all their distances to each other are held, twice: 200 MB
DISTANCE_NOISE = 16 * float(
    np.finfo(np.float32).eps
)  # of |x| ** 2: what |x| ** 2 + |c| ** 2 - 2 x c may be off where x is c, twice
MAX_REPAIR_ROUNDS = 100  # of repair, at most; one or two is what it takes
CELL_STEPS = 2
MAX_STEPS = 25  # of Lloyd's, at most
MIN_GAIN, MIN_GAIN_FEW = (
    3e-3,
    3e-4,
)  # of the inertia, that a step must take off for there to be another: of many points, of few
BLOCK_POINTS = 4096  # points
FIRST_SOFTNESS, SOFTNESSES = (
    0.1,
    6,
)  # how soft the assignment is at first, in squares of distances; each time it is halved
SOFT_STEPS = 10  # at each softness
PRICE_ROUNDS = 3  # of prices and means in turn
BLOCK_COSTS = 1024  # points, whose costs are held


class KMeansResult(NamedTuple):
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
        raise UserError(
            f"{len(points)} points cannot be {k} clusters; give --clusters {max(1, len(points))} or fewer", 3
        )
    rng = np.random.default_rng(seed)
    cells = min(len(points), max(k, min(CELLS_PER_CLUSTER * k, MAX_CELLS)))
    order = rng.permutation(len(points))
    some = np.ascontiguousarray(points[np.sort(order[: POINTS_PER_CELL * cells])])
    seeds = points[order[:cells]]
    with threads() as pool:
        if cells > k:
            seeds = ward_merge(lloyd(pool, some, seeds, spherical, CELL_STEPS).centroids, k)
        many = len(some) < len(points)
        found = lloyd(pool, some, seeds, spherical, gain=MIN_GAIN if many else MIN_GAIN_FEW)
        if many:
            found = lloyd(pool, points, found.centroids, spherical)
        return repair_empty(pool, points, found)


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of one thread per usable core. No other process works while a task learns."""
    import faiss

    with ThreadPoolExecutor(usable_cores(), initializer=partial(faiss.omp_set_num_threads, 1)) as pool:
        yield pool


def assign(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d), (k, d) -> (n,) int64 the nearest centroid, and (n,) float32 the square of how far it is."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    blocks = [np.ascontiguousarray(points[i : i + BLOCK_POINTS]) for i in range(0, len(points), BLOCK_POINTS)]
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
    steps: int = MAX_STEPS,
    gain: float = MIN_GAIN,
) -> KMeansResult:
    """Lloyd's steps, until one gains too little. A centroid that no point is nearest to stays where it is."""
    before = np.inf
    for step in range(steps + 1):
        labels, squares = assign(pool, points, centroids)
        inertia = float(squares.sum(dtype=np.float64))
        if step == steps or inertia >= (1 - gain) * before:
            break
        before = inertia
        moved, sizes = means(points, labels, len(centroids))
        centroids = np.where(sizes[:, None] > 0, moved, centroids)
        centroids = on_sphere(centroids) if spherical else centroids
    return KMeansResult(centroids, labels, squares)


def on_sphere(points: np.ndarray) -> np.ndarray:
    """(n, d) -> the same, each of length 1."""
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))


def ward_merge(cells: np.ndarray, k: int) -> np.ndarray:
    """(m, d) -> (k, d): the means of the clusters that Ward's method makes of them."""
    from scipy.cluster.hierarchy import cut_tree, ward

    return means(cells, cut_tree(ward(cells.astype(np.float64)), k)[:, 0], k)[0]


def repair_empty(pool: ThreadPoolExecutor, points: np.ndarray, found: KMeansResult) -> np.ndarray:
    """Put each centroid that no point is nearest to on one of the points farthest from their own, all different."""
    centroids, labels, squares = found
    k, noise = len(centroids), DISTANCE_NOISE * float(np.einsum("nd,nd->n", points, points).max())
    for _ in range(MAX_REPAIR_ROUNDS):
        idle = np.bincount(labels, minlength=k) == 0
        idle[np.setdiff1d(np.arange(k), np.unique(centroids, axis=0, return_index=True)[1])] = True  # one is twice
        empty = np.flatnonzero(idle)
        if not len(empty):
            return centroids
        far = farthest(points, squares, len(empty), noise)
        if not far:  # each point is where its centroid is, as far as can be told
            break
        centroids = centroids.copy()
        centroids[empty[: len(far)]] = points[far]
        labels, squares = assign(pool, points, centroids)
    some = count_distinct(points)
    some = some if some < k else k - len(empty)  # the others are too near to those to be told apart
    raise UserError(f"there are only {some} different points; give --clusters {some} or fewer", 3)


def farthest(points: np.ndarray, squares: np.ndarray, count: int, noise: float) -> list[int]:
    """Which `count` points are farthest, no two of them the same, none nearer than rounding; fewer if there are."""
    chosen: dict[bytes, int] = {}
    for i in np.argsort(-squares, kind="stable").tolist():
        if len(chosen) == count or squares[i] <= noise:
            break
        chosen.setdefault(points[i].tobytes(), i)
    return list(chosen.values())


def count_distinct(points: np.ndarray) -> int:
    """(n, d) -> how many of them are different."""
    return len({hash(point.tobytes()) for point in points})


# --- clusters of equal size ------------------------------------------------------------------------------------------


def balance(points: np.ndarray, centroids: np.ndarray, spherical: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) points, (k, d) centroids -> (k, d) centroids and (k,) float32 prices: a point belongs to the cluster of
    least distance ** 2 + price, and so each has about n / k of them.

    The prices are the dual variables of the transport: a new point is labelled by them, by itself.
    """
    prices = np.zeros(len(centroids))
    with threads() as pool:
        prices = sinkhorn(pool, points, centroids, prices)
        for _ in range(PRICE_ROUNDS - 1):
            labels = np.concatenate(_blocks(pool, points, centroids, prices, lambda costs: costs.argmin(1)))
            moved, sizes = means(points, labels, len(centroids))
            centroids = np.where(sizes[:, None] > 0, moved, centroids)
            centroids = on_sphere(centroids) if spherical else centroids
            prices = sinkhorn(pool, points, centroids, prices)
    return np.asarray(centroids, np.float32), prices.astype(np.float32)


def sinkhorn(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Sinkhorn's steps: each makes a cluster dearer by the logarithm of how many times n / k its share is."""
    fair = len(points) / len(centroids)
    for halvings in range(SOFTNESSES):
        soft = FIRST_SOFTNESS / 2**halvings
        for _ in range(SOFT_STEPS):
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
        return take(own - 2 * points[i : i + BLOCK_COSTS] @ centroids.T)

    return list(pool.map(block, range(0, len(points), BLOCK_COSTS)))
