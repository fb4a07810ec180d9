"""The proof of one shard: its file against what was signed, then every row's label undone. Workers do this."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from pseudolabel import pixels, waves
from pseudolabel.columns import Column
from pseudolabel.jobs import Counts, Job, Reading, Recipe, Report
from pseudolabel.sample import Skipped, attempt, blamed, splits
from pseudolabel.shards import Records, digest
from pseudolabel.tasks.base import Labeler
from pseudolabel.verdict import Verdict

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AHEAD = 4096  # rows among which the next one is looked for, where one is lacking
ROWS_AT_ONCE = 512
PLAIN = ("class", "bool", "int32", "int64", "string")  # types whose values fit into a line


def prove(recipe: Recipe, job: Job, report: Report) -> Verdict:
    """Check a shard; against its source, if the job has extents."""
    verdict, counts, labeler = Verdict(), Counts(), attempt("", partial(_labeler, recipe))
    if isinstance(labeler, Skipped):
        verdict.blame(f"shard {job.shard.index}", labeler.reason)
        return verdict
    record = json.loads(Records(recipe.out).path(job.shard.index).read_text("utf-8"))
    files, unread = {file["split"]: file for file in record["files"]}, False
    for split in splits(recipe.validation):
        stored = _opened(recipe, job, files[split.name], verdict) if split.name in files else None
        if stored is None and split.name in files:
            unread = True
        elif job.shard.extents:
            reading = Reading(job, split, report, counts)
            _beside(recipe, reading, labeler, stored, verdict)
        elif stored is not None:
            for rows in stored.all():
                verdict.judge(rows.column("key"), undone(recipe, labeler, rows, None), recipe.task.proves())
                report.count(len(rows), 0, 0)
        if stored is not None and stored.broken:
            verdict.blame(f"data/{files[split.name]['name']}", stored.broken)
    if job.shard.extents and not unread:
        names = ("seen", "used", "skipped", "filtered")
        now, then = ([f"{counted[name]} {name}" for name in names] for counted in (vars(counts), record))
        if now != then:
            told = f"its source has samples {', '.join(now)}; there were {', '.join(then)}"
            verdict.blame(f"shard {job.shard.index}", told)
    return verdict


def _labeler(recipe: Recipe) -> Labeler:
    with blamed("what was learned cannot be loaded, so no row was checked"):  # it may be anything by now
        return recipe.task.labeler(recipe.out)


# --- the file --------------------------------------------------------------------------------------------------------


class Stored:
    """The rows of a file, in order, some at a time. `broken` says why they end before their time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.broken = ""
        self._file, self._group = file, 0
        self._rows = _whole(file.schema_arrow.empty_table())
        self.keys = _whole(file.read(["key", "copy"]))
        self.at = 0

    def __len__(self) -> int:
        return len(self.keys)

    def all(self) -> Iterator[pa.RecordBatch]:
        """What is left of them."""
        while (rows := self.take(ROWS_AT_ONCE)) is not None:
            yield rows

    def take(self, count: int) -> pa.RecordBatch | None:
        """The next rows: `count`, or what is left; None at the end."""
        import pyarrow as pa

        while len(self._rows) < count and self._group < self._file.num_row_groups and not self.broken:
            try:
                group = self._file.read_row_group(self._group).to_batches()
            except OSError as fault:
                self.broken = f"row group {self._group} cannot be read: {_line(fault)}"
                break
            self._rows, self._group = pa.concat_batches([self._rows, *group]), self._group + 1
        taken, self._rows = self._rows[:count], self._rows[count:]
        self.at += len(taken)
        return taken if len(taken) else None

    def ahead(self, key: str, copy: int) -> int:
        """How many rows lie before the one of that name, among the next; -1 if it is not there."""
        import pyarrow.compute as pc

        window = self.keys.slice(self.at, AHEAD)
        named = pc.and_(pc.equal(window["key"], key), pc.equal(window["copy"], copy))
        return int(pc.index(named, True).as_py())


