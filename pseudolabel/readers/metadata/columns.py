"""Values of the columns beside the text or media of a table: strings, in Parquet also numbers and booleans, or null."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pseudolabel.contracts import Extent, UnusableSample
from pseudolabel.readers.sources.formats import CSV, JSONL, strip_compression
from pseudolabel.readers.sources.location import TableRow
from pseudolabel.readers.sources.opening import container_stamp
from pseudolabel.readers.text import tables

if TYPE_CHECKING:
    import pyarrow as pa

ColumnTypes = Mapping[str, str]  # column name -> type, as in `Column`
Values = dict[str, Any]
TEXT = "string"
NULL = "null"  # the type of a Parquet column without a value: it fits any type
TYPE_ALIASES = {"float": "float32", "double": "float64", "large_string": TEXT, "string_view": TEXT}  # Arrow -> ours
SUPPORTED_TYPES = {
    TEXT,
    "bool",
    "float32",
    "float64",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def column_types(path: str, encoding: str, wanted: Sequence[str] = ()) -> dict[str, str]:
    """Return column name -> type of a table, unsupported types included. Read jsonl until all `wanted` columns are
    found. Return {} if the file is not a table. Raise `UnusableSample` if it cannot be read."""
    name = strip_compression(path)
    if name.endswith(".parquet"):
        with tables.open_parquet(path) as file:
            return {field.name: _type_name(field.type) for field in file.schema_arrow}
    if name.endswith(CSV):
        return dict.fromkeys(tables.csv_rows(path, encoding)[0], TEXT)
    if name.endswith(JSONL):
        return dict.fromkeys(tables.json_columns(path, encoding, wanted), TEXT)
    return {}


def is_table(path: str) -> bool:
    """Return whether a file is a table, by its name."""
    return strip_compression(path).endswith((".parquet", *CSV, *JSONL))


def identical_values(one: Any, other: Any) -> bool:
    """Return whether two values are equal. NaN equals NaN."""
    return bool(one == other or (one != one and other != other))


def _type_name(kind: pa.DataType) -> str:
    name = str(tables.value_type(kind))
    return TYPE_ALIASES.get(name, name)


# --- values ----------------------------------------------------------------------------------------------------------


def text_values(found: Iterable[tables.Record], wanted: ColumnTypes) -> Iterator[tuple[int, Values | UnusableSample]]:
    """Yield (position, values) of untyped records. Strings stay as they are; other values are written as JSON."""
    for position, record in found:
        try:
            if isinstance(record, UnusableSample):
                raise record
            yield position, {name: to_text(name, record.get(name), kind) for name, kind in wanted.items()}
        except UnusableSample as bad:
            yield position, bad


def to_text(name: str, value: Any, kind: str = TEXT) -> str | None:
    """Return an untyped value as text. Raise `UnusableSample` if `kind` is not text or the value is not Unicode."""
    if value is None:
        return None
    if kind != TEXT:
        raise UnusableSample(f"column {name!r} holds text here, but {kind} in a Parquet file")
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        told.encode()
    except UnicodeEncodeError as bad:
        raise UnusableSample(f"column {name!r} is not valid Unicode at position {bad.start}") from None
    return told


def parquet_values(extent: Extent, wanted: ColumnTypes) -> Iterator[tuple[int, Values | UnusableSample]]:
    """Yield (row, values) of a Parquet extent. Each value keeps the type of its column."""
    row = extent.start
    with tables.open_parquet(extent.where) as file:
        there = [name for name in wanted if name in file.schema_arrow.names]
        for batch in tables.parquet_batches(file, extent, there):
            columns = [_column(name, batch[name], wanted[name]) for name in there]
            for values in zip(*columns, strict=True) if there else [()] * len(batch):
                bad = next((value for value in values if isinstance(value, UnusableSample)), None)
                yield row, bad or {**dict.fromkeys(wanted), **dict(zip(there, values, strict=True))}
                row += 1


def row_values(row: TableRow, wanted: ColumnTypes) -> Values | UnusableSample:
    """Return the values beside the media of one row."""
    near = _near(row._replace(number=0), container_stamp(row.container), tuple(wanted.items()))
    return near[row.number - row.first]


@lru_cache(2)
def _near(row: TableRow, _: object, wanted: tuple[tuple[str, str], ...]) -> list[Values | UnusableSample]:
    """Return the values of rows that are read together."""
    with tables.open_parquet(row.container) as file:
        begin = sum(file.metadata.row_group(i).num_rows for i in range(row.group))
    extent = Extent("", row.container, begin + row.first, begin + row.stop, 0)
    return [values for _, values in parquet_values(extent, dict(wanted))]


def _column(name: str, values: pa.Array, kind: str) -> list[Any]:
    import pyarrow as pa

    if (found := _type_name(values.type)) == NULL:
        return [None] * len(values)
    if found != kind:
        return [UnusableSample(f"column {name!r} holds {found} here, but {kind} elsewhere")] * len(values)
    if kind != TEXT:
        return list(values.cast(tables.value_type(values.type)).to_pylist())
    return [_decode(name, value) for value in values.cast(pa.large_binary()).to_pylist()]


def _decode(name: str, value: bytes | None) -> str | UnusableSample | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as bad:
        return UnusableSample(f"byte {bad.start} of column {name!r} is not utf-8, which Parquet requires")
