"""Masks over time: stretches of frames that are hidden, as speech models are asked to tell them."""

from __future__ import annotations

from enum import StrEnum

import numpy as np


class SpanMaskPreset(StrEnum):
    """Whose stretches."""

    wav2vec2 = "wav2vec2"
    hubert = "hubert"
    best_rq = "best-rq"


def span_mask(preset: SpanMaskPreset, frames: int, hz: float, rng: np.random.Generator) -> np.ndarray:
    """(frames,) bool at `hz` frames a second, true where hidden: some frames always, and never all, if there are two.

    Of long sounds wav2vec 2.0 hides 49 % (prob 0.65), HuBERT 57 % (prob 0.80), in stretches of 0.2 s, and BEST-RQ 33 %
    in stretches of 0.4 s. Stretches overlap.
    """
    if preset == SpanMaskPreset.best_rq:
        return _scattered(frames, round(0.4 * hz), 1 - (1 - 0.01) ** (100 / hz), rng)
    return _counted(frames, round(0.2 * hz), 0.65 if preset == SpanMaskPreset.wav2vec2 else 0.8, rng)


def _counted(frames: int, length: int, prob: float, rng: np.random.Generator) -> np.ndarray:
    """About prob * frames / length stretches, two at least, that begin at different places.

    facebookresearch/fairseq, fairseq/data/data_utils.py, compute_mask_indices, with mask_type static and min_masks 2;
    where a sound is shorter than two stretches, they are shorter as well, and none is refused.
    """
    length = max(1, min(length, frames // 2))
    count = max(2, int(prob * frames / length + rng.random()))
    places = max(1, frames - length)
    starts = rng.permutation(places)[: min(count, places)]
    return _hidden(frames, starts, length, rng)


def _scattered(frames: int, length: int, prob: float, rng: np.random.Generator) -> np.ndarray:
    """A stretch begins at any frame with the same chance (Chiu et al. 2022, section 3: 0.01 for each 10 ms)."""
    length = max(1, min(length, frames // 2))
    return _hidden(frames, np.flatnonzero(rng.random(frames) < prob), length, rng)


def _hidden(frames: int, starts: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(frames, bool)
    if not len(starts):
        starts = rng.integers(0, max(1, frames - length + 1), 1)
    places = (starts[:, None] + np.arange(length)).ravel()
    mask[places[places < frames]] = True
    if mask.all() and frames > 1:
        mask[rng.integers(frames)] = False
    return mask
