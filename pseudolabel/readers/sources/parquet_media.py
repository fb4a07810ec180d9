"""Media in tables: each row of a Parquet file with a column of images, audio or video is read as a file."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudolabel.contracts import UnusableSample, UserError
from pseudolabel.readers.sources.decompression_bombs import BOMB_REASON, is_bomb
from pseudolabel.readers.sources.location import unusable_locator

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMN_NAMES = {  # suffix that a reader of this media type accepts -> words in the names of its columns
    ".jpg": ("image", "img", "photo", "picture", "jpg", "jpeg", "png"),
    ".wav": ("audio", "sound", "speech", "wav", "flac", "mp3"),
    ".m4v": ("video", "film", "clip", "movie", "mp4"),  # not .mp4, which readers of audio accept too
}
BINARY_TYPES = {"binary", "large_binary"}
NAME_COLUMNS = ("path", "file_name", "filename", "key", "__key__")  # columns with file names; the first is used
CACHE_BYTES = 64 << 20  # approximate bytes of rows that are read together and cached
MAX_ROW_BYTES = 256 << 20  # maximum of the mean bytes per row in a `RowSpan`: Arrow reads a row whole
HEAD_BYTES = 1 << 16  # bytes at the start that identify a file, together with the footer


class MediaColumn(NamedTuple):
    """The column that holds the media bytes."""

    leaf: str  # path in the schema: "image.bytes"
    name: str | None  # path of the column with file names
    suffix: str  # file suffix of the media type


class RowSpan(NamedTuple):
    """Rows that are read together: rows `first` to `stop`, counted from the start of row group `group`."""

    group: int
    until: int  # row group after the last one
    first: int
    stop: int
    size: int  # bytes
    swells: bool = False  # a decompression bomb


class Row(NamedTuple):
    """A table row, read as a file."""

    number: int
    name: str | None
    size: int
    locator: str
    block: str
    suffix: str


def media_suffixes(wanted: Collection[str]) -> list[str]:
    """Return one suffix for each wanted media type."""
    return [suffix for suffix in COLUMN_NAMES if suffix in wanted]


def media_column(schema: pa.Schema, wanted: Collection[str]) -> MediaColumn:
    """Return the wanted media column, structs before plain bytes. Raise `UnusableSample` unless exactly one fits."""
    structs = {field.name: _leaves(field.type) for field in schema}
    plain = [field.name for field in schema if str(field.type) in BINARY_TYPES]
    kinds = {name: _kind(schema, name) for name in (*structs, *plain)}
    tiers = (
        [name for name, leaves in structs.items() if leaves and kinds[name] in wanted],
        [name for name in plain if kinds[name] in wanted],
        [name for name, leaves in structs.items() if leaves and not kinds[name]],
        [name for name in plain if not kinds[name]],
    )
    there = ", ".join(f"{field.name}: {field.type}" for field in schema)
    found = next((tier for tier in tiers if tier), [])
    if len(found) != 1:
        raise UnusableSample(f"{'several media columns' if found else 'no media column'}: the table has {there}"[:500])
    (name,) = found
    suffix = kinds[name] or media_suffixes(wanted)[0]
    if name in plain:
        strings = [
            other for other in NAME_COLUMNS if other in schema.names and "string" in str(schema.field(other).type)
        ]
        return MediaColumn(name, strings[0] if strings else None, suffix)
    return MediaColumn(f"{name}.bytes", f"{name}.path" if "path" in structs[name] else None, suffix)


def _leaves(kind: pa.DataType) -> set[str]:
    """Return the fields of a Hugging Face media column: `bytes`, and `path` if any; an empty set for others.

    A field of type null is none: pyarrow gives this type to `path` if it is null in every row.
    """
    fields = {field.name: str(field.type) for field in kind} if str(kind).startswith("struct<") else {}
    fields = {name: said for name, said in fields.items() if said != "null"}
    return set(fields) if fields.get("bytes") in BINARY_TYPES and "string" in fields.get("path", "string") else set()


def _kind(schema: pa.Schema, name: str) -> str:
    """Return the suffix of a column's media type, by the metadata of `datasets` or by its name; "" if unknown."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][name]["_type"]
    except (KeyError, TypeError, ValueError):
        noted = ""
    said = noted if noted in ("Image", "Audio", "Video") else name
    return next((suffix for suffix, words in COLUMN_NAMES.items() if any(word in said.lower() for word in words)), "")


