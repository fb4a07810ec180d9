"""What a linear model predicts from the codes of mask-audio: the word, or who speaks? No network is trained."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeClassifierCV

PENALTIES = np.logspace(-3, 3, 13)


def code_shares(codes: np.ndarray, parts: int, count: int) -> np.ndarray:
    """(T,) codes -> (parts * count,): how often each code is there, in consecutive parts of the utterance."""
    cut = np.array_split(codes, parts)
    return np.concatenate([np.bincount(part, minlength=count) / max(1, len(part)) for part in cut])


def linear_scores(codes: list[np.ndarray], digits: np.ndarray, speakers: np.ndarray, count: int) -> dict[str, Any]:
    """Return what linear models predict from shares of codes.

    `digit`: for each speaker, the digits of that speaker by a model of the others. `speaker`: in half of the
    utterances, by a model of the other half. `overlap`: the share of codes that two speakers have in common.
    """
    thirds = np.stack([code_shares(one, 3, count) for one in codes])
    whole = np.stack([code_shares(one, 1, count) for one in codes])
    digit = {}
    for speaker in np.unique(speakers):
        out = speakers == speaker
        model = RidgeClassifierCV(PENALTIES).fit(thirds[~out], digits[~out])
        digit[str(speaker)] = float(model.score(thirds[out], digits[out]))
    order = np.random.default_rng(0).permutation(len(whole))
    first, second = np.array_split(order, 2)
    who = RidgeClassifierCV(PENALTIES).fit(whole[first], speakers[first]).score(whole[second], speakers[second])
    means = [whole[speakers == speaker].mean(0) for speaker in np.unique(speakers)]
    overlap = np.mean([np.minimum(one, other).sum() for one, other in combinations(means, 2)])
    return {"digit": digit, "speaker": float(who), "overlap": float(overlap)}
