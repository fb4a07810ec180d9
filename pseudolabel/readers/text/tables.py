"""Tables: read the rows of jsonl, csv, tsv and parquet with their positions. Cells are the texts of one column, records
hold the values of several columns."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate, groupby, islice, pairwise
from operator import itemgetter
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NoReturn

from pseudolabel.contracts import Extent, SampleError, UnusableSample, did_you_mean
from pseudolabel.readers.sources.compression import CHUNK_BYTES
from pseudolabel.readers.sources.formats import strip_compression
from pseudolabel.readers.sources.opening import open_file
from pseudolabel.readers.sources.parquet_media import open_table, row_groups
from pseudolabel.readers.text import streams
from pseudolabel.readers.text.tsv import tsv_rows

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Cell = tuple[int, bytes | SampleError]  # position, and the text or why it is unusable; b"" for null
Record = tuple[int, Mapping[str, Any] | UnusableSample]  # position, and column -> value or why it is unusable
BATCH_ROWS = 128  # maximum rows of a Parquet batch: a dictionary may repeat 1 MB of text in each row of a small file
BATCH_BYTES = 4 << 20  # bytes of a Parquet batch, about
JSON = json.JSONDecoder()
STRINGS = {"string", "large_string", "string_view", "binary", "large_binary", "binary_view"}


def _lacking(column: str, names: Iterable[str], rows: int = 1) -> NoReturn:
    """Raise `UnusableSample` with the column names, escaped and shortened: a broken header may hold any bytes.

    `rows`: the number of rows that are lost.
    """
    raise UnusableSample(_choice(column, tuple(names)), rows)


@lru_cache(100)
def _choice(column: str, names: tuple[str, ...]) -> str:
    among = shorten(", ".join(names).encode(errors="backslashreplace").decode(), 200, placeholder=" ...")
    return f"no column {column!r}; {did_you_mean(column, names)}choose with --column among: {among or 'none'}"


# --- jsonl: the position is the byte where the line starts ------------------------------------------------------------


def json_records(lines: Iterable[Cell]) -> Iterator[Record]:
    """Yield the JSON objects of lines. A line in several pieces exceeds `MAX_LINE_BYTES` and is unusable."""
    for position, pieces in groupby(lines, key=itemgetter(0)):
        line, *more = (piece for _, piece in islice(pieces, 2))
        try:
            if more:
                raise UnusableSample(f"a line of more than {streams.MAX_LINE_BYTES >> 20} MB")
            yield position, json_object(line)
        except UnusableSample as bad:
            yield position, bad


def json_cells(records: Iterable[Record], column: str) -> Iterator[Cell]:
    """Yield the column's strings, in UTF-8."""
    for position, record in records:
        try:
            yield position, _string(record, column)
        except UnusableSample as bad:
            yield position, bad


def json_columns(path: str, encoding: str, wanted: Sequence[str]) -> Iterable[str]:
    """Return the columns of the first lines, and of the lines after them until all `wanted` columns are found."""
    names: dict[str, None] = {}
    size = 0
    for line in streams.lines(path, encoding):
        record = _record(line.encode(errors="surrogateescape"))
        names.update(dict.fromkeys(record) if isinstance(record, dict) else {})
        size += len(line)
        if size >= CHUNK_BYTES and all(name in names for name in wanted):
            break
    return names


def _record(line: bytes) -> Any:
    try:
        text = line.decode().rstrip()
        record, end = JSON.raw_decode(text)  # twice as fast as `json.loads`
        return record if end == len(text) else UnusableSample(f"more than one value, the first ends at character {end}")
    except (ValueError, RecursionError) as bad:
        return bad


def json_object(line: bytes | SampleError) -> dict[str, Any]:
    """Return the object in a line. Raise `UnusableSample` if the line is not a JSON object."""
    if isinstance(line, SampleError):
        raise line
    record = _record(line)
    if not isinstance(record, dict):
        raise UnusableSample(f"not a JSON object: {record if isinstance(record, Exception) else type(record).__name__}")
    return record


