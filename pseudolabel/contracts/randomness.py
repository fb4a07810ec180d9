"""Random numbers that are the same in every process: a generator per sample, and the split by hash."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

Chance = Callable[[str, int], np.random.Generator]  # (key, copy) -> the random number generator of this copy


def chance_for(seed: int, task: str) -> Chance:
    """Return a function (key, copy) -> counter-based generator, which depends only on seed, task, key and copy.

    The Philox key is 128 bits of BLAKE2b of these four (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405).
    """

    def chance(key: str, copy: int) -> np.random.Generator:
        digest = blake2b(f"{seed}\0{task}\0{copy}\0{key}".encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    return chance


def hash64(text: str) -> int:
    """Return 64 bits of BLAKE2b. Unlike `hash`, the result is the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


class Split(NamedTuple):
    """A split of the source: all files with `low <= hash < high`, the hash scaled to [0, 1).

    `--split-by document` splits text by document, not by file.
    The hash depends neither on the seed nor on the task: the same `--validation` gives a file the same split.
    """

    name: str
    low: float
    high: float

    def holds(self, file: str) -> bool:
        """Return whether the whole file is in this split."""
        return bool(self.holds_at(file, np.zeros(1, np.int64))[0])

    def holds_at(self, file: str, positions: np.ndarray) -> np.ndarray:
        """Test documents of `file`: (n,) int64 positions -> (n,) bool, True in this split."""
        if self.high - self.low >= 1:
            return np.ones(len(positions), bool)
        x = np.uint64(hash64(file)) + positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finaliser
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        u = ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return (self.low <= u) & (u < self.high)


def splits(validation: float) -> tuple[Split, ...]:
    """Return the splits of a run: train, and validation if `validation` (a share) is above 0."""
    if validation <= 0:
        return (Split("train", 0.0, 1.0),)
    return (Split("train", validation, 1.0), Split("validation", 0.0, validation))
