"""How well a linear model guesses labels of sources that it was not shown, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, inf, sqrt
from typing import NamedTuple

import numpy as np

ALPHAS = np.logspace(-1, 6, 15)  # ridge penalties, on standardised features
Z = 1.96  # standard errors on each side of a 95 % interval


class Rate(NamedTuple):
    """The share of labels that were guessed right, with a 95 % interval over groups."""

    rate: float
    low: float
    high: float

    def p_above(self, chance: float) -> float:
        """Return the one-sided p-value of the hypothesis that the rate is at most `chance`."""
        error = (self.high - self.low) / (2 * Z)
        return erfc((self.rate - chance) / error / sqrt(2)) / 2 if error else float(self.rate <= chance)


def told(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, folds: int = 5, seed: int = 0) -> Rate:
    """(n, d) features, (n,) labels, (n,) groups -> the rate of a ridge classifier by cross-validation over groups.

    All rows of a group (the source that they were made of) lie in one fold. The standard error treats groups as
    independent, rows of a group as not.
    """
    features = np.asarray(features, float).reshape(len(labels), -1)
    classes, codes = np.unique(labels, return_inverse=True)
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"{len(names)} groups cannot make {folds} folds")
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[members]
    right = np.zeros(len(codes))
    for k in range(folds):
        shown, asked = fold != k, fold == k
        targets = np.eye(len(classes))[codes[shown]]
        right[asked] = _ridge(features[shown], targets, features[asked]).argmax(1) == codes[asked]
    off = np.bincount(members, right - right.mean())
    error = sqrt(float((off**2).sum()) * len(names) / (len(names) - 1)) / len(codes)
    return Rate(float(right.mean()), float(right.mean() - Z * error), float(right.mean() + Z * error))


def chance_of(labels: np.ndarray) -> float:
    """Return the share of the commonest label."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in their order. Holm 1979."""
    order, corrected, most = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order.tolist()):
        most = max(most, (len(p_values) - rank) * p_values[i])
        corrected[i] = min(1.0, most)
    return corrected


def _ridge(shown: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Fit targets by ridge regression, the penalty by generalised cross-validation. Return (asked, classes) scores."""
    mean, scale = shown.mean(0), shown.std(0)
    scale = np.where(scale > 1e-9 * (1 + abs(mean)), scale, inf)  # a constant feature tells nothing
    offset = targets.mean(0)
    u, s, v = np.linalg.svd((shown - mean) / scale, full_matrices=False)
    ahead, best, weights = u.T @ (targets - offset), inf, np.zeros((shown.shape[1], targets.shape[1]))
    for alpha in ALPHAS:
        shrunk = s**2 / (s**2 + alpha)
        residual = targets - offset - u @ (shrunk[:, None] * ahead)
        score = (residual**2).sum() / (len(shown) - 1 - shrunk.sum()) ** 2 if shrunk.sum() < len(shown) - 1 else inf
        if score < best:
            best, weights = score, v.T @ ((s / (s**2 + alpha))[:, None] * ahead)
    return np.asarray((asked - mean) / scale @ weights + offset)
