"""Ragged rows: random choices, random cuts and filling of many rows at once, without a loop over their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def choose_k(candidates: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose `wanted` candidates of each row, all sets with equal probability: (r, L) bool, (r,) int -> (r, L) bool.

    Each place draws a number (low bits: its column, to avoid ties). Candidates with the smallest numbers are chosen.
    """
    rows, length = candidates.shape
    if not length:
        return candidates
    low = (length - 1).bit_length()
    kind: Any = np.uint32 if low <= 10 else np.uint64  # enough random bits beside the column
    number: np.ndarray = rng.integers(0, np.iinfo(kind).max, (rows, length), kind, endpoint=True)
    number >>= kind(low)
    number <<= kind(low)
    number |= np.arange(length, dtype=kind)
    np.copyto(number, np.iinfo(kind).max, where=~candidates)
    wanted = np.minimum(wanted, candidates.sum(1))
    last = np.take_along_axis(np.sort(number, 1), np.maximum(wanted, 1)[:, None] - 1, 1)
    return np.asarray(candidates & (number <= last) & (wanted > 0)[:, None])


def composition(rows: int, total: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Return (rows, parts) int64, each at least 1, with sum `total` per row; all such rows are equally likely.

    See T5's `_random_segmentation`, text-to-text-transfer-transformer's t5/data/preprocessors.py.
    """
    cuts = choose_k(np.ones((rows, total - 1), bool), np.full(rows, parts - 1), rng)
    places = np.nonzero(cuts)[1].reshape(rows, parts - 1) + 1
    return np.diff(places, prepend=0, append=total, axis=1)


def run_starts(mask: np.ndarray) -> np.ndarray:
    """Return the first of each run of true values in a row: (r, n) bool -> (r, n) bool."""
    first = mask.copy()
    first[:, 1:] &= ~mask[:, :-1]
    return first


def first_fit(sizes: np.ndarray, heads: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return (r, k) bool, true for items that are taken. `sizes`: (r, k) int, 0 for no item. `room`: (r,) int.

    Items are taken in order if they fit into the room left. After a misfit, the rest of its group is skipped; `heads`,
    (r, k) bool, is true for the first item of a group. A round takes all items up to the first misfit, which can never
    fit later. Most rows need few rounds.
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
    """Return (n,) bool, true if reached from the `first` items. `following`: (n,) int, the next item, n at the end.

    Steps double: k rounds reach all items within 2^k - 1 steps.
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
    """Rows of different lengths, concatenated."""

    values: np.ndarray  # (n,) int32
    lengths: np.ndarray  # (r,) int64, with sum n

    def frame(self, width: int, fill: int, front: Sequence[int], back: Sequence[int]) -> np.ndarray:
        """Return (r, width) int32: `front`, then the row, then `back`, then `fill`."""
        columns, ends = np.arange(width), (self.lengths + len(front))[:, None]
        out = np.full((len(self.lengths), width), fill, np.int32)
        out[:, : len(front)] = front
        out[(columns >= len(front)) & (columns < ends)] = self.values
        for i, token in enumerate(back):
            np.put_along_axis(out, ends + i, token, 1)
        return out


def equal_rows(rows: np.ndarray) -> Ragged:
    """Return (r, w) rows of equal length as `Ragged`."""
    return Ragged(rows.reshape(-1), np.full(len(rows), rows.shape[1]))
