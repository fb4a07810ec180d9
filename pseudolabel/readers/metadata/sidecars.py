"""Sidecars of media: metadata files in the format of Hugging Face's ImageFolder and AudioFolder.

The column `file_name` of `metadata.csv`, `.jsonl` or `.parquet` names files, relative to the folder of the sidecar
(https://huggingface.co/docs/datasets/image_dataset). If several sidecars name a file, the nearest one is used.
A "\\" is read as "/", unless a file of the source has the name as written.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from pseudolabel.contracts import UnusableSample, UserError
from pseudolabel.readers.metadata import columns, webdataset
from pseudolabel.readers.metadata.columns import TEXT, ColumnTypes, Values
from pseudolabel.readers.sources import files, formats
from pseudolabel.readers.sources.location import file_name
from pseudolabel.readers.text import streams, tables

if TYPE_CHECKING:
    import pyarrow as pa

ColumnSchema = Mapping[str, "pa.DataType"]
FILE_NAME = "file_name"
SIDECAR_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
UNUSUAL_PATH = r"\\|://|(^|/)\.{0,2}(/|$)"  # matches a path that is not in the form of keys
CSV_BLOCK_BYTES = 4 << 20  # bytes of csv read at once; the maximum length of a line
LINES_AT_ONCE = 1 << 14  # lines of jsonl; Python objects take five times the memory of Arrow


class Table(NamedTuple):
    """A metadata file with the SHA-256 it had when the run was planned, or a WebDataset shard with `sha256` "".

    `literal`: the names with "\\" that files of the source have.
    """

    where: str
    sha256: str
    literal: frozenset[str] = frozenset()

    def lines(self, kinds: ColumnTypes) -> Lines:
        """Return the lines, with the columns `kinds`. Each process reads the file once."""
        return _lines(self, tuple(kinds.items()))


class MetadataSource(NamedTuple):
    """A file with metadata of media. `folder` is the folder of the media, or None if the media are rows of the file.
    `fault`: why the rows cannot be read as media, or ""."""

    folder: str | None
    where: str
    fault: str = ""

    @property
    def table(self) -> Table:
        return Table(self.where, "" if webdataset.is_shard(self.where) else metadata_sha256(self.where))

    def kinds(self, wanted: Sequence[str]) -> dict[str, str]:
        """Return column name -> type. Read jsonl and shards until all `wanted` columns are found. Raise
        `UnusableSample` if the file cannot be used as metadata."""
        if webdataset.is_shard(self.where):
            return webdataset.column_types(self.where, wanted)
        kinds = columns.column_types(self.where, "utf-8", (FILE_NAME, *wanted))
        if self.folder is not None and FILE_NAME not in kinds:
            raise UnusableSample(f"has no column {FILE_NAME}, so its lines belong to no file")
        return kinds


def find_metadata(sources: Sequence[Path], media: Collection[str]) -> list[MetadataSource]:
    """Return the metadata files, Parquet tables and WebDataset shards. Raise `UserError` if two describe one folder."""
    every: dict[tuple[str | None, str], MetadataSource] = {}
    for file in files.find_files(sources, SIDECAR_NAMES):
        key, name = unquote(file.key, errors="surrogateescape"), file_name(file.where)
        container = file.where.partition("\0")[0]
        if name in SIDECAR_NAMES and file.candidate:
            one = MetadataSource(key.rpartition("/")[0], file.where)
        elif name.lower().endswith(formats.TABLE):
            one = MetadataSource(None, file.where, files.media_table_fault(file.where, media))
        elif webdataset.is_shard(container) and webdataset.is_field(name):
            one = MetadataSource(key.removesuffix(file.where.rpartition("\0")[2]).rstrip("/"), container)
        else:
            continue
        before = every.setdefault((one.folder, one.where if one.folder is None else ""), one)
        if before.where != one.where:
            raise UserError(
                f"{display_place(before.where)} and {display_place(one.where)} describe the same folder; "
                "remove one of them"
            )
    return list(every.values())


def display_place(where: str) -> str:
    """Return a location in readable form, for messages."""
    return where if "\0" not in where else f"{where.partition(chr(0))[0]}: {file_name(where)}"


def metadata_sha256(where: str) -> str:
    """Return the SHA-256 of the decompressed file at a location."""
    with streams.open_decompressed(where) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def values_of_file(metadata: Mapping[str, Table], file: str, kinds: ColumnTypes) -> Values | UnusableSample:
    """Return the metadata of a file, given its key; {} if no metadata file names it."""
    parts = unquote(file, errors="surrogateescape").split("/")
    for depth in reversed(range(len(parts))):
        table = metadata.get("/".join(parts[:depth]))
        if table and (values := table.lines(kinds).of("/".join(parts[depth:]))):
            return values
    return {}


class Lines(NamedTuple):
    """The lines of a metadata file in file order, and the order by name, for a binary search."""

    names: pa.ChunkedArray  # (n,) paths in the form of keys
    order: pa.UInt64Array  # (n,) line numbers
    values: pa.Table
    faults: Mapping[str, UnusableSample] | None = None  # WebDataset: name without suffix -> error

    def of(self, name: str) -> Values | UnusableSample:
        """Return the values of a file; {} if the file is not named; the error if its values are invalid."""
        if self.faults is not None:
            name = files.escape_key(webdataset.stem(name))
            if name in self.faults:
                return self.faults[name]
        at = bisect_left(self.order, name, key=lambda line: self.names[line.as_py()].as_py())
        for line in self.order[at : at + 1].to_pylist():
            if self.names[line].as_py() == name:
                return dict(self.values[line : line + 1].to_pylist()[0])
        return {}


@cache
def _lines(table: Table, kinds: tuple[tuple[str, str], ...]) -> Lines:
    if not table.sha256:
        return _shard(table.where, dict(kinds))
    if metadata_sha256(table.where) != table.sha256:
        raise UserError(f"{display_place(table.where)} changed during the run; restore the file and run again", code=4)
    return read_table(table.where, dict(kinds), lambda names: [name in table.literal for name in names])


def read_table(where: str, kinds: ColumnTypes, are_files: Callable[[Sequence[str]], Sequence[bool]]) -> Lines:
    """Read a metadata file. Raise `UserError` if a line is invalid, or if two lines contradict each other.

    `are_files` returns for names with "\\" whether the source has such a file beside the metadata file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = {FILE_NAME: TEXT, **kinds}
    types = {name: pa.large_string() if kind == TEXT else pa.type_for_alias(kind) for name, kind in wanted.items()}
    try:
        lines = READERS[where.rpartition(".")[2]](where, types)
        lines.validate(full=True)  # finds invalid text
        columns = {
            name: lines[name].cast(kind) if name in lines.column_names else pa.nulls(len(lines), kind)
            for name, kind in types.items()
        }
        names = _as_keys(columns[FILE_NAME], are_files)
        order = pc.sort_indices(names)
        _agree(names, order, pa.table(columns))
    except (UnusableSample, pa.ArrowException) as bad:
        raise UserError(
            f"{display_place(where)}: {str(bad).splitlines()[0]}; repair the file, or leave out --keep"
        ) from None
    del lines
    pa.default_memory_pool().release_unused()  # reading and sorting needed 50 % more memory
    return Lines(names, order, pa.table({name: columns[name] for name in kinds}))


