"""Source columns, which `--keep` copies into every row: the folder of the file, and columns of tables or sidecars."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pseudolabel.contracts import Column, Extent, Skipped, UnusableSample, UserError, did_you_mean, file_of, or_skipped
from pseudolabel.readers.metadata import columns, sidecars, webdataset
from pseudolabel.readers.metadata.columns import Values
from pseudolabel.readers.metadata.matching import FileKeys, match_lines
from pseudolabel.readers.metadata.sidecars import MetadataSource, Table
from pseudolabel.readers.sources import files
from pseudolabel.readers.sources.location import file_name, table_row
from pseudolabel.readers.text.reader import TextReader
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import DATA
from pseudolabel.storage.stores import parquet_source
from pseudolabel.tasks.base.task import Reader, Rows, Task, row_columns

ColumnSource = tuple[str, Callable[[Sequence[str]], dict[str, str]]]  # place, and (wanted columns) -> column -> type
SourceMetadata = tuple[dict[str, str], dict[str, Table]]  # column -> type, and folder key -> metadata file
FOLDER = "folder"
LABEL_NAMES = {"label", "labels", "label_ids"}  # trainers treat them as the same column
COLUMN_MEANINGS = {FOLDER: "Name of the folder of the file; null at the top of the source."}
COLUMN_MEANING = "`{}` of the source, unchanged; null if the source has no value."
METADATA_HINT = f"; for others, put a metadata.csv with {sidecars.FILE_NAME} beside the files"


@dataclass(frozen=True)
class SourceColumns:
    """The columns to copy from the source, and the metadata files beside media: folder key -> file."""

    columns: tuple[Column, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Return the types of the columns that come from tables: all but `folder`."""
        return {column.name: column.type for column in self.columns if column.name != FOLDER}

    def schema(self, task: Task) -> list[Column]:
        """Return all columns of a shard, in order."""
        key, copy, *own = row_columns(task)
        return [key, copy, *self.columns, *own]

    @property
    def as_manifest(self) -> dict[str, Any]:
        """Return the manifest's `kept` (column -> type) and `metadata` (file key -> sha256); {} without columns."""
        if not self.columns:
            return {}
        tables = sorted(item for item in self.tables.items() if item[1].sha256)
        digests = {f"{folder}/{file_name(table.where)}".lstrip("/"): table.sha256 for folder, table in tables}
        return {"kept": {column.name: column.type for column in self.columns}, "metadata": digests}

    def save(self, path: Path) -> None:
        """Save the columns, and the paths of the metadata files on this machine, as JSON."""
        columns = {column.name: column.type for column in self.columns}
        stored = json.dumps({"columns": columns, "tables": self.tables}, indent=1, default=sorted)
        write_atomic(path, [stored, "\n"])

    def reads(self, file: files.File) -> bool:
        """Return whether a file is one of the metadata files, or a field of a WebDataset sample."""
        container = file.where.partition("\0")[0]
        return file.where in self._places or (container in self._places and webdataset.is_field(file.key))

    @cached_property
    def _places(self) -> set[str]:
        return {table.where for table in self.tables.values()}

    def match(self, keys: FileKeys) -> tuple[SourceColumns, list[str]]:
        """Match metadata files with all files of the source. Return the columns to use from then on, and a warning for
        each metadata file with lines that name no file. Raise `UserError` if a metadata file is damaged."""
        found = {folder: match_lines(table, folder, self.kinds, keys) for folder, table in self.tables.items()}
        tables = {folder: one.table for folder, one in found.items()}
        return replace(self, tables=tables), [one.warning for one in found.values() if one.warning]

    # --- values ---

    def of(self, extent: Extent, reader: Reader) -> Iterator[tuple[str, Values | Skipped]]:
        """Yield (key, values or `Skipped`) of the file of an extent, or of each document of a text table, in order."""
        whole = {FOLDER: folder_name(extent.file)} if any(column.name == FOLDER for column in self.columns) else {}
        if self.kinds and isinstance(reader, TextReader) and columns.is_table(extent.where):
            with suppress(UnusableSample):  # the table is damaged, so the reader finds no more documents in it
                for position, values in reader.records(extent, self.kinds):
                    key = f"{extent.file}#{position}"
                    yield key, Skipped(key, str(values)) if isinstance(values, UnusableSample) else {**whole, **values}
        else:
            row = table_row(extent.where) if self.kinds else None
            values = (
                columns.row_values(row, self.kinds)
                if row
                else sidecars.values_of_file(self.tables, extent.file, self.kinds)
            )
            if isinstance(values, UnusableSample):
                yield extent.file, Skipped(extent.file, str(values))
            else:
                yield extent.file, {**dict.fromkeys(self.kinds), **values, **whole}


