"""Rows without files: a stream for data loader workers, and the estimate of `--dry-run`."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pseudolabel.contracts import (
    MEGABYTE,
    Chance,
    Extent,
    RunOptions,
    UserError,
    arrow_schema,
    chance_for,
    splits,
    whole_number,
)
from pseudolabel.engine.finish import warn_unknown
from pseudolabel.engine.jobs import Heartbeat, Job, NoHeartbeat, RunSpec
from pseudolabel.engine.make_shard import Counts, ShardReading, fit, observe
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.scan import Scan, check_options, check_split, fit_sample, resolve_sources, scan
from pseudolabel.storage.layout import WORK
from pseudolabel.storage.urls import open_location
from pseudolabel.tasks.base.task import Labeler, Row, Rows, Task, check_is_task
from pseudolabel.writers.output_folder import local_artefacts, resolve_output
from pseudolabel.writers.shards import ShardWriter
from pseudolabel.writers.source_columns import SourceColumns

STREAM_OPTIONS = ("seed", "keep", "limit", "in_order", "shard_size")  # options that the rows or their order depend on
MAX_COPY = (1 << 31) - 1  # the column `copy` is int32
DRY_RUN_SECONDS = 3.0  # seconds of labelling that `--dry-run` estimates the whole run from


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

    Fit first, on a sample of the source, unless `artefacts` is the folder of a finished dataset.
    """
    check_is_task(task)
    chosen = RunOptions.of_call("rows", {"seed": seed, **options}, STREAM_OPTIONS)
    copy = whole_number("copy", copy, 0, MAX_COPY)
    if len(part) != 2 or not 0 <= whole_number("part", part[0]) < whole_number("part", part[1]):
        raise UserError(f"part is {part}; give (i, n) with i from 0 to n - 1, such as (0, 2) and (1, 2)")
    sources = resolve_sources(source)
    task = task.resolve(sources)
    found = scan(task, sources, chosen)
    check_options(task, found)
    with tempfile.TemporaryDirectory() as folder:
        near = Path(folder)
        labeler = task.labeler(
            local_artefacts(open_location(artefacts), near) if artefacts else fit_here(task, found, chosen, near)
        )
        chance = chance_for(seed, task.name)
        for index in range(part[0], len(found.plan), part[1]):
            reading = read_all(found.plan[index], found.source_columns)
            for item in copy_rows(reading, task, labeler, chance, copy):
                yield from item.rows if isinstance(item.rows, list) else item.rows.to_pylist()  # type: ignore[union-attr]
                del item


def copy_rows(reading: ShardReading, task: Task, labeler: Labeler, chance: Chance, copy: int) -> Iterator[Rows]:
    """Yield the rows that a run would store as copy number `copy`. Delete each before you ask for the next one."""
    import pyarrow as pa

    for item in reading.label(task, labeler, lambda key, _: chance(key, copy), 1):
        if copy == 0:
            yield item
        elif isinstance(item.rows, Sequence):
            yield replace(item, rows=[{**row, "copy": copy} for row in item.rows])
        else:
            at = item.rows.schema.get_field_index("copy")
            numbers = pa.array(np.full(len(item.rows), copy, np.int32))
            yield replace(item, rows=item.rows.set_column(at, item.rows.schema.field(at), numbers))
        del item


def read_all(shard: Shard, source_columns: SourceColumns, report: Heartbeat | None = None) -> ShardReading:
    """Return a reading of all samples of a shard, without a validation split."""
    report = report or NoHeartbeat()
    return ShardReading(Job("make", shard), splits(0.0)[0], report, Counts(), source_columns=source_columns)


