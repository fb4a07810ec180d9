"""Match the lines of metadata files with the files of the source: a line that names no file is reported."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pseudolabel.readers.metadata.columns import ColumnTypes
from pseudolabel.readers.metadata.sidecars import FILE_NAME, LINES_AT_ONCE, Table, read_table
from pseudolabel.readers.sources.files import escape_key
from pseudolabel.readers.sources.location import file_name

if TYPE_CHECKING:
    import pyarrow as pa


class FileKeys:
    """The keys of all files of a source, as hashes of 8 bytes, which are valid in this process."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, key: str) -> None:
        """Add the key of a file. All are added before the first call of `have`."""
        self._hashes.append(hash(key))

    @cached_property
    def _sorted(self) -> npt.NDArray[np.int64]:
        return np.sort(np.asarray(self._hashes))

    def have(self, folder: str, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return for each name, relative to the folder, whether a file has it. The folder is not escaped like keys."""
        above = f"{folder}/" if folder else ""
        wanted = np.fromiter((hash(escape_key(above + name)) for name in names), np.int64)
        return np.equal(self._sorted[np.searchsorted(self._sorted[:-1], wanted)], wanted)


class Match(NamedTuple):
    """A metadata file with its `literal` names, and a warning about lines that name no file, or ""."""

    table: Table
    warning: str


def match_lines(table: Table, folder: str, kinds: ColumnTypes, keys: FileKeys) -> Match:
    """Match the lines of the metadata file of a folder with `keys`. Raise `UserError` as `read_table` does.

    Samples of a WebDataset shard are not matched, because they are members of the shard themselves.
    """
    if not table.sha256:
        return Match(table, "")
    literal: set[str] = set()

    def are_files(names: Sequence[str]) -> Sequence[bool]:
        there: list[bool] = keys.have(folder, names).tolist()
        literal.update(name for name, found in zip(names, there, strict=True) if found and "\\" in name)
        return there

    names = read_table(table.where, kinds, are_files).names
    parts = (names.slice(at, LINES_AT_ONCE).to_pylist() for at in range(0, len(names), LINES_AT_ONCE))
    there = keys.have(folder, chain.from_iterable(parts))
    return Match(table._replace(literal=frozenset(literal)), _warning(table.where, folder, names, there))


def _warning(where: str, folder: str, names: pa.ChunkedArray, there: npt.NDArray[np.bool_]) -> str:
    lost = np.flatnonzero(~there)
    if not len(lost):
        return ""
    own = file_name(where)
    place, first = f"{folder}/{own}".lstrip("/"), names[int(lost[0])].as_py()
    return (
        f"{place}: {len(lost):,} of {len(there):,} lines name no file of the source ({first}); a {FILE_NAME} is "
        f"relative to the folder of {own}, in the same case and Unicode form"
    )
