"""How well a simple model guesses labels of sources that it was not shown, with an interval and a p-value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError

FOLDS = 5
MIN_LEAF = 20  # rows of a leaf of the tree, at least
ALPHAS = np.logspace(-1, 6, 15)  # ridge penalties, on standardised features
CONFIDENCE = 0.95


class Rate(NamedTuple):
    """The share of labels that were guessed right, with a 95 % interval over sources."""

    rate: float
    low: float
    high: float
    sources: int

    def p_above(self, chance: float) -> float:
        """Return the one-sided p-value of the hypothesis that the rate is at most `chance`: Student's t."""
        from scipy import stats

        error = (self.high - self.low) / (2 * stats.t.ppf((1 + CONFIDENCE) / 2, self.sources - 1))
        if error == 0:
            return float(self.rate <= chance)
        return float(stats.t.sf((self.rate - chance) / error, self.sources - 1))


def linear() -> Any:
    """Return a ridge classifier on standardised facts; generalised cross-validation chooses the penalty."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))


def tree() -> Any:
    """Return a decision tree of depth 4."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=4, min_samples_leaf=MIN_LEAF, random_state=0)


MODELS: dict[str, Callable[[], Any]] = {"linear model": linear, "tree": tree}


def require_models() -> None:
    """Raise `UserError` if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UserError("the audit needs scikit-learn; install it: pip install 'pseudolabel[audit]'") from None


def guess(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, model: Callable[[], Any] = linear) -> Rate:
    """(n, d) features, (n,) labels, (n,) groups -> the rate of right guesses by cross-validation over groups.

    All rows of a group (the source that they were made from) are in one fold. The standard error treats groups, but not
    the rows of a group, as independent. Raise `ValueError` for fewer groups than folds.
    """
    features = np.asarray(features, np.float64).reshape(len(labels), -1)
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < FOLDS:
        raise ValueError(f"{len(names)} groups cannot make {FOLDS} folds")
    fold = (np.random.default_rng(0).permutation(len(names)) % FOLDS)[members]
    right = np.zeros(len(labels), bool)
    for k in range(FOLDS):
        shown, asked = fold != k, fold == k
        if len(np.unique(labels[shown])) > 1:
            right[asked] = model().fit(features[shown], labels[shown]).predict(features[asked]) == labels[asked]
        else:
            right[asked] = labels[asked] == labels[shown][0]
    return rate_of(right, members)


def rate_of(right: np.ndarray, members: np.ndarray) -> Rate:
    """(n,) bool and the (n,) number of each row's group -> the rate, with the standard error of clustered rows."""
    from scipy import stats

    count, off = int(members.max()) + 1, np.bincount(members, right - right.mean())
    error = float(np.sqrt((off**2).sum() * count / (count - 1))) / len(right)
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Rate(float(right.mean()), float(right.mean() - half), float(right.mean() + half), count)


def chance_of(labels: np.ndarray) -> float:
    """Return the share of the most frequent label."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number, in their order. Holm 1979, Scandinavian Journal of Statistics."""
    order, corrected, most = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order.tolist()):
        most = max(most, (len(p_values) - rank) * p_values[i])
        corrected[i] = min(1.0, most)
    return corrected
