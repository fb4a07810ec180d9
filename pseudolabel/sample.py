"""The nouns every part shares: where an input lies, what was read, what was left out, and where chance comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)


class Extent(NamedTuple):
    """A place in the source, planned. It travels between processes; the bytes it names do not."""

    key: str  # relative to the source, "/" everywhere, with the range where it is one: "a.txt#0-1048576"
    where: str  # the place to open: see `readers.places`
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


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is left out, and why: unusable input, or usable and filtered by an option."""

    key: str
    reason: str
    unusable: bool = True
    count: int = 1  # samples
    rows: int = 0  # left out of a sample that is used all the same; `count` is 0 then


class Unusable(Exception):
    """This input cannot be used. The message is the reason, as the user reads it in `_skipped.jsonl`."""


class Filtered(Unusable):
    """This input could be used, and an option leaves it out. The message says which, and what was measured."""


class Refused(Exception):
    """The run cannot go on. The message says what is wrong and what to type instead; `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def one_of(choices: type[Choice], value: str, name: str) -> Choice:
    """The choice that `value` names; refused if there is none."""
    try:
        return choices(value)
    except ValueError:
        raise Refused(f"{name} is {value!r}; choose among {', '.join(choices)}") from None


def attempt(key: str, make: Callable[[], T]) -> T | Skipped:
    """What `make` returns, or the input's `Skipped`: the one place where unusable input is forgiven."""
    try:
        return make()
    except Unusable as bad:
        return Skipped(key, str(bad), unusable=not isinstance(bad, Filtered))


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Blame the input for whatever a foreign decoder raises: its bytes are all that decoder touches."""
    try:
        yield
    except Unusable:
        raise
    except Exception as fault:
        raise Unusable(f"{what}: {' '.join(str(fault).split())[:120] or type(fault).__name__}") from fault


def file_of(key: str) -> str:
    """`a.txt#0-1048576` -> `a.txt`. In keys a "#" of the file's own name is written %23, so the first one ends it."""
    return key.partition("#")[0]


# --- chance ----------------------------------------------------------------------------------------------------------

Chance = Callable[[str, int], np.random.Generator]  # (key, copy) -> a generator nobody else has


def chance_for(seed: int, task: str) -> Chance:
    """Counter-based chance: a pure function of (seed, task, sample key, copy), whatever the worker or the order.

    The 128 bits of the Philox key are BLAKE2b of the four (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405).
    """

    def chance(key: str, copy: int) -> np.random.Generator:
        digest = blake2b(f"{seed}\0{task}\0{copy}\0{key}".encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(_Key(digest)))  # type: ignore[arg-type] # the stubs know no ISeedSequence

    return chance


class _Key(ISeedSequence):
    """Philox asks a seed for the two words of its key: this is the same as `Philox(key=...)` at a third of the time."""

    def __init__(self, digest: bytes) -> None:
        self._words = np.frombuffer(digest, "<u8")

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Any:
        return self._words


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
