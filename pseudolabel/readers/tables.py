"""Texts in a column: jsonl, csv, tsv and parquet as cells, a text in UTF-8 and where it stands, one after another."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn

from pseudolabel.readers import streams
from pseudolabel.readers.places import opened
from pseudolabel.readers.rows import table
from pseudolabel.sample import Extent, Unusable

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Cell = tuple[int, bytes | Unusable]  # position, and the text there or why there is none; nulls give no cell

ROWS_AT_ONCE = 1024  # of Parquet
JSON = json.JSONDecoder()
STRINGS = {"string", "large_string", "string_view", "binary", "large_binary", "binary_view"}


def _lacking(column: str, names: Iterable[str]) -> NoReturn:
    raise Unusable(f"no column {column!r}; choose with --column among: {', '.join(map(str, names)) or 'none'}")


# --- jsonl: the position is the byte where the line starts ------------------------------------------------------------


def json_cells(lines: Iterable[Cell], column: str) -> Iterator[Cell]:
    """The column's strings, of the lines of a file. A line that came in several pieces was too long to be held."""
    for position, pieces in groupby(lines, key=itemgetter(0)):
        line, *more = (piece for _, piece in islice(pieces, 2))
        try:
            if more:
                raise Unusable(f"a line of more than {streams.LONGEST_LINE >> 20} MB")
            text = _string(line, column)
        except Unusable as bad:
            yield position, bad
        else:
            if text is not None:
                yield position, text


def json_has(extent: Extent, top: int, column: str) -> bool:
    """Whether the file has the column, by the lines from byte `top`. Where not, only its first extent says so."""
    names: dict[str, None] = {}
    for line in next(streams.chunks(extent.where, top), b"").splitlines(keepends=True):
        record = _record(line)
        if isinstance(record, dict):
            if column in record:
                return True
            names.update(dict.fromkeys(record))
    if names and extent.start == 0:
        _lacking(column, names)
    return not names


def _record(line: bytes) -> Any:
    try:
        text = line.decode().rstrip()
        record, end = JSON.raw_decode(text)  # twice as fast as `json.loads`
        return record if end == len(text) else Unusable(f"more than one value, at character {end}")
    except (ValueError, RecursionError) as bad:
        return bad


def _string(line: bytes | Unusable, column: str) -> bytes | None:
    if isinstance(line, Unusable):
        raise line
    record = _record(line)
    if not isinstance(record, dict):
        raise Unusable(f"no JSON object: {record if isinstance(record, Exception) else type(record).__name__}")
    if column not in record:
        _lacking(column, record)
    text = record[column]
    if text is None:
        return None
    if not isinstance(text, str):
        raise Unusable(f"column {column!r} holds no string here but a {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as bad:
        raise Unusable(f"half a surrogate pair at character {bad.start} of the text") from None


# --- csv and tsv: the position is the row's number, from 0 behind the header, blank lines not counted -----------------


def csv_cells(extent: Extent, column: str, encoding: str) -> Iterator[Cell]:
    """The column's cells. A row that breaks the quoting, or has more or fewer fields than the header, is unusable."""
    csv.field_size_limit(streams.LONGEST_LINE)
    delimiter = "\t" if ".tsv" in extent.where.lower()[-8:] else ","
    rows = csv.reader(streams.lines(extent.where, encoding), delimiter=delimiter, strict=True)
    header = next(_rows(rows), [])
    if isinstance(header, Unusable):
        raise header
    if header and column not in header:
        _lacking(column, header)
    place = header.index(column) if header else 0
    for row, fields in islice(enumerate(_rows(rows)), extent.stop):
        if isinstance(fields, Unusable):
            yield row, fields
        elif len(fields) != len(header):
            yield row, Unusable(f"a row of {len(fields)} fields under a header of {len(header)}: is it quoted right?")
        elif text := fields[place]:
            yield row, _encoded(text, encoding)


def _rows(rows: Any) -> Iterator[list[str] | Unusable]:
    """The rows that are not blank. Strict quoting says which lines an open quote has swallowed, and goes on behind."""
    while True:
        above = rows.line_num
        try:
            if fields := next(rows):
                yield fields
        except StopIteration:
            return
        except csv.Error as bad:
            yield Unusable(f"lines {above + 1} to {rows.line_num} break the quoting: {bad}")
        except Unusable as bad:  # the file is damaged: what follows is lost
            yield bad


def _encoded(text: str, encoding: str) -> bytes | Unusable:
    try:
        return text.encode()
    except UnicodeEncodeError as bad:  # see `streams.lines`
        byte = ord(text[bad.start]) & 0xFF
        return Unusable(f"byte {byte:#04x} at character {bad.start} of the text is not {encoding}; {streams.HINT}")


# --- parquet: the position is the row's number, from 0 ----------------------------------------------------------------


def parquet_extents(key: str, path: str, size: int, column: str, span: int) -> Iterator[Extent]:
    """Row groups, small ones together; the whole file where its footer is broken or it has no such column."""
    spans: list[tuple[int, int, int]] = []
    start = stop = weight = 0
    try:
        with _parquet(path, column) as file:
            sizes = _sizes(file, column)
    except Unusable:
        sizes = []
    for i, (rows, size_there) in enumerate(sizes):
        stop, weight = stop + rows, weight + size_there
        if weight >= span or i == len(sizes) - 1:
            spans.append((start, stop, weight))
            start, weight = stop, 0
    if len(spans) > 1:
        yield from (Extent(f"{key}#{start}-{stop}", path, start, stop, weight) for start, stop, weight in spans)
    else:
        yield Extent(key, path, 0, None, spans[0][2] if spans else size)


def parquet_cells(extent: Extent, column: str) -> Iterator[Cell]:
    """The column's strings, a thousand rows at a time: a row group may be far larger than memory."""
    import pyarrow as pa

    row, stop = extent.start, sys.maxsize if extent.stop is None else extent.stop
    try:
        with _parquet(extent.where, column) as file:
            ends = list(accumulate(rows for rows, _ in _sizes(file, column)))
            groups = [i for i, end in enumerate(ends) if end > row and (ends[i - 1] if i else 0) < stop]
            for batch in file.iter_batches(ROWS_AT_ONCE, groups, [column], use_threads=False):
                for cell in batch.column(0).cast(pa.large_binary()).to_pylist()[: stop - row]:
                    if cell:
                        yield row, _checked(cell)
                    row += 1
    except Unusable as bad:
        yield row, bad


@contextmanager
def _parquet(path: str, column: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa

    with opened(path) as stream, table(stream) as file:
        names = file.schema_arrow.names
        if column not in names:
            _lacking(column, names)
        kind = file.schema_arrow.field(column).type
        if str(kind.value_type if pa.types.is_dictionary(kind) else kind) not in STRINGS:
            raise Unusable(f"column {column!r} holds no strings but {kind}; choose another with --column")
        yield file


def _sizes(file: pq.ParquetFile, column: str) -> list[tuple[int, int]]:
    """Of each row group: its rows, and the bytes of the column there."""
    about = file.metadata
    place = [about.schema.column(i).path for i in range(about.num_columns)].index(column)
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    return [(group.num_rows, group.column(place).total_uncompressed_size) for group in groups]


def _checked(text: bytes) -> bytes | Unusable:
    try:
        text.decode()
    except UnicodeDecodeError as bad:
        return Unusable(f"byte {bad.start} of the text ({text[bad.start]:#04x}) is not utf-8, as Parquet's have to be")
    return text
