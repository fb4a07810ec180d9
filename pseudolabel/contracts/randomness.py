"""Chance: a generator for each (seed, task, sample key, copy), and hashes that every process agrees on."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

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
