"""The order of extents: random, by a hash, or the order of the source. Sorting uses temporary files."""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Callable, Iterable, Iterator
from tempfile import TemporaryFile
from typing import IO, Any

from pseudolabel.contracts import Extent, hash64

SORT_RUN = 200_000  # extents sorted in memory, about 100 MB; more are merged from sorted temporary files
Rank = tuple[Any, ...]
Order = Callable[[Extent], Rank]
Ranked = tuple[Rank, Extent]


def random_order(seed: int) -> Order:
    """Return the order by hash(seed, block), then hash(seed, key): classes are mixed, in every process the same way."""

    def order(extent: Extent) -> Rank:
        own = hash64(f"{seed}\0{extent.key}")
        return own if extent.block == extent.key else hash64(f"{seed}\0{extent.block}"), own, extent.key

    return order


def source_order(extent: Extent) -> Rank:
    """Order by the bytes of the file's key, then by the start in the file."""
    return extent.file.encode(), extent.start


def sort_extents(extents: Iterable[Extent], order: Order) -> Iterator[Extent]:
    """Sort extents, with temporary files if there are more than `SORT_RUN`."""
    return (extent for _, extent in external_sort((order(extent), extent) for extent in extents))


def external_sort(pairs: Iterable[Ranked]) -> Iterator[Ranked]:
    """Sort (rank, extent) pairs by rank, 200,000 in memory at a time."""
    runs: list[Iterator[Ranked]] = []
    held: list[Ranked] = []
    for pair in pairs:
        held.append(pair)
        if len(held) == SORT_RUN:
            runs.append(_run(sorted(held)))
            held = []
    return heapq.merge(*runs, sorted(held))


def _run(held: list[Ranked]) -> Iterator[Ranked]:
    file = TemporaryFile()  # noqa: SIM115 - closed at the end of `_read`
    for rank, extent in held:
        pickle.dump((rank, tuple(extent)), file)
    file.seek(0)
    return _read(file, len(held))


def _read(file: IO[bytes], count: int) -> Iterator[Ranked]:
    with file:
        for _ in range(count):
            rank, extent = pickle.load(file)
            yield rank, Extent(*extent)
