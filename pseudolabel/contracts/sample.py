"""The nouns that every room shares: an extent of the source, and a sample read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
