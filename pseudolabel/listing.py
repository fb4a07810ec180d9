"""The listing: of which extents each shard was or is to be made. It freezes a plan, and tells what a source gained."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pseudolabel.plan import Plan, signature
from pseudolabel.sample import Extent, hash64
from pseudolabel.shards import write_whole


def freeze(path: Path, plan: Plan, places: bool) -> None:
    """Write a line for each shard: key and weight of its extents; with `places`, where they lie on this machine too."""
    wide = 5 if places else 2
    lines = ([_stored(extent)[:wide] for extent in shard.extents] for shard in plan)
    write_whole(path, (f"{json.dumps(line)}\n" for line in lines))


def thaw(path: Path) -> Plan:
    """The plan that was frozen; of one without places only keys and weights."""
    return Plan([_extent(*stored) for stored in shard] for shard in _lines(path))


def _extent(key: str, weight: int, where: str = "", start: int = 0, stop: int | None = None) -> Extent:
    return Extent(key, where, start, stop, weight)


def _stored(extent: Extent) -> list[Any]:
    return [extent.key, extent.weight, extent.where, extent.start, extent.stop]


def _lines(path: Path) -> Iterator[list[Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Listing:
    """What a dataset was made of, in 25 bytes for each extent: keys by their hash. It notes which it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        keys, weights, self.counts, digest = array("Q"), array("q"), list[int](), sha256()
        for shard in _lines(path):
            self.counts.append(len(shard))
            for key, weight, *_ in shard:
                keys.append(hash64(key))
                weights.append(weight)
                digest.update(signature(key, weight))
        self.digest = digest.hexdigest()
        self._weights, hashes = np.asarray(weights, np.int64), np.asarray(keys, np.uint64)
        self._order = np.argsort(hashes, kind="stable")
        self._keys = hashes[self._order]
        self._seen = np.zeros(len(hashes), bool)
        self.new = 0  # extents asked for that are not in it
        self.changed: list[str] = []  # keys of extents whose weight is another

    def place(self, extent: Extent) -> int | None:
        """The extent's place among those of all shards, in order; None if it was not among them."""
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
        """The keys of extents that were not asked for."""
        if self._seen.all():
            return []
        every = (key for shard in _lines(self._path) for key, *_ in shard)
        return [key for key, seen in zip(every, self._seen, strict=True) if not seen]
