"""The plan: which extents make which shard. It looks at nothing but the source, the seed and the shard size."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from tempfile import TemporaryFile
from typing import IO, Any

from pseudolabel.sample import Extent, hash64

MEGABYTE = 1 << 20
RUN = 200_000  # extents sorted in memory at a time, about 100 MB; beyond, sorted runs in temporary files are merged

Rank = tuple[Any, ...]
Order = Callable[[Extent], Rank]
Ranked = tuple[Rank, Extent]


def random_order(seed: int) -> Order:
    """By hash(seed, block), then hash(seed, key): classes and authors mix, and every worker would agree."""

    def order(extent: Extent) -> Rank:
        own = hash64(f"{seed}\0{extent.key}")
        return own if extent.block == extent.key else hash64(f"{seed}\0{extent.block}"), own, extent.key

    return order


def source_order(extent: Extent) -> Rank:
    """By the bytes of the file's key, then by place in the file."""
    return extent.file.encode(), extent.start


def arranged(extents: Iterable[Extent], order: Order) -> Iterator[Extent]:
    """Sort; of many extents by way of temporary files."""
    return (extent for _, extent in ranked((order(extent), extent) for extent in extents))


def ranked(pairs: Iterable[Ranked]) -> Iterator[Ranked]:
    """Sort by rank, 200,000 in memory at a time."""
    runs: list[Iterator[Ranked]] = []
    held: list[Ranked] = []
    for pair in pairs:
        held.append(pair)
        if len(held) == RUN:
            runs.append(_run(sorted(held)))
            held = []
    return heapq.merge(*runs, sorted(held))


def cut(extents: Iterable[Extent], cap: int, least: int = 1) -> Iterator[list[Extent]]:
    """Cut into shards: shard i takes min(cap, 2^(i // 16)) MB of weight, so small sources give every core work.

    And `least` extents, for tasks that need neighbours: of large photographs a shard would have one. What is left at
    the end, if it is less, goes to the shard before.
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
    """One unit of work: what becomes `data/*-00000.parquet`."""

    index: int
    extents: Sequence[Extent]

    @property
    def weight(self) -> int:
        return sum(extent.weight for extent in self.extents)


def signature(key: str, weight: int) -> bytes:
    """What an extent adds to the digest of a plan."""
    return f"{key}\0{weight}\n".encode()


def digest_of(extents: Iterable[Extent]) -> str:
    """What tells a shard's extents from any others."""
    digest = sha256()
    for extent in extents:
        digest.update(signature(extent.key, extent.weight))
    return digest.hexdigest()[:16]


class Plan:
    """All shards, kept in a temporary file so that memory stays flat; iterate it as often as needed."""

    def __init__(self, shards: Iterable[list[Extent]]) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - lives as long as the plan
        self._offsets: list[int] = []
        self.weights: list[int] = []  # of each shard, in bytes
        self.digests: list[str] = []  # of each shard's keys and sizes
        digest = sha256()
        for shard in shards:
            self._offsets.append(self._file.tell())
            pickle.dump([tuple(extent) for extent in shard], self._file)
            self.weights.append(sum(extent.weight for extent in shard))
            self.digests.append(digest_of(shard))
            for extent in shard:
                digest.update(signature(extent.key, extent.weight))
        self.digest = digest.hexdigest()  # of the keys and sizes, in order

    @property
    def weight(self) -> int:
        """Of all of it, in bytes."""
        return sum(self.weights)

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Shard:
        self._file.seek(self._offsets[index])
        return Shard(index, [Extent(*extent) for extent in pickle.load(self._file)])

    def __iter__(self) -> Iterator[Shard]:
        return (self[index] for index in range(len(self)))


def _run(held: list[Ranked]) -> Iterator[Ranked]:
    file = TemporaryFile()  # noqa: SIM115 - closed when it is read to its end
    for rank, extent in held:
        pickle.dump((rank, tuple(extent)), file)
    file.seek(0)
    return _read(file, len(held))


def _read(file: IO[bytes], count: int) -> Iterator[Ranked]:
    with file:
        for _ in range(count):
            rank, extent = pickle.load(file)
            yield rank, Extent(*extent)