def _opened(recipe: Recipe, job: Job, signed: Mapping[str, Any], verdict: Verdict) -> Stored | None:
    """A shard's file, after it was held against what was signed; None where it cannot be opened."""
    import pyarrow.parquet as pq

    path, where = recipe.out / "data" / signed["name"], f"data/{signed['name']}"
    expected = recipe.schema(job.shard.index)
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found, stored = file.schema_arrow, Stored(file)
    except OSError as fault:
        verdict.blame(where, f"is no whole Parquet file: {_line(fault)}")
        return None
    except (KeyError, ValueError) as fault:
        verdict.blame(where, f"has no rows of a dataset: {_line(fault)}")
        return None
    if foreign := _foreign(found, expected):
        verdict.blame(where, foreign)
    if digest(path) != signed["sha256"]:
        verdict.blame(where, "its sha256 is not the one that was signed: it was changed, or is of another run")
    if len(stored) != signed["rows"]:
        verdict.blame(where, f"it has {len(stored):,} rows, {signed['rows']:,} were signed")
    return stored if found.equals(expected) else None


def _foreign(found: pa.Schema, expected: pa.Schema) -> str:
    """What tells that a file is not of this dataset, by its schema and what it says of itself."""
    if not found.equals(expected):
        lacking = [f for f in expected if f.name not in found.names or found.field(f.name) != f]
        return f"its columns are not the task's: {lacking[0].name if lacking else ', '.join(found.names)}"
    for name in (b"pseudolabel", b"huggingface"):
        here, there = (json.loads((schema.metadata or {}).get(name, b"{}")) for schema in (found, expected))
        if here != there:
            what = next((key for key in there if here.get(key) != there[key]), "metadata")
            said = f"{here.get(what)!r}, not {there[what]!r}" if what in ("task", "seed", "shard") else "another"
            return f"it is of another run: its {what} is {said}"
    return ""


