"""Stored rows: a shard's file, held against what was signed, and its rows in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pseudolabel.engine.jobs import Job, RunSpec
from pseudolabel.inspection.findings import Findings
from pseudolabel.storage.files import file_sha256
from pseudolabel.storage.retry import StoreFailure

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AHEAD = 4096  # rows among which the next one is looked for, where one is lacking
ROWS_AT_ONCE = 512


class StoredRows:
    """The rows of a file, in order, some at a time. `broken` says why they end before their time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.broken = ""
        self._file, self._group = file, 0
        self._rows = _whole(file.schema_arrow.empty_table())
        self.keys = _whole(file.read(["key", "copy"]))
        self.keys.validate(full=True)
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
                for rows in group:
                    rows.validate(full=True)  # text that is none, offsets that lead nowhere
            except (OSError, ValueError) as fault:
                self.broken = f"row group {self._group} cannot be read: {one_line(fault)}"
                break
            self._rows, self._group = pa.concat_batches([self._rows, *group]), self._group + 1
        taken, self._rows = self._rows[:count], self._rows[count:]
        self.at += len(taken)
        return taken if len(taken) else None

    def put_back(self, rows: pa.RecordBatch) -> None:
        """Have the last rows taken be the next ones again."""
        import pyarrow as pa

        self._rows, self.at = pa.concat_batches([rows, self._rows]), self.at - len(rows)

    def ahead(self, key: str, copy: int) -> int:
        """How many rows lie before the one of that name, among the next; -1 if it is not there."""
        import pyarrow.compute as pc

        window = self.keys.slice(self.at, AHEAD)
        named = pc.and_(pc.equal(window["key"], key), pc.equal(window["copy"], copy))
        return int(pc.index(named, True).as_py())


def stored_rows(spec: RunSpec, job: Job, signed: Mapping[str, Any], findings: Findings) -> StoredRows | None:
    """A shard's file, after it was held against what was signed; None where it cannot be opened."""
    import pyarrow.parquet as pq

    where = f"data/{signed['name']}"
    expected = spec.schema(job.shard.index)
    try:
        path = spec.store.local_copy(where, spec.staging())
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found, stored = file.schema_arrow, StoredRows(file)
    except StoreFailure:
        raise
    except OSError as fault:
        findings.blame(where, f"is no whole Parquet file: {one_line(fault)}")
        return None
    except (KeyError, ValueError) as fault:
        findings.blame(where, f"has no rows of a dataset: {one_line(fault)}")
        return None
    if foreign := _foreign(found, expected):
        findings.blame(where, foreign)
    if file_sha256(path) != signed["sha256"]:
        findings.blame(where, "its sha256 is not the one that was signed: it was changed, or is of another run")
    if len(stored) != signed["rows"]:
        findings.blame(where, f"it has {len(stored):,} rows, {signed['rows']:,} were signed")
    return stored if found.equals(expected) else None


def _foreign(found: pa.Schema, expected: pa.Schema) -> str:
    """What tells that a file is not of this dataset, by its schema and what it says of itself."""
    if not found.equals(expected):
        lacking = [f for f in expected if f.name not in found.names or found.field(f.name) != f]
        return f"its columns are not the task's: {lacking[0].name if lacking else ', '.join(found.names)}"
    for name in (b"pseudolabel", b"huggingface"):
        here, there = (_said(schema, name) for schema in (found, expected))
        if here != there:
            what = next((key for key in there if here.get(key) != there[key]), "metadata")
            said = f"{here.get(what)!r}, not {there[what]!r}" if what in ("task", "seed", "shard") else "another"
            return f"it is of another run: its {what} is {said}"
    return ""


def _said(schema: pa.Schema, name: bytes) -> dict[str, Any]:
    """What a file says of itself; {} if that is no JSON."""
    try:
        said = json.loads((schema.metadata or {}).get(name, b"{}"))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _whole(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    import pyarrow as pa

    return pa.concat_batches([pa.RecordBatch.from_pylist([], table.schema), *table.to_batches()])


def one_line(fault: Exception) -> str:
    """What a foreign reader says, in a line."""
    return " ".join(str(fault).split())[:160]
