"""Sets of permutations with a guaranteed minimum distance: the labels of jigsaw puzzles."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from math import factorial

import numpy as np

from pseudolabel.contracts import UserError

POOL = 2**15  # candidates of the search if there are too many permutations to try all
INFINITY = 8  # point at infinity of the projective line; the other points are the elements 0..7 of GF(8)


@lru_cache
def permutation_set(n: int, count: int) -> tuple[np.ndarray, int]:
    """Choose `count` permutations of `n` places with a large minimum distance; the choice is always the same.

    Return (count, n) int64, and the smallest number of places in which two of them differ (Hamming distance).
    """
    if count > factorial(n):
        raise UserError(f"{n} tiles have only {factorial(n)} permutations, not {count}; give {factorial(n)} or fewer")
    chosen = _projective(count) if n == 9 and count <= 1512 else _far_apart(n, count)
    chosen.flags.writeable = False  # one copy serves every caller
    return chosen, least_distance(chosen)


def least_distance(chosen: np.ndarray) -> int:
    """Return the smallest Hamming distance of any two of (count, n) permutations."""
    columns = np.ascontiguousarray(chosen.T.astype(np.int8))
    nearest = [_distances(columns[:, i + 1 :], columns[:, i]).min() for i in range(len(chosen) - 1)]
    return int(min(nearest, default=chosen.shape[1]))


def _distances(columns: np.ndarray, one: np.ndarray) -> np.ndarray:
    """(n, m) permutations as columns (faster to count) and (n,) -> (m,) number of places that differ."""
    return np.asarray((columns != one[:, None]).sum(0, dtype=np.int8))


def _projective(count: int) -> np.ndarray:
    """Return up to 504 permutations of nine places at distance 7, or up to 1512 at distance 6.

    PGL(2, 8), the maps x -> (ax + b) / (cx + d) of the projective line over GF(8), is sharply 3-transitive: a map other
    than the identity fixes at most two points. PΓL(2, 8) adds powers of x -> x^2; its maps fix at most three points.
    """
    a, b, c, d = np.stack(np.meshgrid(*[np.arange(8)] * 4, indexing="ij")).reshape(4, -1, 1)
    x = np.arange(8)
    over = np.concatenate([_times(a, x) ^ b, a], 1)  # (4096, 9): at infinity the map is a / c
    under = np.concatenate([_times(c, x) ^ d, c], 1)
    inverse = (_times(x[:, None], x) == 1).argmax(1)
    maps = np.where(under == 0, INFINITY, _times(over, inverse[under]))
    maps = maps[(_times(a, d) != _times(b, c))[:, 0]]
    maps = np.array(sorted(set(map(tuple, maps.tolist()))))  # (504, 9): multiples of a matrix give one map
    shuffled = maps[_chance(9).permutation(len(maps))]
    square = np.array([*_times(x, x), INFINITY])
    return np.concatenate([shuffled, square[shuffled], square[square[shuffled]]])[:count]


def _times(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Multiply in GF(8): polynomials over GF(2) modulo x^3 + x + 1."""
    product = np.bitwise_xor.reduce([(x << i) * ((y >> i) & 1) for i in range(3)])
    product ^= (product >> 4 & 1) * 0b10110
    return np.asarray(product ^ (product >> 3 & 1) * 0b1011)


def _far_apart(n: int, count: int) -> np.ndarray:
    """Build a lexicode: take each candidate at distance >= d from all taken, for the largest d that gives `count`."""
    if factorial(n) <= POOL:  # lexicographic; a search at distance 3 takes the even permutations first
        pool = np.array(list(permutations(range(n))), np.int8).T
    else:
        pool = _chance(n).permuted(np.tile(np.arange(n, dtype=np.int8)[:, None], POOL), axis=0)
    for distance in range(n, 1, -1):
        chosen: list[np.ndarray] = []
        alive = np.ones(pool.shape[1], bool)
        while len(chosen) < count <= len(chosen) + np.count_nonzero(alive):
            taken = pool[:, alive.argmax()]
            chosen.append(taken)
            alive &= _distances(pool, taken) >= distance
        if len(chosen) == count:
            return _chance(n).permutation(np.array(chosen, np.int64))
    raise UserError(f"found fewer than {count} distinct permutations of {n} tiles; give {POOL // 4} or fewer")


def _chance(n: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=n))