def _whole(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    import pyarrow as pa

    return pa.concat_batches([pa.RecordBatch.from_pylist([], table.schema), *table.to_batches()])


def _line(fault: Exception) -> str:
    return " ".join(str(fault).split())[:160]


# --- the rows --------------------------------------------------------------------------------------------------------


def undone(recipe: Recipe, labeler: Labeler, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
    """Of each row its fault: what its columns cannot hold, or what the task's own inverse says."""
    found = attempt("", partial(_undo, labeler, rows, source))
    if isinstance(found, Skipped):  # of one row all others shall not suffer
        alone = (attempt("", partial(_undo, labeler, rows[i : i + 1], None)) for i in range(len(rows)))
        found = [row.reason if isinstance(row, Skipped) else row[0] for row in alone]
    return [odd or fault for odd, fault in zip(_odd(recipe, rows), found, strict=True)]


def _undo(labeler: Labeler, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
    with blamed("cannot be undone"):  # what is stored may be anything
        return labeler.undo(rows, source)


def _odd(recipe: Recipe, rows: pa.RecordBatch) -> list[str]:
    """Of each row what is none of its columns' classes and copies, or is lacking; "" if nothing."""
    found = [""] * len(rows)
    for column in recipe.task.schema():
        values = rows.column(column.name)
        most = recipe.copies if column.name == "copy" else len(column.names) if column.type == "class" else 0
        if values.null_count or most:
            for i, value in enumerate(values.to_pylist() if most else values.is_valid().to_pylist()):
                if value is None or value is False or (most and not 0 <= value < most):
                    found[i] = f"`{column.name}` is {'null' if not most else f'{value}, none of 0 to {most - 1}'}"
    return found


# --- beside the source -----------------------------------------------------------------------------------------------


def _beside(recipe: Recipe, reading: Reading, labeler: Labeler, stored: Stored | None, verdict: Verdict) -> None:
    """Make the rows of a split again: each stored one is undone beside what it was made of, and must be the same."""
    import pyarrow as pa

    schema, split = recipe.schema(reading.job.shard.index), reading.split.name
    for item in labeler.label(reading.samples(recipe.task.reader()), recipe.chance(split), recipe.copies):
        if isinstance(item, Skipped):
            reading.leave_out(item)
            continue
        reading.counts.used += item.count
        rows, source = item.rows, item.source
        del item  # it may hold a picture, and the next one is decoded before this name is bound again
        made = rows if isinstance(rows, pa.RecordBatch) else pa.RecordBatch.from_pylist(rows, schema)
        while len(made):
            made = _matched(recipe, labeler, stored, made, source, verdict)
            source = None  # what is left of the rows is no longer in step with it
        del source
    for rows in stored.all() if stored else ():
        verdict.judge(rows.column("key"), ["its source gives no such row"] * len(rows), True)


def _matched(
    recipe: Recipe, labeler: Labeler, stored: Stored | None, made: pa.RecordBatch, source: Any, verdict: Verdict
) -> pa.RecordBatch:
    """Judge the stored rows that answer to the first of those made again; return those made that are left."""
    key, copy = made["key"][0].as_py(), made["copy"][0].as_py()
    before = stored.ahead(key, copy) if stored else -1
    if stored is None or before < 0:
        if not (stored and stored.broken):
            verdict.blame(key, "the dataset lacks this row, which its source gives")
        return made[1:]
    while before and (odd := stored.take(before)) is not None:
        verdict.judge(odd["key"], ["its source gives no such row"] * len(odd), True)
        before -= len(odd)
    rows = stored.take(_in_step(stored.keys.slice(stored.at, len(made)), made))
    if rows is None:  # the file is broken here
        return made[:0]
    found = undone(recipe, labeler, rows, source if len(rows) == len(made) else None)
    again = differences(recipe.task.schema(), rows, made[: len(rows)])
    verdict.judge(rows["key"], [fault or other for fault, other in zip(found, again, strict=True)], True)
    return made[len(rows) :]


def _in_step(keys: pa.RecordBatch, made: pa.RecordBatch) -> int:
    """How many rows, from the first on, have the same names in both."""
    names = zip(*(some[name].to_pylist() for name in ("key", "copy") for some in (keys, made)), strict=False)
    return sum(1 for _ in takewhile(lambda name: name[0] == name[1] and name[2] == name[3], names))


def differences(columns: Sequence[Column], rows: pa.RecordBatch, made: pa.RecordBatch) -> list[str | None]:
    """Of each row in what it differs from the one made again."""
    found: list[str | None] = [None] * len(rows)
    for column in columns:
        stored, again = rows[column.name], made[column.name]
        if stored.equals(again):
            continue
        for i, (one, other) in enumerate(zip(stored.to_pylist(), again.to_pylist(), strict=True)):
            if found[i] is None and not same(column.type, one, other):
                told = f"{one!r}; its source gives {other!r}" if column.type in PLAIN else "not what its source gives"
                found[i] = f"`{column.name}` is {told}"
    return found


def same(kind: str, one: Any, other: Any) -> bool:
    """Whether two values of a column's type are: pictures up to their codec, sounds to the sample, floats nearly."""
    if one == other or one is None or other is None:
        return bool(one == other)
    if kind.startswith("list<"):
        return len(one) == len(other) and all(same(kind[5:-1], *pair) for pair in zip(one, other, strict=True))
    if kind == "image" or kind.startswith("audio<"):
        return attempt("", partial(_same_media, kind, one, other)) is True
    return kind.startswith("float") and math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)


def _same_media(kind: str, one: Any, other: Any) -> bool:
    if kind == "image":
        return pixels.alike(pixels.decoded(one), pixels.decoded(other))
    return np.array_equal(waves.decode(one)[0], waves.decode(other)[0])
