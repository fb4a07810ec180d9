"""Places of rows in an epoch, and the set of rows that were trained on, from which an epoch resumes after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import T, UserError


class Cursor(NamedTuple):
    """Where a row is in its shard: the piece that it was made from, and the samples that were counted before it."""

    piece: int
    row: int  # number of the row in the piece
    seen: int = 0
    skipped: int = 0
    filtered: int = 0


START = Cursor(0, -1)  # before the first row of a shard


class Place(NamedTuple):
    """The place of a row: all that `DoneRows.add` needs."""

    epoch: int
    shard: int
    number: int  # of the row among those of its shard, in the order in which they are made
    cursor: Cursor
    worker: int
    serial: int  # number of the row among those that the worker gives, in the order in which they are given

    def flat(self) -> list[int]:
        """Return the place as a list of FLAT ints, the input of `Place.of`."""
        return [self.epoch, self.shard, self.number, *self.cursor, self.worker, self.serial]

    @classmethod
    def of(cls, flat: list[int]) -> Place:
        epoch, shard, number, *cursor, worker, serial = flat
        return cls(epoch, shard, number, Cursor(*cursor), worker, serial)


FLAT = len(Place._fields) - 1 + len(Cursor._fields)  # numbers of a flat place


class Totals(NamedTuple):
    """The counts of a shard that was read to its end."""

    shard: int
    rows: int
    seen: int
    skipped: int
    filtered: int


@dataclass
class ShardRows:
    """The done rows of a shard: the first `count`, and some of those after them."""

    count: int = 0
    last: Cursor = START  # of the last of the first `count`
    later: dict[int, Cursor] = field(default_factory=dict)  # number -> cursor

    def add(self, number: int, cursor: Cursor) -> None:
        self.later[number] = cursor
        while self.count in self.later:
            self.last = self.later.pop(self.count)
            self.count += 1

    def __contains__(self, number: int) -> bool:
        return number < self.count or number in self.later


@dataclass
class DoneRows:
    """The rows of an epoch that are done: all of some shards, and part of others."""

    epoch: int
    finished: list[Totals] = field(default_factory=list)
    parts: dict[int, ShardRows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shards = {totals.shard for totals in self.finished}

    def add(self, place: Place) -> None:
        """Add a row. Raise `UserError` if it was added before."""
        part = self.parts.setdefault(place.shard, ShardRows())
        if place.shard in self.shards or place.number in part:
            raise UserError(
                f"rows of epoch {self.epoch} came a second time; call set_epoch() before each epoch, or "
                "load_state_dict() to continue this one"
            )
        part.add(place.number, place.cursor)

    def finish(self, read: np.ndarray) -> None:
        """Mark the shards of which all rows are done. `read`: of each shard 1 + the epoch in which it was read to the
        end, then its `Totals`."""
        empty = np.flatnonzero((read[:, 0] == 1 + self.epoch) & (read[:, 1] == 0)).tolist()
        for shard in [*self.parts, *empty]:
            epoch, *totals = read[shard].tolist()
            if shard not in self.shards and epoch == 1 + self.epoch and self._count(shard) == totals[0]:
                self.finished.append(Totals(shard, *totals))
                self.shards.add(shard)
                self.parts.pop(shard, None)

    def _count(self, shard: int) -> int:
        return self.parts[shard].count if shard in self.parts else 0

    def state(self) -> dict[str, Any]:
        """Return lists and numbers, which JSON holds."""
        parts = [
            [shard, part.count, [*part.last], [[number, *at] for number, at in part.later.items()]]
            for shard, part in self.parts.items()
        ]
        return {"epoch": self.epoch, "finished": [[*totals] for totals in self.finished], "parts": parts}

    @classmethod
    def load(cls, state: dict[str, Any]) -> DoneRows:
        """Return what `state` was called on."""
        parts = {
            shard: ShardRows(count, Cursor(*last), {number: Cursor(*at) for number, *at in later})
            for shard, count, last, later in state["parts"]
        }
        return cls(state["epoch"], [Totals(*totals) for totals in state["finished"]], parts)


def shuffle(rows: Iterator[T], size: int, rng: np.random.Generator) -> Iterator[T]:
    """Yield the rows, those of each block in random order. A row of the next block is taken for each row that is
    yielded, so that about `size` rows are in memory. The first blocks are smaller, each a quarter larger than the one
    before, so that the first batch comes soon."""
    held = dict(enumerate(islice(rows, -(-size // 8))))
    while held:
        following, count = dict[int, T](), len(held)
        most = max(count, min(size, count + -(-count // 4)))
        for given, at in enumerate(rng.permutation(count).tolist(), 1):
            yield held.pop(at)
            for row in islice(rows, -(-given * most // count) - len(following)):
                following[len(following)] = row
        held = following
