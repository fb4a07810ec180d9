"""The same rows without files: as a stream for loader workers, and a taste of them for `--dry-run`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pseudolabel import plan
from pseudolabel.engine import RunOptions, Scan, place, resolve, share_or_count
from pseudolabel.jobs import Counts, Job, Reading, Recipe, fit, observe
from pseudolabel.plan import Shard
from pseudolabel.sample import Refused, Sample, Skipped, chance_for, splits
from pseudolabel.tasks.base import Row, Rows, Task

TASTE_SECONDS = 3.0  # how long `--dry-run` makes rows to reckon the whole from


class Silent:
    """A report nobody reads."""

    def on(self, shard: Shard, extent: str, key: str) -> None: ...
    def count(self, samples: int, skipped: int, weight: int) -> None: ...


def rows(
    task: Task, source: Path | str | Sequence[Path | str], *, seed: int = 0, copy: int = 0, part: tuple[int, int] = (0, 1),
    artefacts: Path | str | None = None, **options: Any,
) -> Iterator[Row]:  # fmt: skip
    """Yield the rows that `run` would store as copy number `copy`, of every part[1]-th shard from part[0] on.

    A task that learns does so first, on a sample of the source, unless `artefacts` names a finished dataset's folder.
    """
    chosen = RunOptions(seed=seed, **options)
    scan = Scan(task, resolve(source), chosen)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(artefacts) if artefacts else learned(task, scan, seed, Path(folder))
        labeler, chance = task.labeler(home), chance_for(seed, task.name)
        for index in range(part[0], len(scan.plan), part[1]):
            reading = Reading(Job("make", scan.plan[index]), splits(0.0)[0], Silent(), Counts())
            made = labeler.label(reading.samples(task.reader()), lambda key, _: chance(key, copy), 1)
            for item in made:
                if isinstance(item, Rows):
                    yield from ({**row, "copy": copy} for row in _dicts(item))


def dry_run(task: Task, source: Sequence[Path], **options: Any) -> dict[str, Any]:
    """What a run would read and make, reckoned from a few seconds' worth of its samples."""
    chosen = RunOptions(**options)
    share_or_count(chosen.max_skipped)
    sources = resolve(source)
    out, scan = place(task, sources, chosen), Scan(task, sources, chosen)
    taste = _Taste(task, scan, chosen)
    scale = scan.plan.weight / max(1, taste.weight)
    exact = scale <= 1
    about = (lambda n: n) if exact else (lambda n: round(n * scale))  # noqa: E731
    return {
        "out": str(out), "task": task.name, "status": "dry run, nothing made" + ("" if exact else "; samples, rows, bytes and seconds are reckoned"),
        "files": scan.files, "ignored": scan.ignored, "source_bytes": scan.plan.weight, "shards": len(scan.plan),
        "samples": about(taste.counts.seen), "skipped": about(taste.counts.skipped),
        "rows": about(taste.rows * chosen.copies), "bytes": about(taste.bytes * chosen.copies),
        "core_seconds": round(taste.seconds * max(1.0, scale) * chosen.copies, 1),
    }  # fmt: skip


class _Taste:
    """A few seconds of rows, and what they came from."""

    def __init__(self, task: Task, scan: Scan, options: RunOptions) -> None:
        import pyarrow as pa

        from pseudolabel.columns import arrow_schema

        self.counts, self.rows, self.bytes, self.weight = Counts(), 0, 0, 0
        schema = arrow_schema(task.schema(), {})
        with tempfile.TemporaryDirectory() as folder:
            labeler = task.labeler(learned(task, scan, options.seed, Path(folder)))
            begun = time.monotonic()
            for shard in scan.plan:
                extents = self._until(begun, shard)
                reading = Reading(Job("make", Shard(shard.index, extents)), splits(0.0)[0], Silent(), self.counts)  # type: ignore[arg-type]
                for item in labeler.label(reading.samples(task.reader()), chance_for(options.seed, task.name), 1):
                    if isinstance(item, Rows):
                        batch = item.rows if isinstance(item.rows, pa.RecordBatch) else pa.RecordBatch.from_pylist(list(item.rows), schema)
                        self.rows += batch.num_rows
                        self.bytes += batch.nbytes
                    else:
                        reading.leave_out(item)
                if time.monotonic() - begun > TASTE_SECONDS:
                    break
            self.seconds = time.monotonic() - begun

    def _until(self, begun: float, shard: Shard) -> Iterator[Any]:
        for extent in shard.extents:
            if time.monotonic() - begun > TASTE_SECONDS:
                return
            self.weight += extent.weight
            yield extent


def learned(task: Task, scan: Scan, seed: int, folder: Path) -> Path:
    """Do here what the workers do before the first shard; return the folder of what was learned."""
    recipe = Recipe(task, seed, 1, 0.0, folder, folder / "work")
    recipe.work.mkdir()
    if task.learns():
        everything = (extent for shard in scan.plan for extent in shard.extents)
        for i, part in enumerate(plan.cut(plan.lightest_by_hash(everything, task.observed_megabytes), 1)):
            observe(recipe, Job("observe", Shard(i, part)), Silent())
    fit(recipe)
    return folder


def _dicts(item: Rows) -> Sequence[Row]:
    return item.rows if isinstance(item.rows, list | tuple) else item.rows.to_pylist()  # type: ignore[union-attr]
