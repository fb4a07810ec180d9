"""Verify one shard: its files against the manifest, then the label of every row. Workers run this."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.contracts import (
    Column,
    Skipped,
    UnusableSample,
    decoding_errors,
    one_line,
    or_skipped,
    split_remedy,
    splits,
)
from pseudolabel.engine.jobs import Heartbeat, Job, RunSpec
from pseudolabel.engine.make_shard import Counts, ShardReading
from pseudolabel.inspection import manifest_check
from pseudolabel.inspection.findings import Findings
from pseudolabel.inspection.row_checks import invalid_values, row_differences
from pseudolabel.inspection.stored_rows import StoredRows
from pseudolabel.storage.files import file_sha256
from pseudolabel.storage.layout import DATA, RECORDS
from pseudolabel.storage.retry import StoreFailure
from pseudolabel.tasks.base.task import Labeler, row_columns
from pseudolabel.writers.shards import Records

if TYPE_CHECKING:
    import pyarrow as pa

LOOKAHEAD_ROWS = 16  # next rows in which `match_rows` searches for an equal row


def verify_shard(spec: RunSpec, job: Job, report: Heartbeat, exact: bool) -> Findings:
    """Check a shard, with its source if the job has extents. `exact`: it was made with the same packages."""
    findings, counts, labeler = Findings(), Counts(), or_skipped(partial(_labeler, spec))
    if isinstance(labeler, Skipped):
        findings.blame(f"shard {job.shard.index}", labeler.reason)
        return findings
    records, skips = Records(spec.out), StringIO()
    record = json.loads(records.path(job.shard.index).read_text("utf-8"))
    files, unread = {file["split"]: file for file in record["files"]}, False
    for split in splits(spec.validation):
        stored = check_file(spec, job, files[split.name], findings) if split.name in files else None
        if stored is None and split.name in files:
            unread = True
        elif job.shard.extents:
            reading = ShardReading(job, split, report, counts, skips, spec.source_columns)
            ShardComparer(spec, labeler, stored, findings, exact).judge(reading)
        elif stored is not None:
            for rows in stored.all():
                findings.judge(
                    rows.column("key"),
                    check_rows(spec, labeler, rows, None),
                    spec.task.description.self_verifying(spec.task),
                )
                report.count(len(rows), 0, 0)
        if stored is not None and stored.broken:
            findings.blame(f"{DATA}/{files[split.name]['name']}", stored.broken)
    if job.shard.extents and not unread:
        names = ("seen", "used", "skipped", "filtered")
        now, then = ([f"{counted[name]} {name}" for name in names] for counted in (vars(counts), record))
        if now != then:
            told = f"samples in its source: {', '.join(now)}; in its record: {', '.join(then)}"
            findings.blame(f"shard {job.shard.index}", told)
        _left_out(records.skips_path(job.shard.index), skips.getvalue(), findings, exact)
    shutil.rmtree(spec.staging())
    return findings


def check_file(spec: RunSpec, job: Job, signed: Mapping[str, Any], findings: Findings) -> StoredRows | None:
    """Compare a data file with its record. Return its rows, or None if the file is unreadable or has other columns."""
    import pyarrow.parquet as pq

    where = f"{DATA}/{signed['name']}"
    expected = spec.schema(job.shard.index)
    try:
        path = spec.store.local_copy(where, spec.staging())
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found, stored = file.schema_arrow, StoredRows(file)
    except StoreFailure:
        raise
    except OSError as fault:
        findings.blame(where, f"not a complete Parquet file: {one_line(fault)}")
        return None
    except (KeyError, ValueError) as fault:
        findings.blame(where, f"its rows cannot be read: {one_line(fault)}")
        return None
    if foreign := foreign_schema(found, expected):
        findings.blame(where, foreign)
    if file_sha256(path) != signed["sha256"]:
        findings.blame(where, "its sha256 differs from the shard's record: it was changed, or belongs to another run")
    if len(stored) != signed["rows"]:
        findings.blame(where, f"it has {len(stored):,} rows, the shard's record says {signed['rows']:,}")
    return stored if found.equals(expected) else None


def foreign_schema(found: pa.Schema, expected: pa.Schema) -> str:
    """Return why a file does not belong to this dataset, by its schema and its metadata; "" if it does."""
    if not found.equals(expected):
        lacking = [f for f in expected if f.name not in found.names or found.field(f.name) != f]
        return f"its columns differ from the task's: {lacking[0].name if lacking else ', '.join(found.names)}"
    for name in (b"pseudolabel", b"huggingface"):
        here, there = (_metadata(schema, name) for schema in (found, expected))
        if here != there:
            what = next((key for key in there if here.get(key) != there[key]), "metadata")
            said = f"{here.get(what)!r}, not {there[what]!r}" if what in ("task", "seed", "shard") else "different"
            return f"it belongs to another run ({what}: {said})"
    return ""


def _metadata(schema: pa.Schema, name: bytes) -> dict[str, Any]:
    """Return the JSON object under `name` in the schema's metadata, without column meanings; {} if there is none."""
    try:
        said = json.loads((schema.metadata or {}).get(name, b"{}"))
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    if isinstance(columns := said.get("columns"), dict):  # another version may word the meanings otherwise
        said["columns"] = {column: about.get("role") for column, about in columns.items() if isinstance(about, dict)}
    return said