NO_COLUMNS = SourceColumns()


def folder_name(file: str) -> str | None:
    """Return the name of a file's folder, given the key of the file; None at the top of the source."""
    above, _, own = file.rpartition("/")
    name = above.rpartition("/")[2]
    if name == own:  # the file is itself one of several sources: its key is `name/name`
        return None
    try:
        return unquote(name, errors="strict") or None
    except UnicodeDecodeError:  # not UTF-8: keep the escapes of the key
        return name


# --- planning --------------------------------------------------------------------------------------------------------


def plan_columns(task: Task, sources: Sequence[Path], keep: str | None) -> SourceColumns:
    """Find the columns of `--keep` in the source. Raise `UserError` if one is missing, or if `task` cannot keep it."""
    if keep is None:
        return NO_COLUMNS
    names = keep.split(",")
    if task.packs:
        raise UserError(
            f"--keep: a row of {task.name} contains several documents, so it has no single source; "
            "leave out --keep, or use the task cluster, which makes one row of each document"
        )
    own = {column.name for column in row_columns(task)}
    for name in names:
        if name in own or (name in LABEL_NAMES and own & LABEL_NAMES):
            raise UserError(
                f"--keep {name}: {task.name} has a `{name if name in own else 'label'}` of its own; keep other columns"
            )
    wanted, reader = [name for name in names if name != FOLDER], task.reader()
    look = _in_text if isinstance(reader, TextReader) else _beside_media
    kinds, tables = look(wanted, sources, reader) if wanted else ({}, {})
    return SourceColumns(tuple(_column(name, kinds.get(name, columns.TEXT)) for name in names), tables)


def _in_text(names: Sequence[str], sources: Sequence[Path], reader: Any) -> SourceMetadata:
    """Return the columns of tables of documents, from headers, Parquet schemas or JSON lines."""

    def every() -> Iterator[ColumnSource]:
        for file in files.find_files(sources, reader.suffixes):
            if file.candidate:
                types = partial(columns.column_types, file.where, reader.options.encoding)
                yield sidecars.display_place(file.where), types

    return _chosen(names, _kinds(names, every), ""), {}


def _beside_media(names: Sequence[str], sources: Sequence[Path], reader: Any) -> SourceMetadata:
    around = sidecars.find_metadata(sources, reader.suffixes)
    every = [(sidecars.display_place(one.where), partial(_strict, one)) for one in around if not one.fault]
    unread = [f"; {sidecars.display_place(one.where)} is not read: {one.fault}" for one in around if one.fault]
    kinds = _chosen(names, _kinds(names, lambda: every), METADATA_HINT, "".join(unread[:1]))
    return kinds, {one.folder: one.table for one in around if one.folder is not None}


def columns_of_manifest(manifest: Mapping[str, Any]) -> SourceColumns:
    """Return the source columns of a dataset from its manifest, without metadata files."""
    return SourceColumns(tuple(_column(name, kind) for name, kind in manifest.get("kept", {}).items()))


def load_columns(path: Path) -> SourceColumns:
    """Load what `SourceColumns.save` wrote."""
    frozen = json.loads(path.read_text("utf-8"))
    columns = tuple(_column(name, kind) for name, kind in frozen["columns"].items())
    tables = {folder: Table(where, sha, frozenset(names)) for folder, (where, sha, names) in frozen["tables"].items()}
    return SourceColumns(columns, tables)


def check_metadata(out: Path, manifest: Mapping[str, Any], kept: SourceColumns) -> None:
    """Raise `UserError` if metadata changed after `out` was begun and now differs from a stored row.

    Metadata of files without a stored row may change, because metadata grows with its source.
    """
    now = kept.as_manifest
    if not kept.tables or manifest.get("kept") != now["kept"] or manifest["metadata"] == now["metadata"]:
        return
    import pyarrow.parquet as pq

    for path in sorted((out / DATA).glob("*.parquet")):
        with pq.ParquetFile(parquet_source(path)) as file:
            for batch in file.iter_batches(columns=["key", *kept.kinds]):
                for row in batch.to_pylist():
                    values = sidecars.values_of_file(kept.tables, file_of(row["key"]), kept.kinds)
                    said = {} if isinstance(values, UnusableSample) else values
                    for name in kept.kinds:
                        if not columns.identical_values(row[name], said.get(name)):
                            told = f"`{name}` of {row['key']} is {row[name]!r}, but {said.get(name)!r} in the source"
                            raise UserError(f"{out}: {told}; restore the metadata or add --overwrite to start again", 4)