def find_rows(file: Any, wanted: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file; only names are read. Sizes are the mean bytes of rows read together."""
    with open_table(file) as parquet:
        chosen = media_column(parquet.schema_arrow, media_suffixes(wanted))
        names, parts = _names(parquet, chosen.name), list(_parts(row_groups(parquet, chosen.leaf)))
        own = file_mark(file)
        for part in parts:
            block, size = f"{part.group} {part.first}" if len(parts) > 1 else "", part.size // (part.stop - part.first)
            for index in range(part.first, part.stop):
                number, name = next(names)
                told = f"row {part.group} {part.until} {part.first} {part.stop} {index} {own} {chosen.leaf}"
                if size > MAX_ROW_BYTES:
                    told = unusable_locator(f"rows of {size >> 20} MB, at most {MAX_ROW_BYTES >> 20} are read")
                elif part.swells:
                    told = unusable_locator(BOMB_REASON)
                yield Row(number, name, size, told, block, chosen.suffix)


@contextmanager
def open_table(file: Any) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Convert errors of Arrow into `UnusableSample`. Raise `UserError` for one of this package."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)  # Arrow copies less from a path
    try:
        with pq.ParquetFile(file.name if own else file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            if b"pseudolabel" in (parquet.schema_arrow.metadata or {}):  # see `contracts.schema.arrow_schema`
                name = file.name if own else "a Parquet file of the source"
                raise UserError(
                    f"{name} is of a dataset made by pseudolabel, not raw data; give the source of that dataset"
                )
            yield parquet
    except (pa.ArrowException, OSError) as damage:
        raise _damage(damage) from None


def _damage(fault: Exception, rows: int = 1) -> Exception:
    """Return an error of the system as it is, and any other as damage of `rows` rows: Arrow sets no errno."""
    if getattr(fault, "errno", None) is not None:
        return fault
    return UnusableSample(f"damaged Parquet: {str(fault).splitlines()[0]}", rows)


def file_mark(file: Any) -> str:
    """Return a hash of the file's start and its footer, which has the positions and sizes of all its data."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    footer = min(int.from_bytes(file.read(8)[:4], "little"), CACHE_BYTES)
    told = blake2b(digest_size=8)
    for begin, count in ((0, HEAD_BYTES), (max(0, size - 8 - footer), footer + 8)):
        file.seek(begin)
        told.update(file.read(count))
    file.seek(0)
    return told.hexdigest()


def row_groups(parquet: pq.ParquetFile, leaf: str) -> Iterator[tuple[int, int, int]]:
    """Yield for each row group: the number of rows, and the uncompressed and compressed bytes of one column."""
    about = parquet.metadata
    place = [about.schema.column(i).path for i in range(about.num_columns)].index(leaf)
    for group in (about.row_group(i) for i in range(about.num_row_groups)):
        column = group.column(place)
        yield group.num_rows, column.total_uncompressed_size, column.total_compressed_size


def _parts(groups: Iterable[tuple[int, int, int]]) -> Iterator[RowSpan]:
    """Join small row groups and split large ones into spans of about `CACHE_BYTES`."""
    rows = size = begin = 0
    for group, (count, more, packed) in enumerate(groups):
        if rows and size + more > CACHE_BYTES:
            yield RowSpan(begin, group, 0, rows, size)
            rows = size = 0
        if not rows:
            begin = group
        rows, size = rows + count, size + more
        if size > CACHE_BYTES:  # a single group
            step = max(1, rows * CACHE_BYTES // size)
            for first in range(0, rows, step):
                stop = min(first + step, rows)
                yield RowSpan(group, group + 1, first, stop, size * (stop - first) // rows, is_bomb(size, packed))
            rows = size = 0
    if rows:
        yield RowSpan(begin, group + 1, 0, rows, size)


def _names(parquet: pq.ParquetFile, leaf: str | None) -> Iterator[tuple[int, str | None]]:
    """Yield the number and the name of each row. `UnusableSample` has the number of rows that are lost."""
    import pyarrow as pa

    rows, at = parquet.metadata.num_rows, 0
    if leaf is None:
        yield from enumerate(repeat(None, rows))
        return
    try:
        for batch in parquet.iter_batches(1024, columns=[leaf], use_threads=False):
            yield from enumerate(_leaf(batch).to_pylist(), at)
            at += len(batch)
    except (pa.ArrowException, OSError) as damage:
        raise _damage(damage, rows - at) from None


def _leaf(batch: pa.RecordBatch) -> pa.Array:
    """Return the column that was read or, for a struct, its field that was read; null if struct or field is null."""
    return batch.column(0).flatten()[0] if str(batch.schema.field(0).type).startswith("struct<") else batch.column(0)


# --- reading ---------------------------------------------------------------------------------------------------------


class RowCache:
    """A cache of the rows of a `RowSpan`. It keeps up to twice `CACHE_BYTES` from the first row on. If rows are larger
    than estimated, it also keeps up to twice `CACHE_BYTES` from a later row on."""

    def __init__(self, group: int, until: int, first: int, stop: int, leaf: str) -> None:
        self._where, self._first, self._stop, self._leaf = range(group, until), first, stop, leaf
        self._kept: dict[int, list[pa.Array]] = {}  # first row -> rows, one array per row

    def holds(self, index: int) -> bool:
        """Return whether the row is in the cache."""
        return any(first <= index < first + len(rows) for first, rows in self._kept.items())

    def __getitem__(self, index: int) -> pa.Scalar:
        return next(rows[index - at][0] for at, rows in self._kept.items() if at <= index < at + len(rows))

    def read(self, file: Any, index: int) -> None:
        """Read a row and its neighbours. Raise `UnusableSample` if the rows up to it are a decompression bomb."""
        if self._first not in self._kept:
            self._kept[self._first] = self._span(file, self._first)
        if not self.holds(index):
            self._kept = {self._first: self._kept[self._first]}
            self._kept[index] = self._span(file, index)

    def _span(self, file: Any, first: int) -> list[pa.Array]:
        """Return rows from `first` on: up to twice `CACHE_BYTES`, but at least one row."""
        arrays: list[pa.Array] = []
        seen = size = 0
        with open_table(file) as parquet:
            within = islice(row_groups(parquet, self._leaf), self._where.start, self._where.stop)
            packed = sum(less for *_, less in within)
            # row by row: sizes are not known before, because a repeated value may be stored only once
            for at, batch in enumerate(parquet.iter_batches(1, self._where, [self._leaf], use_threads=False)):
                row = _leaf(batch)
                seen += row.nbytes
                if is_bomb(seen, packed):
                    if arrays:
                        break
                    raise UnusableSample(f"reading stopped: the column {BOMB_REASON}")
                if at >= first:
                    arrays.append(row)
                    size += row.nbytes
                if at + 1 >= self._stop or size > 2 * CACHE_BYTES:
                    break
        return arrays
