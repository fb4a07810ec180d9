"""Whether clusters mean something: how even they are, and how well they agree with other labels of the same samples."""

from __future__ import annotations

import numpy as np


def table(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) and (n,) labels of whatever kind -> (a, b) int64: how many samples have each pair of them."""
    rows, one = np.unique(one, return_inverse=True)
    columns, other = np.unique(other, return_inverse=True)
    counts = np.bincount(one.ravel() * len(columns) + other.ravel(), minlength=len(rows) * len(columns))
    return counts.reshape(len(rows), len(columns))


def entropy(counts: np.ndarray) -> float:
    """(k,) counts -> nats: ln k where all are the same, 0 where there is but one."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0


def nmi(counts: np.ndarray) -> float:
    """(a, b) counts of `table` -> normalised mutual information: 2 I / (H + H), 0 to 1; 1 where both have one label."""
    rows, columns = entropy(counts.sum(1)), entropy(counts.sum(0))
    shared = rows + columns - entropy(counts.ravel())
    return max(0.0, 2 * shared / (rows + columns)) if rows + columns > 0 else 1.0


def purity(counts: np.ndarray) -> float:
    """(classes, clusters) counts -> the share of samples that are of their cluster's commonest class."""
    return float(counts.max(0).sum() / counts.sum())
