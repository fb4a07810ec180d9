"""Masks over audio frames: the spans that a speech model has to predict."""

from __future__ import annotations

from enum import StrEnum

import numpy as np


class SpanMaskPreset(StrEnum):
    """The model whose span length and masking probability are used."""

    wav2vec2 = "wav2vec2"
    hubert = "hubert"
    best_rq = "best-rq"


def span_mask(preset: SpanMaskPreset, frames: int, hz: float, rng: np.random.Generator) -> np.ndarray:
    """Return (frames,) bool at `hz` frames a second, true for hidden frames.

    At least one frame is hidden; of two frames or more, at least one stays visible. In long audio wav2vec 2.0 hides
    49 % (prob 0.65), HuBERT 57 % (prob 0.80), in spans of 0.2 s; BEST-RQ hides 33 % in spans of 0.4 s. Spans overlap.
    """
    if preset == SpanMaskPreset.best_rq:
        return _spans_by_chance(frames, round(0.4 * hz), 1 - (1 - 0.01) ** (100 / hz), rng)
    return _spans_by_count(frames, round(0.2 * hz), 0.65 if preset == SpanMaskPreset.wav2vec2 else 0.8, rng)


def _spans_by_count(frames: int, length: int, prob: float, rng: np.random.Generator) -> np.ndarray:
    """Hide about prob * frames / length spans with different starts: at least two, but one in fewer than 3 frames.

    facebookresearch/fairseq, fairseq/data/data_utils.py, compute_mask_indices with mask_type static and min_masks 2.
    If the audio is shorter than two spans, the spans are shortened to half of its frames; no audio is rejected.
    """
    length = max(1, min(length, frames // 2))
    count = max(2, int(prob * frames / length + rng.random()))
    places = max(1, frames - length)
    starts = rng.permutation(places)[: min(count, places)]
    return _hidden(frames, starts, length, rng)


def _spans_by_chance(frames: int, length: int, prob: float, rng: np.random.Generator) -> np.ndarray:
    """Start a span at each frame with probability `prob` (Chiu et al. 2022, section 3: 0.01 per 10 ms)."""
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
