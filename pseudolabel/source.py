"""The source as planned: which files are there, in which shards, and what of it is shown to `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pseudolabel import plan
from pseudolabel.addresses import located
from pseudolabel.options import RunOptions
from pseudolabel.plan import Plan, Shard
from pseudolabel.readers import files
from pseudolabel.sample import Extent, Refused
from pseudolabel.tasks.base import Task


def resolve(source: Path | str | Sequence[Path | str]) -> list[Path]:
    """The sources, absolute, existing and of different names."""
    given = [source] if isinstance(source, str | Path) else list(source)
    sources = [located(path) for path in given]
    files.check(sources)
    return sources


class Scan:
    """The source as planned: its shards, and how many files were no candidates."""

    def __init__(
        self, task: Task, sources: Sequence[Path], options: RunOptions, counts: Sequence[int] | None = None
    ) -> None:
        """`counts`: how many extents each shard has, where that was decided before and files changed since."""
        self.ignored = self.files = 0
        self._task, self.sources = task, sources
        extents = self._extents()
        ordered = plan.in_source_order(extents) if options.in_order else plan.in_random_order(extents, options.seed)
        if options.limit is not None:
            ordered = self._limited(ordered, options.limit)
        shards = (
            plan.cut(ordered, options.shard_size, task.neighbours()) if counts is None else plan.cut_as(ordered, counts)
        )
        self.plan = Plan(shards)
        if not len(self.plan):
            wanted = " ".join(sorted(task.reader().suffixes))
            names = " ".join(str(path) for path in sources)
            raise Refused(f"nothing to read in {names}: none of {self.ignored} files ends in {wanted}", code=5)

    def _extents(self) -> Iterator[Extent]:
        reader = self._task.reader()
        for file in files.find(self.sources, reader.suffixes):
            if file.candidate:
                self.files += 1
                yield from reader.scan(file.key, file.path, file.size)
            else:
                self.ignored += 1

    def _limited(self, extents: Iterator[Extent], limit: int) -> Iterator[Extent]:
        reader = self._task.reader()
        for extent in extents:
            first, count = reader.first(extent, limit)
            yield first
            limit -= count
            if limit <= 0:
                return


def shown(scan: Scan, options: RunOptions) -> Iterator[Shard]:
    """The source in small parts and random order, for `fit` to see as much of as it needs."""
    everything = (extent for shard in scan.plan for extent in shard.extents)
    mixed = plan.in_random_order(everything, options.seed) if options.in_order else everything
    return (Shard(i, part) for i, part in enumerate(plan.cut(mixed, 1)))
