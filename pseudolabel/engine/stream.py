"""The same rows without files: as a stream for loader workers, and a taste of them for `--dry-run`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pseudolabel.contracts import MEGABYTE, Extent, RunOptions, UserError, arrow_schema, chance_for, splits
from pseudolabel.engine.jobs import Job, RunSpec
from pseudolabel.engine.make_shard import Counts, ShardReading, fit, observe
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.scan import Scan, fit_sample, resolve_sources, scan
from pseudolabel.storage.layout import WORK
from pseudolabel.storage.urls import open_location
from pseudolabel.tasks.base.task import Row, Rows, Task
from pseudolabel.writers.output_folder import local_artefacts, resolve_output
from pseudolabel.writers.shards import ShardWriter

DRY_RUN_SECONDS = 3.0  # how long `--dry-run` makes rows to reckon the whole from


class NoHeartbeat:
    """A report nobody reads."""

    def on(self, extent: str, key: str) -> None: ...
    def count(self, samples: int, skipped: int, weight: int) -> None: ...


def rows(
    task: Task,
    source: Path | str | Sequence[Path | str],
    *,
    seed: int = 0,
    copy: int = 0,
    part: tuple[int, int] = (0, 1),
    artefacts: Path | str | None = None,
    **options: Any,
) -> Iterator[Row]:
    """Yield the rows that `run` would store as copy number `copy`, of every part[1]-th shard from part[0] on.

    A task that learns does so first, on a sample of the source, unless `artefacts` names a finished dataset's folder.
    """
    chosen = RunOptions(seed=seed, **options)
    if chosen.validation or chosen.copies > 1:
        raise UserError("rows() streams one copy of everything; leave validation and copies to run()")
    sources = resolve_sources(source)
    task = task.resolved(sources)
    found = scan(task, sources, chosen)
    with tempfile.TemporaryDirectory() as folder:
        near = Path(folder)
        labeler = task.labeler(
            local_artefacts(open_location(artefacts), near) if artefacts else fit_here(task, found, chosen, near)
        )
        chance = chance_for(seed, task.name)
        for index in range(part[0], len(found.plan), part[1]):
            reading = ShardReading(
                Job("make", found.plan[index]),
                splits(0.0)[0],
                NoHeartbeat(),
                Counts(),
                source_columns=found.source_columns,
            )
            reader = task.reader()
            made = labeler.label(reading.samples(reader), lambda key, _: chance(key, copy), 1)
            for item in reading.joined(made, reader):
                if isinstance(item, Rows):
                    some = item.rows if isinstance(item.rows, list) else item.rows.to_pylist()  # type: ignore[union-attr]
                    yield from ({**row, "copy": copy} for row in some)


def dry_run(task: Task, source: Sequence[Path | str], **options: Any) -> dict[str, Any]:
    """What a run would read and make, reckoned from a few seconds' worth of its samples."""
    chosen = RunOptions(**options)
    if chosen.part or chosen.extend:
        raise UserError("--dry-run tells of a whole source; leave out --part and --extend")
    sources = resolve_sources(source)
    task = task.resolved(sources)
    out, found = resolve_output(task.name, sources, chosen.out), scan(task, sources, chosen)
    counts, made, size, seconds, share = estimate(task, found, chosen)
    return {
        "out": str(out),
        "task": task.name,
        "status": "dry run, nothing made" + ("" if share == 1 else f"; reckoned from {share:.1%} of the source"),
        "files": found.files,
        "ignored": found.ignored,
        "source_bytes": found.plan.weight,
        "shards": len(found.plan),
        "samples": round(counts.seen / share),
        "skipped": round((counts.skipped + counts.filtered) / share),
        "rows": round(made / share),
        "bytes": round(size / share),
        "core_seconds": round(seconds / share, 1),
    }


def estimate(task: Task, found: Scan, options: RunOptions) -> tuple[Counts, int, int, float, float]:
    """Make rows for a few seconds: the counts, rows, bytes, seconds, and the share of the source they are of."""
    counts, made, size, weight, begun = Counts(), 0, 0, 0, 0.0

    def extents() -> Iterator[Extent]:
        nonlocal weight
        for shard in found.plan:
            for extent in shard.extents:
                if time.monotonic() - begun > DRY_RUN_SECONDS and weight:
                    return
                weight += extent.weight
                yield extent

    with tempfile.TemporaryDirectory() as folder:
        labeler = task.labeler(fit_here(task, found, options, Path(folder)))
        begun = time.monotonic()
        stream = Shard(0, extents())  # type: ignore[arg-type] # read once, as far as the time goes
        reading = ShardReading(
            Job("make", stream), splits(0.0)[0], NoHeartbeat(), counts, source_columns=found.source_columns
        )
        out = Path(folder) / "taste.parquet"
        with ShardWriter(out, arrow_schema(found.source_columns.schema(task), {})) as writer:
            reader, chance = task.reader(), chance_for(options.seed, task.name)
            rows = labeler.label(reading.samples(reader), chance, options.copies)
            for item in reading.joined(rows, reader):
                if isinstance(item, Rows):
                    writer.write(item.rows)
                else:
                    reading.leave_out(item)
        made, size = writer.rows, out.stat().st_size
    return counts, made, size, time.monotonic() - begun, max(1, weight) / max(1, found.plan.weight)


def fit_here(task: Task, found: Scan, options: RunOptions, folder: Path) -> Path:
    """Do here what the workers do before the first shard; return the folder of what was learned."""
    spec = RunSpec(task, options.seed, 1, 0.0, folder, folder / WORK / "here")
    spec.work.mkdir(parents=True)
    parts, room = fit_sample(found.plan, options), task.observed_megabytes * MEGABYTE if task.observed_megabytes else 0
    while room > 0 and (part := next(parts, None)):
        room -= observe(spec, Job("observe", part), NoHeartbeat())
    fit(spec)
    return folder
