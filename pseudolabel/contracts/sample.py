"""The extent, a part of the source that is read at once, and the sample read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MEGABYTE = 1 << 20


class Extent(NamedTuple):
    """A planned part of the source. Processes exchange extents, never the bytes of the source."""

    key: str  # path relative to the source, with "/"; a range adds start and stop: "a.txt#0-1048576"
    where: str  # the location to open: see `readers.sources.location`
    start: int
    stop: int | None  # None: to the end of the file
    weight: int  # bytes to read; the sum of weights limits a shard
    seed: int = 0  # seed of the run, set by the scan; a reader may draw start positions of samples from it

    @property
    def file(self) -> str:
        """Return the key of the file that contains this extent."""
        return file_of(self.key)

    @property
    def block(self) -> str:
        """Return the block that contains this extent, else `key`. A block, like a gzipped tar, is read as a whole."""
        return self.where.rpartition("\0")[0].rpartition("\0")[2] or self.key


@dataclass(frozen=True, slots=True)
class Sample:
    """Data read from an extent: one input, such as an image, or `count` documents together."""

    key: str
    payload: Any
    facts: Mapping[str, int] = field(default_factory=dict)
    count: int = 1


def file_of(key: str) -> str:
    """Return the file of a key: `a.txt#0-1048576` -> `a.txt`. A "#" in a file name is escaped as %23."""
    return key.partition("#")[0]
