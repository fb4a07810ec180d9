"""Media in tables: every row of a Parquet file that has a column of pictures, sounds or films is a file."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.sources.decompression_bombs import BOMB_REASON, is_bomb

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMN_NAMES = {  # what a reader wants that takes this suffix -> how columns of it are named
    ".jpg": ("image", "img", "photo", "picture", "jpg", "jpeg", "png"),
    ".wav": ("audio", "sound", "speech", "wav", "flac", "mp3"),
    ".mp4": ("video", "film", "clip", "movie", "mp4"),
}
BINARY_TYPES = {"binary", "large_binary"}
NAME_COLUMNS = (
    "path",
    "file_name",
    "filename",
    "key",
    "__key__",
)  # columns that name the file of a row, the first there is
CACHE_BYTES = 64 << 20  # bytes of rows that are kept, about: what is read together
MAX_ROW_BYTES = 256 << 20  # bytes of a row, on the average of those it is read with: Arrow reads it whole
HEAD_BYTES = 1 << 16  # bytes that tell a file from another, beside what is at its end


class MediaColumn(NamedTuple):
    """The column that holds the bytes."""

    leaf: str  # its path in the schema: "image.bytes"
    name: str | None  # of what names the files
    suffix: str  # as files of its kind have


class RowSpan(NamedTuple):
    """Rows that are read together: some of the row groups `group` to `until`, counted from where these begin."""

    group: int
    until: int
    first: int
    stop: int
    size: int  # bytes
    swells: bool = False  # too much, when it is read


class Row(NamedTuple):
    """A row as a file."""

    number: int
    name: str | None
    size: int
    locator: str
    block: str
    suffix: str


def media_suffixes(wanted: Collection[str]) -> list[str]:
    """A suffix for each kind of media that is wanted."""
    return [suffix for suffix in COLUMN_NAMES if suffix in wanted]


def media_column(schema: pa.Schema, wanted: Collection[str]) -> MediaColumn:
    """Return the column of the wanted media, structs before plain bytes. Raise `UnusableSample` if it is ambiguous."""
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
        raise UnusableSample(f"{'several columns' if found else 'no column'} of media to read; it has {there}"[:500])
    (name,) = found
    suffix = kinds[name] or media_suffixes(wanted)[0]
    if name in plain:
        strings = [
            other for other in NAME_COLUMNS if other in schema.names and "string" in str(schema.field(other).type)
        ]
        return MediaColumn(name, strings[0] if strings else None, suffix)
    return MediaColumn(f"{name}.bytes", f"{name}.path" if "path" in structs[name] else None, suffix)


def _leaves(kind: pa.DataType) -> set[str]:
    """`bytes`, and `path` if it has one, of a Hugging Face media column; nothing of another."""
    fields = {field.name: str(field.type) for field in kind} if str(kind).startswith("struct<") else {}
    return set(fields) if fields.get("bytes") in BINARY_TYPES and "string" in fields.get("path", "string") else set()


def _kind(schema: pa.Schema, name: str) -> str:
    """The suffix of a column's kind, by what `datasets` noted or by its name."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][name]["_type"]
    except (KeyError, TypeError, ValueError):
        noted = ""
    said = noted if noted in ("Image", "Audio", "Video") else name
    return next((suffix for suffix, words in COLUMN_NAMES.items() if any(word in said.lower() for word in words)), "")


def find_rows(file: Any, wanted: Collection[str]) -> Iterator[Row]:
    """The rows of a Parquet file: only the names are read. Weights are the bytes of a part, shared out."""
    with open_table(file) as parquet:
        chosen = media_column(parquet.schema_arrow, media_suffixes(wanted))
        names, parts = enumerate(_names(parquet, chosen.name)), list(_parts(row_groups(parquet, chosen.leaf)))
        own = file_mark(file)
        for part in parts:
            block, size = f"{part.group} {part.first}" if len(parts) > 1 else "", part.size // (part.stop - part.first)
            for index in range(part.first, part.stop):
                number, name = next(names)
                told = f"row {part.group} {part.until} {part.first} {part.stop} {index} {own} {chosen.leaf}"
                if size > MAX_ROW_BYTES:
                    told = f"unusable rows of {size >> 20} MB; at most {MAX_ROW_BYTES >> 20} are read"
                elif part.swells:
                    told = f"unusable {BOMB_REASON}"
                yield Row(number, name, size, told, block, chosen.suffix)


def media_suffix(file: Any, wanted: Collection[str]) -> str:
    """The suffix of the kind of media a Parquet file holds; `UnusableSample` where it holds none that is wanted."""
    with open_table(file) as parquet:
        return media_column(parquet.schema_arrow, media_suffixes(wanted)).suffix


