"""Stored rows: read the rows of a data file in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pseudolabel.contracts import one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

LOOKAHEAD_ROWS = 4096  # next rows that are searched for a key and copy
BATCH_ROWS = 512


class StoredRows:
    """The rows of a data file, read in batches. `broken`: why a row group cannot be read, or ""."""

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
        """Yield the remaining rows, in batches."""
        while (rows := self.take(BATCH_ROWS)) is not None:
            yield rows

    def take(self, count: int) -> pa.RecordBatch | None:
        """Return the next `count` rows, fewer at the end. Return None if no row is left."""
        import pyarrow as pa

        while len(self._rows) < count and self._group < self._file.num_row_groups and not self.broken:
            try:
                group = self._file.read_row_group(self._group).to_batches()
                for rows in group:
                    rows.validate(full=True)  # raises for invalid UTF-8 and for invalid offsets
            except (OSError, ValueError) as fault:
                self.broken = f"row group {self._group} cannot be read: {one_line(fault)}"
                break
            self._rows, self._group = pa.concat_batches([self._rows, *group]), self._group + 1
        taken, self._rows = self._rows[:count], self._rows[count:]
        self.at += len(taken)
        return taken if len(taken) else None

    def put_back(self, rows: pa.RecordBatch) -> None:
        """Put back the rows taken last, so that `take` returns them again."""
        import pyarrow as pa

        self._rows, self.at = pa.concat_batches([rows, self._rows]), self.at - len(rows)

    def ahead(self, key: str, copy: int) -> int:
        """Return how many of the next rows come before this key and copy; -1 if no row of LOOKAHEAD_ROWS has both."""
        import pyarrow.compute as pc

        window = self.keys.slice(self.at, LOOKAHEAD_ROWS)
        named = pc.and_(pc.equal(window["key"], key), pc.equal(window["copy"], copy))
        return int(pc.index(named, True).as_py())


def _whole(table: pa.Table) -> pa.RecordBatch:
    """Return a table as one batch."""
    import pyarrow as pa

    return pa.concat_batches([pa.RecordBatch.from_pylist([], table.schema), *table.to_batches()])