def _string(record: Mapping[str, Any] | UnusableSample, column: str) -> bytes:
    if isinstance(record, UnusableSample):
        raise record
    if column not in record:
        _lacking(column, record)
    text = record[column]
    if text is None:
        return b""
    if not isinstance(text, str):
        raise UnusableSample(f"column {column!r}: expected a string, found {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as bad:
        raise UnusableSample(f"lone surrogate at character {bad.start} of the text") from None


# --- csv and tsv: the position is the row's number, from 0 after the header; blank lines do not count -----------------


def csv_cells(extent: Extent, column: str, encoding: str) -> Iterator[Cell]:
    """Yield the column's cells. A row with invalid quoting, or of another length than the header, is unusable."""
    header, rows = csv_rows(extent.where, encoding)
    if header and column not in header:
        _lacking(column, header, sum(fields.count if isinstance(fields, UnusableSample) else 1 for fields in rows))
    place = header.index(column) if header else 0
    for row, fields in islice(enumerate(rows), extent.stop):
        if isinstance(fields, UnusableSample):
            yield row, fields
        else:
            yield row, _encode(fields[place], encoding)


def csv_records(path: str, names: Iterable[str], encoding: str) -> Iterator[Record]:
    """Yield each row's fields in those columns of `names` that exist. An empty field is None."""
    header, rows = csv_rows(path, encoding)
    places = {name: header.index(name) for name in names if name in header}
    for row, fields in enumerate(rows):
        if isinstance(fields, UnusableSample):
            yield row, fields
        else:
            yield row, {name: fields[place] or None for name, place in places.items()}


def csv_rows(path: str, encoding: str) -> tuple[list[str], Iterator[list[str] | UnusableSample]]:
    """Return the header and the rows. A row of more or fewer fields than the header is an `UnusableSample`."""
    csv.field_size_limit(streams.MAX_LINE_BYTES)
    lines = streams.lines(path, encoding)
    is_tsv = strip_compression(path).endswith(".tsv")
    rows = tsv_rows(lines) if is_tsv else _rows(csv.reader(lines, strict=True))
    header = next(rows, [])
    if isinstance(header, UnusableSample):
        raise header
    wrong = f"fields, but the header has {len(header)}; check the quoting"
    return header, (
        fields
        if isinstance(fields, UnusableSample) or len(fields) == len(header)
        else UnusableSample(f"a row of {len(fields)} {wrong}")
        for fields in rows
    )


def _rows(rows: Any) -> Iterator[list[str] | UnusableSample]:
    """Yield the rows that are not blank. Yield invalid quoting as `UnusableSample` and continue after its lines."""
    while True:
        above = rows.line_num
        try:
            if fields := next(rows):
                yield fields
        except StopIteration:
            return
        except csv.Error as bad:
            yield UnusableSample(f"invalid quoting in lines {above + 1} to {rows.line_num}: {bad}")
        except UnusableSample as bad:  # the file is damaged: later rows are lost
            yield bad


def _encode(text: str, encoding: str) -> bytes | UnusableSample:
    try:
        return text.encode()
    except UnicodeEncodeError as bad:  # see `streams.lines`
        byte = ord(text[bad.start]) & 0xFF
        return UnusableSample(
            f"byte {byte:#04x} at character {bad.start} of the text is not {encoding}; {streams.ENCODING_HINT}"
        )


# --- parquet: the position is the row's number, from 0 ----------------------------------------------------------------


def parquet_extents(key: str, path: str, size: int, column: str, span: int) -> Iterator[Extent]:
    """Yield extents of whole row groups, of about `span` bytes; the whole file if its footer or column is unusable."""
    spans: list[tuple[int, int, int]] = []
    start = stop = weight = 0
    try:
        with open_parquet(path) as file:
            _check(file, column)
            sizes = list(row_groups(file, column))
    except UnusableSample:
        sizes = []
    for i, (rows, size_there, _) in enumerate(sizes):
        stop, weight = stop + rows, weight + size_there
        if weight >= span or i == len(sizes) - 1:
            spans.append((start, stop, weight))
            start, weight = stop, 0
    if len(spans) > 1:
        yield from (Extent(f"{key}#{start}-{stop}", path, start, stop, weight) for start, stop, weight in spans)
    else:
        yield Extent(key, path, 0, None, spans[0][2] if spans else size)


def parquet_cells(extent: Extent, column: str) -> Iterator[Cell]:
    """Yield the column's strings, in UTF-8. A fault counts all rows from its position on, if their number is known."""
    import pyarrow as pa

    row, stop = extent.start, extent.stop
    try:
        with open_parquet(extent.where) as file:
            stop = file.metadata.num_rows if stop is None else stop
            _check(file, column)
            for batch in parquet_batches(file, extent, [column]):
                for cell in batch.column(0).cast(pa.large_binary()).to_pylist():
                    yield row, _check_utf8(cell or b"")
                    row += 1
    except UnusableSample as bad:
        yield row, UnusableSample(str(bad), 1 if stop is None else stop - row)


def parquet_batches(file: pq.ParquetFile, extent: Extent, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an extent, a few MB at a time. A row group may exceed memory; a row may hold a whole book."""
    start, stop = extent.start, sys.maxsize if extent.stop is None else extent.stop
    ends = [0, *accumulate(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))]
    within = [i for i, (at, end) in enumerate(pairwise(ends)) if end > start and at < stop]
    at = ends[within[0]] if within else 0
    longest = max((_row_size(file.metadata.row_group(i), columns) for i in within), default=0)
    at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, longest)))
    for batch in file.iter_batches(at_once, within, columns, use_threads=False):
        yield batch[max(0, start - at) : max(0, stop - at)]
        at += len(batch)


def _row_size(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    """Return the average uncompressed bytes of a row in these columns."""
    chunks = (group.column(i) for i in range(group.num_columns))
    wanted = (chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns)
    return int(sum(chunk.total_uncompressed_size for chunk in wanted) // max(1, group.num_rows))


@contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Raise `UnusableSample` for damage that is found at opening or while reading."""
    with open_file(path) as stream, open_table(stream) as file:
        yield file


def _check(file: pq.ParquetFile, column: str) -> None:
    """Raise `UnusableSample` if the file has no such column, or if the column's values are not strings."""
    if column not in file.schema_arrow.names:
        _lacking(column, file.schema_arrow.names)
    kind = value_type(file.schema_arrow.field(column).type)
    if str(kind) not in STRINGS:
        raise UnusableSample(f"column {column!r} has type {kind}, not string; choose another with --column")


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values; for a dictionary-encoded column, the type of its entries."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_utf8(text: bytes) -> bytes | UnusableSample:
    try:
        text.decode()
    except UnicodeDecodeError as bad:
        return UnusableSample(
            f"byte {bad.start} of the text ({text[bad.start]:#04x}) is not utf-8: text in Parquet must be utf-8"
        )
    return text
