"""Kept: what `--keep` takes along into every row of the source: the folder its file lies in, and columns of tables."""

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

from pseudolabel.contracts import Column, Extent, Skipped, UnusableSample, UserError, file_of, or_skipped
from pseudolabel.readers.metadata import columns, sidecars
from pseudolabel.readers.metadata.columns import Values
from pseudolabel.readers.metadata.sidecars import MetadataSource, Table
from pseudolabel.readers.sources import files
from pseudolabel.readers.sources.location import file_name, table_row
from pseudolabel.readers.text.reader import TextReader
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.stores import parquet_source
from pseudolabel.tasks.base.task import Reader, Rows, Task, row_columns

SourceMetadata = tuple[dict[str, str], dict[str, Table]]  # types of columns, and metadata by the keys of folders
FOLDER = "folder"
LABEL_NAMES = {"label", "labels", "label_ids"}  # which trainers take for one another
COLUMN_MEANINGS = {FOLDER: "The name of the folder that the file lies in; null at the top of the source."}
COLUMN_MEANING = "`{}` of the source, as it stands there; null where it has none."
METADATA_HINT = (
    f"; others come from a metadata.csv or metadata.jsonl beside the files, with a column {sidecars.FILE_NAME}"
)


@dataclass(frozen=True)
class SourceColumns:
    """The columns that are kept, and the metadata files beside media, by the keys of their folders."""

    columns: tuple[Column, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The types of those that are in tables."""
        return {column.name: column.type for column in self.columns if column.name != FOLDER}

    def schema(self, task: Task) -> list[Column]:
        """All columns of a file, in order."""
        key, copy, *own = row_columns(task)
        return [key, copy, *self.columns, *own]

    @property
    def as_manifest(self) -> dict[str, Any]:
        """For the manifest: the columns with their types, and the metadata files by their keys; nothing of nothing."""
        if not self.columns:
            return {}
        tables = sorted(item for item in self.tables.items() if item[1].sha256)
        digests = {f"{folder}/{file_name(table.where)}".lstrip("/"): table.sha256 for folder, table in tables}
        return {"kept": {column.name: column.type for column in self.columns}, "metadata": digests}

    def save(self, path: Path) -> None:
        """Write it down, with where the metadata files lie on this machine."""
        columns = {column.name: column.type for column in self.columns}
        write_atomic(path, [json.dumps({"columns": columns, "tables": self.tables}, indent=1), "\n"])

    # --- where values come from ---

    def of(self, extent: Extent, reader: Reader) -> Iterator[tuple[str, Values | Skipped]]:
        """The values for an extent's file, or for each document in it, under its key, in the order of the samples."""
        whole = {FOLDER: folder_name(extent.file)} if any(column.name == FOLDER for column in self.columns) else {}
        if self.kinds and isinstance(reader, TextReader) and columns.is_table(extent.where):
            with suppress(UnusableSample):  # there are no documents from there on
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
    """The name of the folder that a file lies in, by its key."""
    above, _, own = file.rpartition("/")
    name = above.rpartition("/")[2]
    if name == own:  # a file that is one of several sources: its key has its name twice
        return None
    try:
        return unquote(name, errors="strict") or None
    except UnicodeDecodeError:  # bytes that are no text, which the key spells
        return name


# --- before the run --------------------------------------------------------------------------------------------------


def plan_columns(task: Task, sources: Sequence[Path], keep: str | None) -> SourceColumns:
    """What these columns are in the source. Refused where there is no such column, or none that a row can have."""
    if keep is None:
        return NO_COLUMNS
    names = keep.split(",")
    if task.packs:
        raise UserError(
            f"a row of {task.name} is packed of several documents, so what is true of one is not true of it; "
            "leave out --keep, or keep columns with cluster, which makes a row of each document"
        )
    own = {column.name for column in row_columns(task)}
    for name in names:
        if name in own or (name in LABEL_NAMES and own & LABEL_NAMES):
            raise UserError(
                f"--keep {name}: a row of {task.name} has a `{name if name in own else 'label'}` of its own"
            )
    wanted, reader = [name for name in names if name != FOLDER], task.reader()
    look = _in_text if isinstance(reader, TextReader) else _beside_media
    kinds, tables = look(wanted, sources, reader) if wanted else ({}, {})
    return SourceColumns(tuple(_column(name, kinds.get(name, columns.TEXT)) for name in names), tables)


def _in_text(names: Sequence[str], sources: Sequence[Path], reader: Any) -> SourceMetadata:
    """Columns of tables of documents, by their heads."""
    places = (file.where for file in files.find_files(sources, reader.suffixes) if file.candidate)
    every = (
        (sidecars.display_place(where), partial(columns.column_types, where, reader.options.encoding))
        for where in places
    )
    return _chosen(names, _kinds(every), ""), {}


def _beside_media(
    names: Sequence[str], sources: Sequence[Path], reader: Any
) -> tuple[dict[str, str], dict[str, Table]]:
    around = sidecars.find_metadata(sources, reader.suffixes)
    kinds = _chosen(
        names, _kinds((sidecars.display_place(one.where), partial(_strict, one)) for one in around), METADATA_HINT
    )
    tables = {one.folder: one.table for one in around if one.folder is not None}
    for table in tables.values():
        if table.sha256:
            sidecars.read_table(table.where, kinds)  # what is wrong in it is said before anything is made
    return kinds, tables


def columns_of_manifest(manifest: Mapping[str, Any]) -> SourceColumns:
    """What a dataset's manifest says of it: which columns there are."""
    return SourceColumns(tuple(_column(name, kind) for name, kind in manifest.get("kept", {}).items()))


def load_columns(path: Path) -> SourceColumns:
    """What was written down."""
    frozen = json.loads(path.read_text("utf-8"))
    columns = tuple(_column(name, kind) for name, kind in frozen["columns"].items())
    return SourceColumns(columns, {folder: Table(*table) for folder, table in frozen["tables"].items()})


def check_metadata(out: Path, manifest: Mapping[str, Any], kept: SourceColumns) -> None:
    """Refuse metadata that is not as it was when `out` was begun, and now says otherwise of a row made since.

    What it says of other files is no matter: where a source grows, so does what lies beside it.
    """
    import pyarrow.parquet as pq

    now = kept.as_manifest
    if not kept.tables or manifest.get("kept") != now["kept"] or manifest["metadata"] == now["metadata"]:
        return
    for path in sorted((out / "data").glob("*.parquet")):
        with pq.ParquetFile(parquet_source(path)) as file:
            for batch in file.iter_batches(columns=["key", *kept.kinds]):
                for row in batch.to_pylist():
                    values = sidecars.values_of_file(kept.tables, file_of(row["key"]), kept.kinds)
                    said = {} if isinstance(values, UnusableSample) else values
                    for name in kept.kinds:
                        if not columns.identical_values(row[name], said.get(name)):
                            told = f"`{name}` of {row['key']} is {row[name]!r} there and {said.get(name)!r} here"
                            raise UserError(f"{out} {told}; put the metadata back, or --overwrite to start afresh", 4)


def _column(name: str, kind: str) -> Column:
    return Column(name, kind, "kept", COLUMN_MEANINGS.get(name, COLUMN_MEANING.format(name)))


def _strict(one: MetadataSource) -> dict[str, str]:
    """The columns beside media. What cannot be read of text will be skipped; of these nothing is to be left out."""
    try:
        return one.kinds()
    except UnusableSample as bad:
        raise UserError(f"{sidecars.display_place(one.where)}: {bad}; mend it, or leave out --keep") from None


def _kinds(every: Iterable[tuple[str, Callable[[], dict[str, str]]]]) -> dict[str, dict[str, str]]:
    """Of each column its types, with the name of a table that has it so."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for where, known in every:
        kinds = or_skipped("", known)
        for name, kind in kinds.items() if isinstance(kinds, dict) else ():
            found[name][kind] = min(where, found[name].get(kind, where))
    return found


def _chosen(names: Sequence[str], kinds: Mapping[str, Mapping[str, str]], others: str) -> dict[str, str]:
    """The type of each column; refused where there is none, several, or none that can be kept."""
    for name in names:
        if name not in kinds:
            there = ", ".join(sorted({FOLDER, *kinds}))
            raise UserError(f"no file of the source has a column {name!r}; choose with --keep among: {there}{others}")
        (kind, where), *more = sorted(kinds[name].items())
        if more:
            other, there = more[0]
            raise UserError(
                f"column {name!r} is {kind} in {where} and {other} in {there}; make them one, or keep others"
            )
        if kind not in columns.SUPPORTED_TYPES:
            raise UserError(f"column {name!r} of {where} is {kind}; --keep takes text, numbers and booleans")
    return {name: next(iter(kinds[name])) for name in names}


# --- beside the rows -------------------------------------------------------------------------------------------------


class ColumnJoiner:
    """Rows with what is kept of where they come from.

    Rows come in the order of their samples, and samples in that of their extents, so both sides are passed once.
    """

    def __init__(self, kept: SourceColumns, reader: Reader, extents: deque[Extent]) -> None:
        """`extents` grows with what was pulled."""
        self._kept, self._reader, self._extents = kept, reader, extents
        self._found = self._every()
        self._key = ""
        self._values: Values | Skipped = {}

    def rows(self, made: Iterator[Rows | Skipped]) -> Iterator[Rows | Skipped]:
        """What was made of samples; what cannot be kept of one is the reason to skip it."""
        for item in made:
            joined = item if isinstance(item, Skipped) else self._joined(item)
            del item  # it may hold a picture, and the next one is decoded before this name is bound again
            yield joined
            del joined

    def _joined(self, item: Rows) -> Rows | Skipped:
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
                raise UserError(f"{key} is not there any more: its file was changed while the run was at work", code=3)
            self._key, self._values = found
        return self._values

    def _every(self) -> Iterator[tuple[str, Values | Skipped]]:
        while self._extents:
            yield from self._kept.of(self._extents.popleft(), self._reader)
