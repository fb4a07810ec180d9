"""The nouns every part shares: where an input lies, what was read, what was left out, and where chance comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts.randomness import hash64

MEGABYTE = 1 << 20


class Extent(NamedTuple):
    """A place in the source, planned. It travels between processes; the bytes it names do not."""

    key: str  # relative to the source, "/" everywhere, with the range where it is one: "a.txt#0-1048576"
    where: str  # the place to open: see `readers.sources.location`
    start: int
    stop: int | None  # None: to the end
    weight: int  # bytes to read; shards are cut by it

    @property
    def file(self) -> str:
        """The key of the file the extent lies in."""
        return file_of(self.key)

    @property
    def block(self) -> str:
        """What has to be read together, the extent being a part of it: itself, but in tables and packed archives."""
        return self.where.rpartition("\0")[0].rpartition("\0")[2] or self.key


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read and is counted: one image, or a block of documents, which counts as that many."""

    key: str
    payload: Any
    facts: Mapping[str, int] = field(default_factory=dict)
    count: int = 1


def file_of(key: str) -> str:
    """`a.txt#0-1048576` -> `a.txt`. In keys a "#" of the file's own name is written %23, so the first one ends it."""
    return key.partition("#")[0]


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
