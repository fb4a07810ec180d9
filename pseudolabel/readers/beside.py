"""What lies beside media: metadata files, as Hugging Face's ImageFolder and AudioFolder have them.

`metadata.csv`, `.jsonl` or `.parquet` names files in its column `file_name`, relative to the folder it lies in
(https://huggingface.co/docs/datasets/image_dataset). Of several that name a file, the nearest one above it counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from pseudolabel.readers import files
from pseudolabel.readers.records import TEXT, Values
from pseudolabel.readers.text import Documents, TextOptions
from pseudolabel.sample import Extent, Refused, Unusable
from pseudolabel.shards import digest

if TYPE_CHECKING:
    import pyarrow as pa

FILE_NAME = "file_name"
NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LINES_AT_ONCE = 1 << 16
ODD = re.compile(r"\\|://|(^|/)\.{0,2}(/|$)")  # in a path that may not be written as a key has it


class Table(NamedTuple):
    """A metadata file, as it was when the run was planned."""

    where: str
    sha256: str

    def lines(self, kinds: Mapping[str, str]) -> Lines:
        """Some of its columns. Refused where it was changed."""
        return _lines(self, tuple(kinds.items()))


def tables(sources: Sequence[Path]) -> dict[str, str]:
    """The metadata files of a source, by the keys of their folders."""
    found: dict[str, str] = {}
    for file in files.find(sources, NAMES):
        folder, _, name = file.key.rpartition("/")
        if name in NAMES and file.size:
            if folder in found:
                raise Refused(f"{found[folder]} and {file.path} lie in one folder; leave one of them there")
            found[folder] = file.path
    return found


def named(tables: Mapping[str, Table], file: str, kinds: Mapping[str, str]) -> Values:
    """What is said of a file, by its key; {} where no table names it."""
    parts = file.split("/")
    for depth in reversed(range(len(parts))):
        table = tables.get("/".join(parts[:depth]))
        if table and (values := table.lines(kinds).of(unquote("/".join(parts[depth:]), errors="surrogateescape"))):
            return values
    return {}


class Lines(NamedTuple):
    """The lines of a metadata file, in the order of the names."""

    names: pa.Array
    values: pa.RecordBatch

    def of(self, name: str) -> Values:
        """What is said of a file; {} if it is not named."""
        at = bisect_left(range(len(self.names)), name, key=lambda i: self.names[i].as_py())
        there = at < len(self.names) and self.names[at].as_py() == name
        return dict(self.values[at : at + 1].to_pylist()[0]) if there else {}


@cache
def _lines(table: Table, kinds: tuple[tuple[str, str], ...]) -> Lines:
    if digest(Path(table.where)) != table.sha256:
        raise Refused(f"{table.where} was changed while the run was at work; put it back and run again", code=4)
    return read(table.where, dict(kinds))


def read(where: str, kinds: Mapping[str, str]) -> Lines:
    """Read a metadata file. Refused where a line of it cannot be taken, or two say different things of one file."""
    import pyarrow as pa

    types = {name: pa.large_string() if kind == TEXT else pa.type_for_alias(kind) for name, kind in kinds.items()}
    schema = pa.schema({"": pa.large_string(), **types})
    found, batches = _named(where, kinds), []
    while some := list(islice(found, LINES_AT_ONCE)):
        batches.append(pa.RecordBatch.from_pylist(some, schema))
    table = pa.Table.from_batches(batches, schema).sort_by("").combine_chunks()
    (lines,) = table.to_batches() or [pa.RecordBatch.from_pylist([], schema)]
    _check(where, lines)
    return Lines(lines[""], lines.drop_columns([""]))


def _named(where: str, kinds: Mapping[str, str]) -> Iterator[Values]:
    """The lines of a file, with the name under ""."""
    reader = Documents(TextOptions(column=FILE_NAME))
    try:
        found = reader.records(Extent("", where, 0, None, 0), {FILE_NAME: TEXT, **kinds})
        for number, (_, values) in enumerate(found, 1):
            if isinstance(values, Unusable):
                raise Unusable(f"line {number} of its table: {values}")
            yield {"": _relative(values[FILE_NAME], number), **{name: values[name] for name in kinds}}
    except Unusable as bad:
        raise Refused(f"{where}: {bad}; mend it, or leave out --keep") from None


def _relative(name: str | None, number: int) -> str:
    """A path as a key has it."""
    if not name:
        raise Unusable(f"line {number} of its table has no {FILE_NAME}")
    if not ODD.search(name):
        return name
    path = normpath(name.replace("\\", "/"))
    if "://" in name or path.startswith(("/", "../")) or path in ("..", "."):
        raise Unusable(f"line {number} of its table names {name!r}, which is no file below its folder")
    return path


def _check(where: str, lines: pa.RecordBatch) -> None:
    import pyarrow.compute as pc

    one, other = lines[:-1], lines[1:]
    for at in pc.indices_nonzero(pc.equal(one[""], other[""])).to_pylist():
        if one[at : at + 1].to_pylist() != other[at : at + 1].to_pylist():
            raise Refused(f"{where} says two different things of {one[''][at].as_py()}; leave one of them there")
