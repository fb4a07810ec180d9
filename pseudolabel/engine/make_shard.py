"""Shards: read the extents of a shard, label the samples, and store the rows. Workers of every pool call `run_job`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from pseudolabel.contracts import MEGABYTE, Chance, Extent, Sample, Skipped, Split, UserError, chance_for, splits
from pseudolabel.engine.jobs import Heartbeat, Job, RunSpec
from pseudolabel.engine.plan import Shard, extents_digest
from pseudolabel.storage.files import file_sha256, naming
from pseudolabel.storage.layout import DATA, RECORDS
from pseudolabel.tasks.base.task import Labeler, Reader, Rows, Task
from pseudolabel.writers.shards import Records, ShardWriter
from pseudolabel.writers.source_columns import NO_COLUMNS, ColumnJoiner, SourceColumns


def run_job(spec: RunSpec, job: Job, report: Heartbeat) -> Any:
    """Do one job and return its result, which the pool sends to the engine."""
    if job.kind == "observe":
        return observe(spec, job, report)
    if job.kind == "fit":
        return fit(spec)
    return make_shard(spec, job, report)


@dataclass
class Counts:
    """Counts of samples that were read (seen), labelled (used), skipped as unusable, and filtered by an option."""

    seen: int = 0
    used: int = 0
    skipped: int = 0
    filtered: int = 0
    cut: int = 0  # pieces of long documents, without the first piece of each
    lacking: int = 0  # rows that used samples could not give
    tokens: int = 0  # tokens of text, of text tasks
    unknown: int = 0  # [UNK] among them
    rows: dict[str, int] = field(default_factory=dict)  # by split

    @property
    def unknown_share(self) -> float | None:
        """Return the share of [UNK] in the tokens of text; None if there are no tokens."""
        return round(self.unknown / self.tokens, 6) if self.tokens else None

    def check(self, shard: Shard) -> None:
        """Raise `UserError` if a sample was read but not used, skipped or filtered."""
        if self.seen != self.used + self.skipped + self.filtered:
            raise UserError(
                f"shard {shard.index}: of {self.seen} samples read, {self.used} were used, {self.skipped} skipped and "
                f"{self.filtered} filtered; the counts do not add up: a bug of the task, please report it",
                code=3,
            )


@dataclass
class ShardReading:
    """One pass over a shard's extents for one split. It counts samples and logs skipped or filtered ones in `skips`."""

    job: Job
    split: Split
    report: Heartbeat
    counts: Counts
    skips: IO[str] | None = None
    source_columns: SourceColumns = NO_COLUMNS

    def __post_init__(self) -> None:
        self._read = deque[Extent]()  # extents that the reader began and `ColumnJoiner` did not

    def label(self, task: Task, labeler: Labeler, chance: Chance, copies: int) -> Iterator[Rows]:
        """Yield the rows of the samples, joined with the source columns. Count used, skipped and filtered samples.

        Delete each result before you ask for the next one: it may hold a decoded image.
        """
        reader = task.reader()
        samples = self.samples(reader)
        made = labeler.label(samples, chance, copies)
        if self.source_columns.columns:
            made = ColumnJoiner(self.source_columns, reader, self._read).rows(made)
        for item in made:
            if isinstance(item, Skipped):
                self.leave_out(item)
            else:
                self.counts.used += item.count
                self.counts.tokens += item.tokens
                self.counts.unknown += item.unknown
                yield item
            del item
        if next(samples, None) is not None:
            raise UserError(f"{task.name} did not read all of shard {self.job.shard.index}; please report it", 3)

    def samples(self, reader: Reader) -> Iterator[Sample]:
        """Yield the samples of the reader, except those that are unusable or known to crash a worker."""
        for item in reader.read(self._next_extents(), self.split):
            self.counts.seen += item.count
            self.report.count(item.count, 0, 0)
            if isinstance(item, Skipped):
                self.leave_out(item)
            elif item.key in self.job.exceptions.labelling:
                self.leave_out(Skipped(item.key, self.job.exceptions.labelling[item.key], count=item.count))
            else:
                self.counts.cut += item.facts.get("cut", 0)
                self.report.on(self._extent.key, item.key)
                yield item
                del item  # free a large payload before the next one is read
                self.report.on(self._extent.key, "")

    def _next_extents(self) -> Iterator[Extent]:
        for extent in self.job.shard.extents:
            self._extent = extent
            reason = self.job.exceptions.reading.get(extent.key)
            if reason is None:
                self.report.on(extent.key, "")
                if self.source_columns.columns:
                    self._read.append(extent)
                yield extent
            elif self.split.holds(extent.file):
                self.counts.seen += 1
                self.report.count(1, 0, 0)
                self.leave_out(Skipped(extent.key, reason))
            self.report.count(0, 0, extent.weight)

    def leave_out(self, item: Skipped) -> None:
        """Count a skipped sample, or missing rows of a used sample. Write the reason to `skips`."""
        if item.unusable:
            self.counts.skipped += item.count
        else:
            self.counts.filtered += item.count
        self.counts.lacking += item.rows
        self.report.count(0, item.count, 0)
        if self.skips is not None:
            kind = "skipped" if item.unusable else "filtered"
            line = {"key": item.key, "reason": item.reason, "kind": kind, "samples": item.count}
            line |= {"rows": item.rows} if item.rows else {}
            self.skips.write(json.dumps(line, ensure_ascii=False) + "\n")


