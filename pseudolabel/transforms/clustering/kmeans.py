"""k-means with a result that does not depend on the number of threads: one thread computes a whole block of points.

Clusters of equal size come from optimal transport by Sinkhorn iterations, as in SeLa (Asano et al. 2020) and SwAV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UserError, usable_cores

CELLS_PER_CLUSTER, POINTS_PER_CELL = 3, 20  # cells (small clusters) that make a cluster, points that make a cell
MAX_CELLS = 5000  # all pairwise distances of cells are in memory, twice: 200 MB
# A share of |x| ** 2: twice the rounding error of |x| ** 2 + |c| ** 2 - 2 x c where x equals c.
DISTANCE_NOISE = 16 * float(np.finfo(np.float32).eps)
MAX_REPAIR_ROUNDS = 100  # one or two are usual
CELL_STEPS = 2  # Lloyd iterations on cells
MAX_STEPS = 25  # Lloyd iterations
# Lloyd iterations stop when one reduces the inertia by less than this share. FEW: the sample holds all points.
MIN_GAIN, MIN_GAIN_FEW = 3e-3, 3e-4
BLOCK_POINTS = 4096  # points in a block that is assigned
FIRST_SOFTNESS, SOFTNESSES = 0.1, 6  # first temperature, in squared distances; number of temperatures, each halved
SOFT_STEPS = 10  # Sinkhorn iterations per temperature
PRICE_ROUNDS = 3  # rounds of prices; the means are updated between two rounds
BLOCK_COSTS = 1024  # points in a block of costs


class KMeansResult(NamedTuple):
    """Centroids, and the nearest centroid of each point."""

    centroids: np.ndarray  # (k, d) float32
    labels: np.ndarray  # (n,) int64
    squares: np.ndarray  # (n,) float32: squared distances to the nearest centroid


def kmeans(points: np.ndarray, k: int, seed: int, spherical: bool = False) -> np.ndarray:
    """Return (k, d) float32 centroids of (n, d) float32 points, no cluster empty, of length 1 if `spherical`.

    Find 3 k cells of a sample by Lloyd iterations. Merge the cheapest pair by Ward's method (1963) until k are left.
    Then run Lloyd iterations on the sample, and after that on all points. This start is nearer to the final centroids
    than seeds drawn as in k-means++. Raise `UserError` if there are fewer than k different points.
    """
    if len(points) < k:
        raise UserError(f"--clusters {k}: only {len(points)} points; give {max(1, len(points))} or fewer", 3)
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
    """Yield a pool of one thread per usable core. No other process works during a fit."""
    import faiss

    with ThreadPoolExecutor(usable_cores(), initializer=partial(faiss.omp_set_num_threads, 1)) as pool:
        yield pool


def assign(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of (k, d) centroids for (n, d) points, (n,) int64, and (n,) float32 squared distances."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    blocks = [np.ascontiguousarray(points[i : i + BLOCK_POINTS]) for i in range(0, len(points), BLOCK_POINTS)]
    found = list(pool.map(lambda block: index.search(block, 1), blocks))
    return np.concatenate([near for _, near in found])[:, 0], np.concatenate([squares for squares, _ in found])[:, 0]


def means(points: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (k, d) means and (k,) int64 sizes of clusters, by the (n,) labels of points. An empty one has mean 0."""
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
    """Run Lloyd iterations until one lowers the inertia by at most the share `gain`."""
    before = np.inf
    for step in range(steps + 1):
        labels, squares = assign(pool, points, centroids)
        inertia = float(squares.sum(dtype=np.float64))
        if step == steps or inertia >= (1 - gain) * before:
            break
        before = inertia
        centroids = move(points, labels, centroids, spherical)
    return KMeansResult(centroids, labels, squares)


def move(points: np.ndarray, labels: np.ndarray, centroids: np.ndarray, spherical: bool) -> np.ndarray:
    """Return (k, d) centroids moved to the means of their points. Empty clusters do not move."""
    moved, sizes = means(points, labels, len(centroids))
    moved = np.where(sizes[:, None] > 0, moved, centroids)
    return on_sphere(moved) if spherical else moved


def on_sphere(points: np.ndarray) -> np.ndarray:
    """Return (n, d) points scaled to length 1."""
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))