def _shard(where: str, kinds: ColumnTypes) -> Lines:
    """Read a WebDataset shard. Invalid values of one sample become a fault, without effect on other samples."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema, faults = pa.schema([("", pa.large_string()), *((name, pa.large_string()) for name in kinds)]), {}

    def good() -> Iterator[Values]:
        for name, values in webdataset.values(where, list(kinds)):
            if isinstance(values, UnusableSample):
                faults[files.escape_key(name)] = values
            else:
                yield {"": files.escape_key(name), **values}

    samples, batches = good(), []
    with suppress(UnusableSample):  # damaged from here on; the scan has reported it
        while some := list(islice(samples, LINES_AT_ONCE)):
            batches.append(pa.RecordBatch.from_pylist(some, schema))
    lines = pa.Table.from_batches(batches, schema)
    return Lines(lines[""], pc.sort_indices(lines[""]), lines.drop_columns([""]), faults)


# --- csv, jsonl, parquet ---------------------------------------------------------------------------------------------


def _csv(where: str, types: ColumnSchema) -> pa.Table:
    from pyarrow import csv

    with streams.open_decompressed(where) as file:
        return csv.read_csv(
            file,
            csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                include_columns=[name for name in columns.column_types(where, "utf-8") if name in types],
                column_types=dict(types),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )


def _jsonl(where: str, types: ColumnSchema) -> pa.Table:
    import pyarrow as pa

    schema, batches = pa.schema(types.items()), []
    lines = ((number, line) for number, line in enumerate(streams.lines(where, "utf-8"), 1) if line.strip())
    while some := [_values(number, line, types) for number, line in islice(lines, LINES_AT_ONCE)]:
        columns = zip(*some, strict=True)
        batches.append(pa.record_batch([pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)], schema))
    return pa.Table.from_batches(batches, schema)


def _values(number: int, line: str, types: ColumnSchema) -> list[str | None]:
    try:
        record = tables.json_object(line.encode("utf-8", "surrogateescape"))
        return [columns.to_text(name, record.get(name)) for name in types]
    except UnusableSample as bad:
        raise UnusableSample(f"line {number}: {bad}") from None


def _parquet(where: str, types: ColumnSchema) -> pa.Table:
    with tables.open_parquet(where) as file:
        return file.read([name for name in file.schema_arrow.names if name in types], use_threads=False)


READERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


# --- file names ------------------------------------------------------------------------------------------------------


def _as_keys(names: pa.ChunkedArray, are_files: Callable[[Sequence[str]], Sequence[bool]]) -> pa.ChunkedArray:
    """Convert paths to the form of keys. Raise `UnusableSample` if one is not a path below the folder."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if names.null_count:
        raise UnusableSample(f"a line has no {FILE_NAME}")
    odd = pc.match_substring_regex(names, UNUSUAL_PATH).combine_chunks()
    if not pc.any(odd).as_py():
        return names
    every = names.combine_chunks()
    written = every.filter(odd).to_pylist()
    literal = are_files([normpath(name) for name in written])
    mended = pa.array([_as_key(name, yes) for name, yes in zip(written, literal, strict=True)], every.type)
    return pa.chunked_array([pc.replace_with_mask(every, odd, mended)])


def _as_key(name: str, literal: bool) -> str:
    path = normpath(name if literal else name.replace("\\", "/"))
    if "://" in name or path.startswith(("/", "../")) or path in ("..", "."):
        raise UnusableSample(f"{name!r} is not a file below the folder of the metadata")
    return path


def _agree(names: pa.ChunkedArray, order: pa.UInt64Array, lines: pa.Table) -> None:
    """Raise `UnusableSample` if two lines give different values for one file."""
    import pyarrow.compute as pc

    ordered = names.take(order)
    for at in pc.indices_nonzero(pc.equal(ordered[1:], ordered[:-1])).to_pylist():
        one, other = lines.take(order[at : at + 2]).drop_columns([FILE_NAME]).to_pylist()
        if not all(columns.identical_values(one[name], other[name]) for name in one):
            raise UnusableSample(f"two lines give different values for {ordered[at].as_py()}")