def _left_out(path: Path, again: str, findings: Findings, exact: bool) -> None:
    """Compare the recorded skips with those found now. Compare reasons only if `exact`: packages may change them.
    What a reason advises is not compared: it may be worded otherwise."""
    names = ("key", "kind", "samples", *(["reason"] if exact else []))

    def known(line: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(split_remedy(line[name])[0] if name == "reason" else line[name] for name in names)

    try:
        lists = (manifest_check.read_skipped(path), map(json.loads, again.splitlines()))
        then, now = (Counter(map(known, lines)) for lines in lists)
    except UnusableSample as fault:
        findings.blame(f"{RECORDS}/{path.name}", str(fault))
        return
    for key, kind, _, *reason in (then - now) + (now - then):
        who = "only the dataset lists" if (key, kind) in {left[:2] for left in then - now} else "only its source gives"
        findings.blame(key, f"{who} this sample as {kind}{': ' if reason else ''}{''.join(reason)}")


def _labeler(spec: RunSpec) -> Labeler:
    artefacts = spec.artefacts()
    with decoding_errors("the artefacts cannot be loaded, so no row was checked"):  # they may be damaged in any way
        return spec.task.labeler(artefacts)


# --- rows ------------------------------------------------------------------------------------------------------------


def check_rows(spec: RunSpec, labeler: Labeler, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
    """Return the fault of each row, or None: an invalid value, or what the task's `check_rows` finds."""
    found: list[str | None] = [reason or None for reason in invalid_values(row_columns(spec.task), spec.copies, rows)]
    if not any(found):
        told = or_skipped(partial(_undo, labeler, rows, source))
        if not isinstance(told, Skipped):
            return told
    for i, reason in enumerate(found):  # check rows one by one: a damaged row must not hide the others
        if reason is None:
            row = or_skipped(partial(_undo, labeler, rows[i : i + 1], None))
            found[i] = row.reason if isinstance(row, Skipped) else row[0]
    return found


def _undo(labeler: Labeler, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
    with decoding_errors("its label cannot be checked"):  # stored data may be damaged in any way
        return labeler.check_rows(rows, source)


# --- comparison with the source --------------------------------------------------------------------------------------


@dataclass
class ShardComparer:
    """The stored rows of a split beside the rows made again: each label is checked, each row must be equal."""

    spec: RunSpec
    labeler: Labeler
    stored: StoredRows | None
    findings: Findings
    exact: bool

    def judge(self, reading: ShardReading) -> None:
        """Make the rows again, and check the stored rows."""
        spec, split = self.spec, reading.split.name
        schema = spec.schema(reading.job.shard.index)
        for item in reading.label(spec.task, self.labeler, spec.chance(split), spec.copies):
            made, source = item.batch(schema), item.source
            del item  # free its image before the next one is decoded
            while len(made):
                made, source = self._match(made, source), None  # `source` can only check all rows of the item at once
            del source
        for rows in self.stored.all() if self.stored else ():
            self._superfluous(rows)

    def _match(self, made: pa.RecordBatch, source: Any) -> pa.RecordBatch:
        """Check the stored rows that match the first rows of `made`. Return the rest of `made`."""
        stored, key, copy = self.stored, made["key"][0].as_py(), made["copy"][0].as_py()
        before = stored.ahead(key, copy) if stored else -1
        if stored is None or before < 0:
            if not (stored and stored.broken):
                self._lacking(made[:1])
            return made[1:]
        while before and (rows := stored.take(before)) is not None:
            self._superfluous(rows)
            before -= len(rows)
        there, count = stored.keys.slice(stored.at, len(made) + LOOKAHEAD_ROWS), 0
        for one, other in zip(_runs(there), _runs(made), strict=False):
            if one != other:
                break
            count += other.many
        if count and (rows := stored.take(count)) is not None:
            self._compare(rows, made[: len(rows)], source if len(rows) == len(made) else None)
            return made[count:] if len(rows) == count else made[:0]  # the file is damaged after these rows
        again = next(_runs(made)).many
        names = [run.name for run in _runs(there[: again + LOOKAHEAD_ROWS]) for _ in range(run.many)]
        many = len(names) - names[::-1].index((key, copy))  # rows of other keys among them are misplaced
        if (rows := stored.take(many)) is not None:
            over = self._out_of_step(rows, made[:again], len(made) == again)
            stored.put_back(rows[len(rows) - over :])
            return made[again:]
        return made[:0]

    def _out_of_step(self, rows: pa.RecordBatch, made: pa.RecordBatch, last: bool) -> int:
        """Check rows of one key and copy whose count differs from `made`. Return the number of rows at the end
        that may match rows made next. Return 0 if not `last`: then more rows of the item follow `made`."""
        pairs = match_rows(self.spec.columns, rows, made, self.exact)
        over = sum(1 for _ in takewhile(lambda which: which is None, reversed(pairs))) if last else 0
        pairs = pairs[: len(pairs) - over]
        answering = [(i, which) for i, which in enumerate(pairs) if which is not None]
        one, other = (np.array([pair[side] for pair in answering], np.int64) for side in (0, 1))
        self._compare(rows.take(one), made.take(other), None)
        self._superfluous(rows.take(np.setdiff1d(np.arange(len(pairs)), one)))
        self._lacking(made.take(np.setdiff1d(np.arange(len(made)), other)))
        return over

    def _compare(self, rows: pa.RecordBatch, made: pa.RecordBatch, source: Any) -> None:
        found = check_rows(self.spec, self.labeler, rows, source)
        again = row_differences(self.spec.columns, rows, made, self.exact)
        self.findings.judge(rows["key"], [fault or other for fault, other in zip(found, again, strict=True)], True)

    def _superfluous(self, rows: pa.RecordBatch) -> None:
        self.findings.judge(rows["key"], ["its source gives no such row"] * len(rows), True)

    def _lacking(self, made: pa.RecordBatch) -> None:
        for key in made["key"].to_pylist():
            self.findings.blame(key, "the dataset lacks this row, which its source gives")


class NamedRun(NamedTuple):
    """Consecutive rows of the same key and copy, and their number."""

    name: tuple[str, int]
    many: int


def _runs(rows: pa.RecordBatch) -> Iterator[NamedRun]:
    names = zip(rows["key"].to_pylist(), rows["copy"].to_pylist(), strict=True)
    return (NamedRun(name, len(list(some))) for name, some in groupby(names))


def match_rows(columns: Sequence[Column], rows: pa.RecordBatch, made: pa.RecordBatch, exact: bool) -> list[int | None]:
    """Return for each row the index of its match in `made`, or None. Match equal rows first, then the rest in order."""
    found, at = list[int | None](), 0
    for i in range(len(rows)):
        near = range(at, min(at + LOOKAHEAD_ROWS, len(made)))
        alike = (k for k in near if not any(row_differences(columns, rows[i : i + 1], made[k : k + 1], exact)))
        found.append(which := next(alike, None))
        at = at if which is None else which + 1
    rest = iter(sorted(set(range(len(made))) - set(found)))
    return [next(rest, None) if which is None else which for which in found]
