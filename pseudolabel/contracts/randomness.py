"""Randomness that every process agrees on: a generator for each sample, and the train/validation split by hash."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

Chance = Callable[[str, int], np.random.Generator]  # (key, copy) -> a generator nobody else has


def chance_for(seed: int, task: str) -> Chance:
    """Counter-based chance: a pure function of (seed, task, sample key, copy), whatever the worker or the order.

    The 128 bits of the Philox key are BLAKE2b of the four (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405).
    """

    def chance(key: str, copy: int) -> np.random.Generator:
        digest = blake2b(f"{seed}\0{task}\0{copy}\0{key}".encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    return chance


def hash64(text: str) -> int:
    """64 bits of BLAKE2b: the same in every process, unlike `hash`."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


class Split(NamedTuple):
    """A share of the source, by hash of the file (and of the document's position, for text): `low <= hash < high`.

    Neither the seed nor the task enters: a file that is validation once is so for every dataset made of it.
    """

    name: str
    low: float
    high: float

    def holds(self, file: str) -> bool:
        """Whether all of `file` falls into this share."""
        return bool(self.holds_at(file, np.zeros(1, np.int64))[0])

    def holds_at(self, file: str, positions: np.ndarray) -> np.ndarray:
        """(n,) int64 positions of documents in `file` -> (n,) bool."""
        if self.high - self.low >= 1:
            return np.ones(len(positions), bool)
        x = np.uint64(hash64(file)) + positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finaliser
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        u = ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (self.low <= u) & (u < self.high)


def splits(validation: float) -> tuple[Split, ...]:
    """The shares of a run: all of it train, or `validation` of it kept apart."""
    if validation <= 0:
        return (Split("train", 0.0, 1.0),)
    return (Split("train", validation, 1.0), Split("validation", 0.0, validation))
