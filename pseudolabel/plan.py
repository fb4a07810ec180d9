"""The plan: which extents make which shard. It looks at nothing but the source, the seed and the shard size."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from tempfile import TemporaryFile
from typing import IO

from pseudolabel.sample import Extent, hash64

MEGABYTE = 1 << 20
RUN = 200_000  # extents sorted in memory at a time, about 100 MB; beyond, sorted runs in temporary files are merged

Ordered = tuple[tuple[bytes | int, str | int], Extent]


def in_random_order(extents: Iterable[Extent], seed: int) -> Iterator[Extent]:
    """Sort by hash(seed, key): classes and authors mix, and every worker would agree."""
    return _sorted(((hash64(f"{seed}\0{extent.key}"), extent.key), extent) for extent in extents)


def in_source_order(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Sort by the bytes of the file's key, then by place in the file."""
    return _sorted(((extent.file.encode(), extent.start), extent) for extent in extents)


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


def cut_as(extents: Iterable[Extent], counts: Iterable[int]) -> Iterator[list[Extent]]:
    """Cut into shards of so many extents, and one more of what is left after these."""
    extents = iter(extents)
    for count in counts:
        yield list(islice(extents, count))
    if rest := list(extents):
        yield rest


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: what becomes `data/*-00000.parquet`."""

    index: int
    extents: Sequence[Extent]

    @property
    def weight(self) -> int:
        return sum(extent.weight for extent in self.extents)


class Plan:
    """All shards, kept in a temporary file so that memory stays flat; iterate it as often as needed."""

    def __init__(self, shards: Iterable[list[Extent]]) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - lives as long as the plan
        self._offsets: list[int] = []
        self.weight = 0
        digest = sha256()
        for shard in shards:
            self._offsets.append(self._file.tell())
            pickle.dump([tuple(extent) for extent in shard], self._file)
            for extent in shard:
                digest.update(f"{extent.key}\0{extent.weight}\n".encode())
                self.weight += extent.weight
        self.digest = digest.hexdigest()  # of the keys and sizes, in order

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> Shard:
        self._file.seek(self._offsets[index])
        return Shard(index, [Extent(*extent) for extent in pickle.load(self._file)])

    def __iter__(self) -> Iterator[Shard]:
        return (self[index] for index in range(len(self)))


def _sorted(pairs: Iterable[Ordered]) -> Iterator[Extent]:
    runs: list[Iterator[Ordered]] = []
    held: list[Ordered] = []
    for pair in pairs:
        held.append(pair)
        if len(held) == RUN:
            runs.append(_run(sorted(held)))
            held = []
    return (extent for _, extent in heapq.merge(*runs, sorted(held)))


def _run(held: list[Ordered]) -> Iterator[Ordered]:
    file = TemporaryFile()  # noqa: SIM115 - closed when it is read to its end
    for order, extent in held:
        pickle.dump((order, tuple(extent)), file)
    file.seek(0)
    return _read(file, len(held))


def _read(file: IO[bytes], count: int) -> Iterator[Ordered]:
    with file:
        for _ in range(count):
            order, extent = pickle.load(file)
            yield order, Extent(*extent)