def _column(name: str, kind: str) -> Column:
    return Column(name, kind, "kept", COLUMN_MEANINGS.get(name, COLUMN_MEANING.format(name)))


def _strict(one: MetadataSource, wanted: Sequence[str]) -> dict[str, str]:
    """Return the columns of sidecars. Raise `UserError` for a damaged file: only damaged text tables are skipped."""
    try:
        return one.kinds(wanted)
    except UnusableSample as bad:
        raise UserError(f"{sidecars.display_place(one.where)}: {bad}; repair the file, or leave out --keep") from None


def _kinds(names: Sequence[str], every: Callable[[], Iterable[ColumnSource]]) -> dict[str, dict[str, str]]:
    """Return column -> type -> the first table, by name, in which the column has that type.

    Read the heads of the tables first. Then read whole tables, until every column of `names` is found.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for whole in (False, True):
        for where, types in every():
            late = [name for name in names if name not in found] if whole else []
            if whole and not late:
                break
            kinds = or_skipped(partial(types, late))
            for name, kind in kinds.items() if isinstance(kinds, dict) else ():
                found[name][kind] = min(where, found[name].get(kind, where))
    return found


def _chosen(
    names: Sequence[str], kinds: Mapping[str, Mapping[str, str]], others: str, unread: str = ""
) -> dict[str, str]:
    """Return the type of each column. Raise `UserError` if one is missing, has two types or an unsupported type.

    `others`: how the source can have other columns. `unread`: a table of the source that cannot be used, and why.
    """
    chosen = {}
    for name in names:
        if name not in kinds:
            known = sorted({FOLDER, *kinds})
            choice = f"{did_you_mean(name, known)}choose with --keep among: {', '.join(known)}{others}"
            raise UserError(f"no file of the source has a column {name!r}{unread}\n{choice}")
        typed = {kind: where for kind, where in kinds[name].items() if kind != columns.NULL}
        (chosen[name], where), *more = sorted(typed.items()) or [(columns.TEXT, "")]
        if more:
            other, there = more[0]
            raise UserError(
                f"column {name!r} is {chosen[name]} in {where} and {other} in {there}; give it one type, or omit it"
            )
        if chosen[name] not in columns.SUPPORTED_TYPES:
            raise UserError(f"column {name!r} of {where} is {chosen[name]}; --keep takes text, numbers and booleans")
    return chosen


# --- joining ---------------------------------------------------------------------------------------------------------


class ColumnJoiner:
    """A join of rows with the source columns of their samples.

    Rows are in the order of samples, and samples in the order of extents, so one pass over both sides is enough.
    """

    def __init__(self, kept: SourceColumns, reader: Reader, extents: deque[Extent]) -> None:
        """`extents` is a queue. It gets each extent when the reader starts to read the extent."""
        self._kept, self._reader, self._extents = kept, reader, extents
        self._found = self._every()
        self._key = ""
        self._values: Values | Skipped = {}

    def rows(self, made: Iterator[Rows | Skipped]) -> Iterator[Rows | Skipped]:
        """Yield the rows with source columns, or `Skipped` for a sample whose source columns cannot be read."""
        for item in made:
            joined = item if isinstance(item, Skipped) else self._join(item)
            del item  # free a decoded image before the next one is decoded
            yield joined
            del joined

    def _join(self, item: Rows) -> Rows | Skipped:
        rows = []
        for row in item.rows:
            values = self._of(row["key"])
            if isinstance(values, Skipped):
                return replace(values, count=item.count)
            rows.append({**row, **values})
        return replace(item, rows=rows)

    def _of(self, key: str) -> Values | Skipped:
        while self._key not in (key, file_of(key)):
            found = next(self._found, None)
            if found is None:
                raise UserError(f"{key} is gone: its file changed during the run; run the same command again", code=3)
            self._key, self._values = found
        return self._values

    def _every(self) -> Iterator[tuple[str, Values | Skipped]]:
        while self._extents:
            yield from self._kept.of(self._extents.popleft(), self._reader)