def make_shard(spec: RunSpec, job: Job, report: Heartbeat) -> dict[str, Any]:
    """Read, label and store one shard, and return its record.

    Data files and skips are written and synced in staging. Then the record is stored. The data files commit the shard.
    The record is not synced. If a power cut truncates it, or a file that it names is missing, the shard is made again.
    """
    begun, counts, files, index = time.monotonic(), Counts(), [], job.shard.index
    staging = spec.staging()
    skips = staging / "skipped.jsonl"
    with skips.open("w", encoding="utf-8") as lines:
        for split in splits(spec.validation):
            name = f"{split.name}-{index:05d}.parquet"
            staged = staging / name
            _write_split(spec, ShardReading(job, split, report, counts, lines, spec.source_columns), staged)
            if counts.rows[split.name]:
                rows, size = counts.rows[split.name], staged.stat().st_size
                files.append(
                    {"name": name, "split": split.name, "rows": rows, "bytes": size, "sha256": file_sha256(staged)}
                )
            else:
                staged.unlink()
        if lines.tell():
            lines.flush()
            os.fsync(lines.fileno())
    counts.check(job.shard)
    record = {
        "shard": index,
        "extents": len(job.shard.extents),
        "of": extents_digest(job.shard.extents),
        "weight": job.shard.weight,
        **asdict(counts),
        "files": files,
    }
    record |= {"skips": skips.stat().st_size, "process": os.getpid(), "seconds": round(time.monotonic() - begun, 3)}
    if not job.trial:
        _commit(spec, record, staging)
    shutil.rmtree(staging)
    return record


def _write_split(spec: RunSpec, reading: ShardReading, staged: Path) -> None:
    labeler, chance = spec.task.labeler(spec.artefacts()), spec.chance(reading.split.name)
    with ShardWriter(staged, spec.schema(reading.job.shard.index)) as out:
        for rows in reading.label(spec.task, labeler, chance, spec.copies):
            out.write(rows.rows)
            del rows
    reading.counts.rows[reading.split.name] = out.rows


def _commit(spec: RunSpec, record: dict[str, Any], staging: Path) -> None:
    records, index, commit = Records(spec.out), record["shard"], spec.store.commit
    (staging / "record.json").write_text(json.dumps(record, indent=1), "utf-8")
    commit(staging / "skipped.jsonl", f"{RECORDS}/{records.skips_path(index).name}")
    commit(staging / "record.json", f"{RECORDS}/{records.path(index).name}")
    for file in record["files"]:
        commit(staging / file["name"], f"{DATA}/{file['name']}")


# --- observe and fit, before any shard -------------------------------------------------------------------------------


def observe(spec: RunSpec, job: Job, report: Heartbeat) -> int:
    """Save arrays of the train split for `fit`; stop at `observed_megabytes`. Return the number of bytes."""
    reading, size = ShardReading(job, splits(spec.validation)[0], report, Counts()), 0
    staged = spec.staging() / f"seen-{job.shard.index:05d}.npy"
    with staged.open("wb") as file:
        for array in spec.task.observe(reading.samples(spec.task.reader())):
            np.save(file, array)
            size += array.nbytes
            if size >= spec.task.observed_megabytes * MEGABYTE:
                break
    if not job.trial:
        spec.store.commit(staged, f"{spec.observed_folder}/{staged.name}")
    return size


def fit(spec: RunSpec) -> dict[str, str]:
    """Fit on the saved arrays, in the order of their shards. Return the name and sha256 of each artefact."""
    staged = spec.work / "artefacts"
    staged.mkdir(exist_ok=True)
    chance = chance_for(spec.seed, spec.task.name)
    with naming(staged):
        spec.task.fit(_seen(spec), staged, chance("fit", 0))
    made = {path.name: file_sha256(path) for path in sorted(staged.iterdir())}
    for name in made:
        spec.store.commit(staged / name, name)
    spec.store.fsync("")
    return made


def _seen(spec: RunSpec) -> Iterator[np.ndarray]:
    room = spec.task.observed_megabytes * MEGABYTE
    for name in sorted(name for name in spec.store.sizes(spec.observed_folder) if name.startswith("seen-")):
        with spec.store.local_copy(f"{spec.observed_folder}/{name}", spec.staging()).open("rb") as file:
            while room > 0 and file.peek(1):
                array = np.load(file)
                room -= array.nbytes
                yield array