@contextmanager
def open_table(file: Any) -> Iterator[pq.ParquetFile]:
    """A Parquet file; what is wrong with it is `UnusableSample`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    own = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)  # Arrow copies less of what it opens
    try:
        with pq.ParquetFile(file.name if own else file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as damage:
        if getattr(damage, "errno", None) is not None:  # the system's; Arrow gives none
            raise
        raise UnusableSample(f"damaged Parquet: {str(damage).splitlines()[0]}") from None


def file_mark(file: Any) -> str:
    """What tells a file from another: its begin, and its end, where the places and sizes of all in it stand."""
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
    """Of each row group: its rows, the bytes of a column there, and what they are packed to."""
    about = parquet.metadata
    place = [about.schema.column(i).path for i in range(about.num_columns)].index(leaf)
    for group in (about.row_group(i) for i in range(about.num_row_groups)):
        column = group.column(place)
        yield group.num_rows, column.total_uncompressed_size, column.total_compressed_size


def _parts(groups: Iterable[tuple[int, int, int]]) -> Iterator[RowSpan]:
    """Row groups, small ones together and large ones in pieces, so that each has about `ROOM`."""
    rows = size = begin = 0
    for group, (count, more, packed) in enumerate(groups):
        if rows and size + more > CACHE_BYTES:
            yield RowSpan(begin, group, 0, rows, size)
            rows = size = 0
        if not rows:
            begin = group
        rows, size = rows + count, size + more
        if size > CACHE_BYTES:  # of one group, then
            step = max(1, rows * CACHE_BYTES // size)
            for first in range(0, rows, step):
                stop = min(first + step, rows)
                yield RowSpan(group, group + 1, first, stop, size * (stop - first) // rows, is_bomb(size, packed))
            rows = size = 0
    if rows:
        yield RowSpan(begin, group + 1, 0, rows, size)


def _names(parquet: pq.ParquetFile, leaf: str | None) -> Iterator[str | None]:
    if leaf is None:
        yield from repeat(None, parquet.metadata.num_rows)
        return
    for batch in parquet.iter_batches(1024, columns=[leaf], use_threads=False):
        yield from _leaf(batch).to_pylist()


def _leaf(batch: pa.RecordBatch) -> pa.Array:
    """The column, or the one field of it that was read; null where either is."""
    return batch.column(0).flatten()[0] if str(batch.schema.field(0).type).startswith("struct<") else batch.column(0)


# --- reading ---------------------------------------------------------------------------------------------------------


class RowCache:
    """Rows that are read together: those of some row groups, counted from the first one's begin, from one to another.

    Twice `ROOM` of them are kept from the first on; of those behind, where rows are larger than most, as many again.
    """

    def __init__(self, group: int, until: int, first: int, stop: int, leaf: str) -> None:
        self._where, self._first, self._stop, self._leaf = range(group, until), first, stop, leaf
        self._kept: dict[int, list[pa.Array]] = {}  # by the first of them, one row each

    def holds(self, index: int) -> bool:
        """Whether that row was read."""
        return any(first <= index < first + len(rows) for first, rows in self._kept.items())

    def __getitem__(self, index: int) -> pa.Scalar:
        return next(rows[index - at][0] for at, rows in self._kept.items() if at <= index < at + len(rows))

    def read(self, file: Any, index: int) -> None:
        """Read that row, and those around it. Raises `UnusableSample` where what comes before it swells too much."""
        if self._first not in self._kept:
            self._kept[self._first] = self._span(file, self._first)
        if not self.holds(index):
            self._kept = {self._first: self._kept[self._first]}
            self._kept[index] = self._span(file, index)

    def _span(self, file: Any, first: int) -> list[pa.Array]:
        """Rows from one on, up to twice `ROOM`, and one at least."""
        arrays: list[pa.Array] = []
        seen = size = 0
        with open_table(file) as parquet:
            within = islice(row_groups(parquet, self._leaf), self._where.start, self._where.stop)
            packed = sum(less for *_, less in within)
            # one at a time: their sizes are not known before, as one that comes often may be stored but once
            for at, batch in enumerate(parquet.iter_batches(1, self._where, [self._leaf], use_threads=False)):
                row = _leaf(batch)
                seen += row.nbytes
                if is_bomb(seen, packed):
                    if arrays:
                        break
                    raise UnusableSample(f"from here on it {BOMB_REASON}")
                if at >= first:
                    arrays.append(row)
                    size += row.nbytes
                if at + 1 >= self._stop or size > 2 * CACHE_BYTES:
                    break
        return arrays