def dry_run(task: Task, source: Sequence[Path | str], **options: Any) -> dict[str, Any]:
    """Return what a run would read and make, estimated from a few seconds of labelling one copy of each sample."""
    chosen = RunOptions(**options)
    if chosen.part or chosen.extend:
        raise UserError("--dry-run estimates a whole source; leave out --part and --extend")
    sources = resolve_sources(source)
    task = task.resolve(sources)
    out, found = resolve_output(task.name, sources, chosen.out), scan(task, sources, chosen)
    check_options(task, found)
    check_split(found, chosen.validation)
    counts, made, size, seconds, share = estimate(task, found, chosen)
    return {
        "out": str(out),
        "task": task.name,
        "status": "dry run, nothing made" + ("" if share == 1 else f"; estimated from {share:.1%} of the source"),
        "files": found.files,
        "ignored": sum(found.ignored.values()),
        "ignored_suffixes": found.ignored,
        "source_bytes": found.plan.weight,
        "shards": len(found.plan),
        "samples": round(counts.seen / share),
        "skipped": round(counts.skipped / share),
        "filtered": round(counts.filtered / share),
        "rows": round(made / share),
        "unknown_share": counts.unknown_share,
        "warnings": [*found.warnings, *filter(None, [warn_unknown(counts.unknown_share)])],
        "bytes": round(size / share),
        "core_seconds": round(seconds / share, 1),
    }


def estimate(task: Task, found: Scan, options: RunOptions) -> tuple[Counts, int, int, float, float]:
    """Label for a few seconds. Return the counts, rows, bytes, seconds, and the share of the source that was read.

    One copy of each sample is made, so that time and memory do not grow with `--copies`. If each extent gave
    one sample, as image files do, the share is a share of extents, else of bytes.
    """
    read, weight, begun = 0, 0, 0.0

    def extents() -> Iterator[Extent]:
        nonlocal read, weight
        for shard in found.plan:
            for extent in shard.extents:
                if time.monotonic() - begun > DRY_RUN_SECONDS and weight:
                    return
                read, weight = read + 1, weight + extent.weight
                yield extent

    with tempfile.TemporaryDirectory() as folder:
        labeler = task.labeler(fit_here(task, found, options, Path(folder)))
        begun, clock = time.monotonic(), ReadingClock()
        stream = Shard(0, extents())  # type: ignore[arg-type] # read once, until the time is over
        reading = read_all(stream, found.source_columns, clock)
        out, chance = Path(folder) / "sample.parquet", chance_for(options.seed, task.name)
        with ShardWriter(out, arrow_schema(found.source_columns.schema(task), {})) as writer:
            for item in reading.label(task, labeler, chance, 1):
                writer.write(item.rows)
                del item
        size = out.stat().st_size
    counts, copies, seconds = reading.counts, options.copies, time.monotonic() - begun
    share = read / found.plan.extents if counts.seen == read else max(1, weight) / max(1, found.plan.weight)
    seconds = clock.seconds + (seconds - clock.seconds) * copies
    return counts, writer.rows * copies, size * copies if writer.rows else size, seconds, share


class ReadingClock(NoHeartbeat):
    """A heartbeat that measures the seconds of reading: those in which the labeler has no sample to label."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, math.inf

    def on(self, extent: str, key: str) -> None:
        self._stop()
        self._since = math.inf if key else time.monotonic()

    def count(self, samples: int, skipped: int, weight: int) -> None:
        if weight:  # the end of an extent, perhaps of the last one
            self._stop()

    def _stop(self) -> None:
        self.seconds += max(0.0, time.monotonic() - self._since)
        self._since = math.inf


def fit_here(task: Task, found: Scan, options: RunOptions, folder: Path) -> Path:
    """Observe and fit in this process. Return the folder of the artefacts."""
    spec = RunSpec(task, options.seed, 1, 0.0, folder, folder / WORK / "here")
    spec.work.mkdir(parents=True)
    parts, room = fit_sample(found.plan, options), task.observed_megabytes * MEGABYTE
    while room > 0 and (part := next(parts, None)):
        room -= observe(spec, Job("observe", part), NoHeartbeat())
    fit(spec)
    return folder
