"""What labels samples by clusters: samples of a block are located together, each is proven by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.clusters import Codebook, Located
from pseudolabel.featuresets import FILE
from pseudolabel.pieces import Piece, drawn
from pseudolabel.sample import Chance, Filtered, Sample, Skipped, Unusable
from pseudolabel.tasks.base import EachSample, Row, Rows

if TYPE_CHECKING:
    from pseudolabel.tasks.cluster import Cluster


class Clustered(NamedTuple):
    """The task and its codebook."""

    task: Cluster
    book: Codebook

    def each(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """Each picture, sound, clip or document by itself, with its row; those of a block are located together."""
        task = self.task
        for sample in samples:
            stored = task.kind.stored(sample, task.size)
            del sample  # a picture may be large
            try:
                features = task.described.features(task.described.raw(stored), self.book.learned)
            except Unusable as bad:
                yield from (Sample(key, bad) for key in stored.keys)
                continue
            located = zip(*(column.tolist() for column in self.book.clusters.located(features)), strict=True)
            empty = np.isnan(features).any(1).tolist()
            rows = task.kind.rows(stored, not task.no_inputs)
            for key, row, where, nothing in zip(stored.keys, rows, located, empty, strict=True):
                label = dict(zip(Located._fields, where, strict=True))
                yield Sample(key, None if nothing else {**label, **row})

    def pairs(self, row: Row | Unusable | None, rng: np.random.Generator) -> Iterator[Row]:
        """The row, if there was anything to tell by; chance has no part in it."""
        if isinstance(row, Unusable):
            raise row
        if row is None and self.task.origin == FILE:
            raise Unusable(f"no features for it in {Path(self.task.features).name}")
        if row is None:
            raise Filtered("nothing in it to tell it from others by: no word, or too short")
        yield row

    def undo(self, row: Row, source: Row | None) -> str | None:
        """Is what is stored where the row says? Without it, is there such a cluster?"""
        task, (centroids, learned) = self.task, (self.book.clusters, self.book.learned)
        if not task.proves():
            known = 0 <= row["cluster"] < len(centroids.sizes)
            return None if known else f"`cluster` is {row['cluster']}, none of 0 to {len(centroids.sizes) - 1}"
        features = task.described.features(task.described.raw(task.kind.restored(row)), learned)
        return centroids.fault(features, *(row[name] for name in Located._fields))

    def draw(self, row: Row) -> Iterable[Piece]:
        """What is stored, and its cluster."""
        return drawn(self.task.columns(), row)


class Together(EachSample):
    """The labeler."""

    task: Clustered

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        return super().label(self.task.each(samples), chance, copies)
