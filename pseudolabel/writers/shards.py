"""Shards: write rows to Parquet files atomically, and read the records of finished shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from errno import ENOENT
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pseudolabel.storage.files import naming
from pseudolabel.storage.layout import DATA, RECORDS
from pseudolabel.storage.stores import store

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_BYTES = 32 << 20  # bytes of Arrow data per row group; the Hub's viewer rejects row groups far above 100 MB
BATCH_ROWS = 64  # rows that are converted to Arrow at once
BATCH_BYTES = 32 << 20  # rows of this total size are converted even if there are fewer than BATCH_ROWS


class ShardWriter:
    """A writer of one Parquet file. After a clean exit the file is whole and on disk; after an error it does not exist.

    A row group ends at ROW_GROUP_BYTES. Images and audio are stored uncompressed: they are already encoded. Strings
    use dictionaries and zstd, level 3. Numbers use zstd, level 1, alone: token ids with their labels and masks take two
    thirds of the time and no more bytes. Numbers in lists have no statistics: no reader could use them. Each page has a
    checksum. Equal rows give equal bytes with the same pyarrow.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self.path, self.schema, self.rows = path, schema, 0
        self._pending: list[dict[str, Any]] = []
        self._weight = 0
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        blobs, strings, numbers = _leaves(schema)
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression={**dict.fromkeys(blobs, "NONE"), **dict.fromkeys(strings + numbers, "ZSTD")},
            compression_level={**dict.fromkeys(strings, 3), **dict.fromkeys(numbers, 1)} or None,
            use_dictionary=strings or False,
            write_statistics=[*strings, *(path for path in numbers if ".list." not in path)] or False,
            write_page_index=True,
            write_page_checksum=True,
            write_batch_size=16 if blobs else None,
            store_schema=True,
        )

    def write(self, rows: Sequence[Mapping[str, Any]] | pa.RecordBatch) -> None:
        """Append rows: dicts by column name, or a record batch with the schema."""
        import pyarrow as pa

        if isinstance(rows, pa.RecordBatch):
            self._take(rows)
            return
        for row in rows:
            self._pending.append(dict(row))
            self._weight += _weight(self._pending[-1])
            if len(self._pending) >= BATCH_ROWS or self._weight >= BATCH_BYTES:
                self._settle()

    def _settle(self) -> None:
        import pyarrow as pa

        if self._pending:
            self._take(pa.RecordBatch.from_pylist(self._pending, self.schema))
            self._pending, self._weight = [], 0

    def _take(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batches:
            table = pa.Table.from_batches(self._batches, self.schema)
            with naming(self.path):
                self._writer.write_table(table, row_group_size=max(1, table.num_rows))
            self._batches, self._bytes = [], 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        whole = False
        try:
            if kind is None:
                self._settle()
                self._flush()
                with naming(self.path):
                    self._writer.close()
                    self._file.flush()
                    os.fsync(self._file.fileno())
            self._file.close()
            whole = kind is None
        finally:
            with suppress(OSError):  # after a failed flush, close fails again
                self._file.close()
            if not whole:  # do not close the Parquet writer: it would write a valid but short file
                self._writer.is_open = False  # else its destructor closes it, and prints that the file is closed
                self.path.unlink(missing_ok=True)


def _weight(value: Any) -> int:
    """Estimate the bytes of a row as Python objects. Each item of a list counts as its first item."""
    if isinstance(value, dict):
        return sum(map(_weight, value.values()))
    if isinstance(value, list):
        return 56 + len(value) * (8 + _weight(value[0])) if value else 56
    return len(value) if isinstance(value, bytes) else 32


def _leaves(schema: pa.Schema) -> tuple[list[str], list[str], list[str]]:
    """Return the Parquet paths of the leaf columns: those of encoded media, of strings, and of numbers.

    pyarrow ignores a per-column option unless its path leads to a leaf column, so nested paths are written in full.
    """
    import pyarrow as pa

    blobs: list[str] = []
    strings: list[str] = []
    numbers: list[str] = []

    def walk(path: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for field in kind:
                walk(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind):
            walk(f"{path}.list.element", kind.value_type)
        elif pa.types.is_binary(kind):
            blobs.append(path)
        else:
            (numbers if pa.types.is_primitive(kind) else strings).append(path)

    for field in schema:
        walk(field.name, field.type)
    return blobs, strings, numbers


class Records:
    """The shard records in `_records/`: one small JSON file per shard, stored before the shard's files in `data/`."""

    def __init__(self, out: Path) -> None:
        self.folder, self._store = out / RECORDS, store(out)

    def path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.json"

    def skips_path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.skipped.jsonl"

    def done(self, shards: Sequence[int], digests: Sequence[str]) -> list[dict[str, Any] | None]:
        """Return the record of each shard, or None if the shard is incomplete. `digests` has the digest of every shard.
        A complete shard has a record with its digest, and each file in the record exists with the right size."""
        there, data = self._store.sizes(RECORDS), self._store.sizes(DATA)

        def whole(index: int, said: bytes | None) -> dict[str, Any] | None:
            try:
                record: dict[str, Any] = json.loads(said or b"")
                named = all(data.get(file["name"]) == file["bytes"] for file in record["files"])
                whole = named and there.get(self.skips_path(index).name) == record["skips"]
            except (ValueError, LookupError, TypeError):  # truncated by a power cut
                return None
            return record if whole and record.get("of") == digests[index] else None

        known = [index for index in shards if self.path(index).name in there]
        found = dict(zip(known, map(whole, known, self.read(map(self.path, known))), strict=True))
        return [found.get(index) for index in shards]

    def read_skips(self, count: int) -> Iterator[str]:
        """Yield the lines of `_skipped.jsonl`, shard by shard."""
        for index, said in enumerate(self.read(map(self.skips_path, range(count)))):
            if said is None:
                raise FileNotFoundError(ENOENT, "the file is missing", str(self.skips_path(index)))
            yield from (line.decode() for line in said.splitlines(keepends=True))

    def read(self, paths: Iterable[Path]) -> Iterator[bytes | None]:
        """Yield the bytes of these record files, None for a missing file."""
        return self._store.read([f"_records/{path.name}" for path in paths])
