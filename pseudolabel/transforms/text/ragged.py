"""Segments: sequences cut at random, drawn from, and filled, many at once and without a loop over their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def choose_k(candidates: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(r, L) bool, (r,) int -> (r, L) bool: so many of the candidates of each row, every choice alike.

    Every place draws a number, told from the row's others by its column in the low bits; the candidates' smallest win.
    """
    rows, length = candidates.shape
    if not length:
        return candidates
    low = (length - 1).bit_length()
    kind: Any = np.uint32 if low <= 10 else np.uint64  # so that enough is left to chance
    number: np.ndarray = rng.integers(0, np.iinfo(kind).max, (rows, length), kind, endpoint=True)
    number = number >> kind(low) << kind(low) | np.arange(length, dtype=kind)
    number[~candidates] = np.iinfo(kind).max
    wanted = np.minimum(wanted, candidates.sum(1))
    last = np.take_along_axis(np.sort(number, 1), np.maximum(wanted, 1)[:, None] - 1, 1)
    chosen: np.ndarray = candidates & (number <= last) & (wanted > 0)[:, None]
    return chosen


def composition(rows: int, total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """(rows, parts) int64, each at least 1, that add up to `total` in each row; every such composition alike.

    T5's `_random_segmentation`, text-to-text-transfer-transformer's t5/data/preprocessors.py.
    """
    cuts = choose_k(np.ones((rows, total - 1), bool), np.full(rows, parts - 1), rng)
    places = np.nonzero(cuts)[1].reshape(rows, parts - 1) + 1
    return np.diff(places, prepend=0, append=total, axis=1)


def first_fit(sizes: np.ndarray, heads: np.ndarray, room: np.ndarray) -> np.ndarray:
    """(r, k) int sizes in order, 0 for none, (r, k) bool begins a group, (r,) int -> (r, k) bool.

    In turn, each is taken that fits into what room is left; of a group, none after the first that does not.
    Each round takes all up to the first that does not fit, which never will; few rounds are left after the first.
    """
    taken = np.zeros(sizes.shape, bool)
    rows, left, still = np.arange(len(sizes)), room.astype(np.int64), sizes
    while len(rows):
        misfit = still > left[:, None]
        misfits = np.cumsum(misfit, 1)
        before = np.maximum.accumulate(np.where(heads[rows], misfits - misfit, 0), 1)
        still = np.where(misfits > before, 0, still)
        fits = (still > 0) & (np.cumsum(still, 1) <= left[:, None])
        taken[rows] |= fits
        left = left - np.where(fits, still, 0).sum(1)
        still = np.where(fits, 0, still)
        more = (still > 0).any(1) & (left > 0)
        rows, left, still = rows[more], left[more], still[more]
    return taken


def follow_links(following: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(n,) int, the item after each, n after the last; (n,) bool -> (n,) bool: met when going on from the first ones.

    The steps double: after k rounds all within 2^k - 1 steps are met.
    """
    met, jump = np.append(first, False), np.append(following, len(following)).astype(np.int32)
    while True:
        before = np.count_nonzero(met)
        met[jump[np.flatnonzero(met)]] = True
        met[-1] = False
        if np.count_nonzero(met) == before:
            return met[:-1]
        jump = jump[jump]


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other."""

    values: np.ndarray  # (n,) int32
    lengths: np.ndarray  # (r,) int64, n in all

    def frame(self, width: int, fill: int, front: Sequence[int], back: int) -> np.ndarray:
        """-> (r, width): each row with `front` before it, `back` behind it, and then `fill`."""
        columns, ends = np.arange(width), (self.lengths + len(front))[:, None]
        out = np.full((len(self.lengths), width), fill, np.int32)
        out[:, : len(front)] = front
        out[(columns >= len(front)) & (columns < ends)] = self.values
        np.put_along_axis(out, ends, back, 1)
        return out


def equal_rows(rows: np.ndarray) -> Ragged:
    """(r, w), all rows of one length."""
    return Ragged(rows.reshape(-1), np.full(len(rows), rows.shape[1]))
