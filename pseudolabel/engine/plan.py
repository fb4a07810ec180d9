"""Plan: the extents of each shard, saved for parts and reruns, and compared with a source that has grown."""

from __future__ import annotations

import json
import pickle
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from pseudolabel.contracts import MEGABYTE, Extent, hash64
from pseudolabel.storage.files import write_atomic


def save_plan(path: Path, plan: Plan, places: bool) -> None:
    """Write a line for each shard: key and weight of each extent and, with `places`, its location on this machine."""
    wide = 6 if places else 2
    lines = ([[e.key, e.weight, e.where, e.start, e.stop, e.seed][:wide] for e in shard.extents] for shard in plan)
    write_atomic(path, (f"{json.dumps(line)}\n" for line in lines))


def load_plan(path: Path) -> Plan:
    """Load a saved plan. Without saved places its extents have only keys and weights."""
    return Plan([_extent(*stored) for stored in shard] for shard in _lines(path))


def _extent(key: str, weight: int, where: str = "", start: int = 0, stop: int | None = None, seed: int = 0) -> Extent:
    return Extent(key, where, start, stop, weight, seed)


def _lines(path: Path) -> Iterator[list[Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Ledger:
    """The extents of a dataset: 25 bytes each, keys stored as hashes. `place` marks the extents that a scan finds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        keys, weights, self.counts, digest = array("Q"), array("q"), list[int](), sha256()
        for shard in _lines(path):
            self.counts.append(len(shard))
            for key, weight, *_ in shard:
                keys.append(hash64(key))
                weights.append(weight)
                digest.update(extent_signature(key, weight))
        self.digest = digest.hexdigest()
        self._weights, hashes = np.asarray(weights, np.int64), np.asarray(keys, np.uint64)
        self._order = np.argsort(hashes, kind="stable")
        self._keys = hashes[self._order]
        self._seen = np.zeros(len(hashes), bool)
        self.new = 0  # extents of the scan that are not in the ledger
        self.changed: list[str] = []  # keys of extents with a new weight

    def place(self, extent: Extent) -> int | None:
        """Mark an extent as found. Return its position in the order of all shards, or None if it is new."""
        key = np.uint64(hash64(extent.key))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            self.new += 1
            return None
        place = int(self._order[at])
        self._seen[place] = True
        if self._weights[place] != extent.weight:
            self.changed.append(extent.key)
        return place

    @property
    def lost(self) -> list[str]:
        """Return the keys of the extents that the scan did not find."""
        if self._seen.all():
            return []
        every = (key for shard in _lines(self._path) for key, *_ in shard)
        return [key for key, seen in zip(every, self._seen, strict=True) if not seen]


def cut_into_shards(extents: Iterable[Extent], cap: int, least: int = 1) -> Iterator[list[Extent]]:
    """Yield shards. Shard i ends at min(cap, 2^(i // 16)) MB of weight, so that small sources give work to every core.

    A shard has at least `least` extents, because some tasks combine samples and one photograph can reach the weight.
    If fewer extents are left at the end, they join the last shard.
    """
    before: list[Extent] = []
    shard: list[Extent] = []
    weight = made = 0
    for extent in extents:
        shard.append(extent)
        weight += extent.weight
        if weight >= min(cap, 2 ** min(made // 16, 40)) * MEGABYTE and len(shard) >= least:
            if before:
                yield before
            before, shard, weight, made = shard, [], 0, made + 1
    if before and len(shard) < least:
        before, shard = before + shard, []
    yield from (some for some in (before, shard) if some)


@dataclass(frozen=True, slots=True)
class Shard:
    """The extents whose rows go to `data/<split>-<index>.parquet`."""

    index: int
    extents: Sequence[Extent]

    @property
    def weight(self) -> int:
        return sum(extent.weight for extent in self.extents)


def extent_signature(key: str, weight: int) -> bytes:
    """Return the bytes that an extent adds to a digest."""
    return f"{key}\0{weight}\n".encode()


def extents_digest(extents: Iterable[Extent]) -> str:
    """Return a digest of the keys and weights, 16 hexadecimal digits."""
    digest = sha256()
    for extent in extents:
        digest.update(extent_signature(extent.key, extent.weight))
    return digest.hexdigest()[:16]


class Plan:
    """All shards of a run, in a temporary file to save memory. A plan can be iterated more than once."""

    def __init__(self, shards: Iterable[list[Extent]]) -> None:
        self._file: IO[bytes] = TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the plan
        self._offsets = [0]
        self.weights: list[int] = []  # of each shard, in bytes
        self.digests: list[str] = []  # of each shard's keys and sizes
        self.extents = 0  # number of all extents
        digest = sha256()
        for shard in shards:
            self.extents += len(shard)
            stored = pickle.dumps([tuple(extent) for extent in shard])
            self._file.write(stored)
            self._offsets.append(self._offsets[-1] + len(stored))
            self.weights.append(sum(extent.weight for extent in shard))
            self.digests.append(extents_digest(shard))
            for extent in shard:
                digest.update(extent_signature(extent.key, extent.weight))
        self.digest = digest.hexdigest()  # of the keys and sizes, in order

    @property
    def weight(self) -> int:
        """Return the weight of all shards, in bytes."""
        return sum(self.weights)

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Shard:
        index = range(len(self))[index]  # raises IndexError
        start, stop = self._offsets[index], self._offsets[index + 1]
        # a mapping has no position, which forks of this process would share
        with mmap(self._file.fileno(), self._offsets[-1], access=ACCESS_READ) as stored:
            return Shard(index, [Extent(*extent) for extent in pickle.loads(stored[start:stop])])

    def __iter__(self) -> Iterator[Shard]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, ([shard.extents for shard in self],)