def ward_merge(cells: np.ndarray, k: int) -> np.ndarray:
    """Merge (m, d) cells into k clusters by Ward's method, and return the (k, d) means of the cells."""
    from scipy.cluster.hierarchy import cut_tree, ward

    return means(cells, cut_tree(ward(cells.astype(np.float64)), k)[:, 0], k)[0]


def repair_empty(pool: ThreadPoolExecutor, points: np.ndarray, found: KMeansResult) -> np.ndarray:
    """Return centroids without empty clusters: move unused ones to distinct points far from their centroids."""
    centroids, labels, squares = found
    k, noise = len(centroids), DISTANCE_NOISE * float(np.einsum("nd,nd->n", points, points).max())
    for _ in range(MAX_REPAIR_ROUNDS):
        idle = np.bincount(labels, minlength=k) == 0
        idle[np.setdiff1d(np.arange(k), np.unique(centroids, axis=0, return_index=True)[1])] = True  # a duplicate
        empty = np.flatnonzero(idle)
        if not len(empty):
            return centroids
        far = farthest(points, squares, len(empty), noise)
        if not far:  # every point equals its centroid, up to rounding
            break
        centroids = centroids.copy()
        centroids[empty[: len(far)]] = points[far]
        labels, squares = assign(pool, points, centroids)
    some = count_distinct(points)
    some = some if some < k else k - len(empty)  # more points are distinct, but by rounding only
    raise UserError(f"--clusters is too large: only {some} different points; give {some} or fewer", 3)


def farthest(points: np.ndarray, squares: np.ndarray, count: int, noise: float) -> list[int]:
    """Return the indices of at most `count` different points with the largest `squares`, all above `noise`."""
    chosen: dict[bytes, int] = {}
    for i in np.argsort(-squares, kind="stable").tolist():
        if len(chosen) == count or squares[i] <= noise:
            break
        chosen.setdefault(points[i].tobytes(), i)
    return list(chosen.values())


def count_distinct(points: np.ndarray) -> int:
    """Return how many of the (n, d) points are different."""
    return len({hash(point.tobytes()) for point in points})


# --- clusters of equal size ------------------------------------------------------------------------------------------


def balance(points: np.ndarray, centroids: np.ndarray, spherical: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (k, d) centroids and (k,) float32 prices for clusters of about n / k of the (n, d) points.

    A point belongs to the cluster with the smallest distance ** 2 + price. The prices are the dual variables of the
    optimal transport; with them a new point can be labelled alone.
    """
    prices = np.zeros(len(centroids))
    with threads() as pool:
        prices = sinkhorn(pool, points, centroids, prices)
        for _ in range(PRICE_ROUNDS - 1):
            labels = np.concatenate(_blocks(pool, points, centroids, prices, lambda costs: costs.argmin(1)))
            centroids = move(points, labels, centroids, spherical)
            prices = sinkhorn(pool, points, centroids, prices)
    return np.asarray(centroids, np.float32), prices.astype(np.float32)


def sinkhorn(pool: ThreadPoolExecutor, points: np.ndarray, centroids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Return prices after Sinkhorn iterations. Each adds temperature * log(sum of shares / (n / k)) to every price."""
    fair = len(points) / len(centroids)
    for halvings in range(SOFTNESSES):
        soft = FIRST_SOFTNESS / 2**halvings
        for _ in range(SOFT_STEPS):
            shares = np.sum(_blocks(pool, points, centroids, prices, partial(_softmax, soft)), 0)
            prices = prices + soft * np.log(np.maximum(shares, 1e-9) / fair)
    return np.asarray(prices - prices.mean())


def _softmax(soft: float, costs: np.ndarray) -> np.ndarray:
    """Return (k,) sums of the clusters' shares in b points, from (b, k) costs. The shares of one point add up to 1."""
    weights = np.exp((costs.min(1, keepdims=True) - costs) / soft)
    return np.asarray((weights / weights.sum(1, keepdims=True)).sum(0))


def _blocks(
    pool: ThreadPoolExecutor,
    points: np.ndarray,
    centroids: np.ndarray,
    prices: np.ndarray,
    take: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Return `take(costs)` of every block, in order. Costs are (b, k) float32: distance ** 2 + price - |x| ** 2."""
    own = ((centroids**2).sum(1) + prices).astype(np.float32)

    def block(i: int) -> np.ndarray:
        return take(own - 2 * points[i : i + BLOCK_COSTS] @ centroids.T)

    return list(pool.map(block, range(0, len(points), BLOCK_COSTS)))
