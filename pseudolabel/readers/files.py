"""The files of a source, in no particular order: the plan orders them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pseudolabel.sample import Refused, Unusable

MANIFEST = "_manifest.json"  # a folder that holds one is a dataset of ours and never read as a source


class File(NamedTuple):
    """A file below a source; no candidate where its name does not end as the task's reader wants."""

    key: str
    path: str
    size: int
    candidate: bool


def find(sources: Sequence[Path], suffixes: Collection[str]) -> Iterator[File]:
    """Yield every visible file below `sources`. Hidden names and symlinked folders are not followed.

    The key is the path relative to its source, with "/" between the parts; several sources prefix it by their names.
    """
    ends = tuple(suffixes)
    for source in sources:
        prefix = f"{source.name}/" if len(sources) > 1 else ""
        entries = _below(str(source)) if source.is_dir() else [(source.name, str(source), source.stat().st_size)]
        for name, path, size in entries:
            yield File(_key(prefix + name), path, max(size, 0), size >= 0 and name.lower().endswith(ends))


def check(sources: Sequence[Path]) -> None:
    """Refuse sources that are missing, or whose names would give two files one key."""
    for source in sources:
        if not os.path.exists(source):  # `Path.exists` raises where a name is too long
            raise Refused(f"{source} does not exist; give a folder or a file to read")
        if (source / MANIFEST).exists():
            raise Refused(f"{source} is a dataset made by pseudolabel, not raw data; give the folder it was made from")
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise Refused(f"two sources are named {name!r}, so keys would clash; rename one, or give their parent")


def gone(path: str) -> Exception:
    """What to raise where a file is not found: it alone is gone, or all of its folder is lost, as with a mount."""
    if os.path.isdir(os.path.dirname(path)):
        return Unusable("gone since the scan")
    return FileNotFoundError(2, "the folder it lay in is gone", path)


class Watched:
    """A file for a foreign library, which takes any fault of the disk for the end of the file: here it is kept.

    Raises `Unusable` where the file cannot be opened, or is empty.
    """

    def __init__(self, path: str) -> None:
        self.fault: OSError | None = None
        try:
            self._file = open(path, "rb")  # noqa: SIM115 - closed by `with`
        except FileNotFoundError:
            raise gone(path) from None
        except PermissionError:
            raise Unusable("no permission to read it") from None
        if not os.fstat(self._file.fileno()).st_size:
            self._file.close()
            raise Unusable("empty file")

    def read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except OSError as fault:
            self.fault = fault
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as fault:
            self.fault = fault
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def __repr__(self) -> str:
        return "the file"  # in the library's messages

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _below(folder: str) -> Iterator[tuple[str, str, int]]:
    """Name relative to `folder`, path, and size; -1 for what is no file one could read."""
    folders = [(folder, "")]
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    yield f"{prefix}{entry.name}", entry.path, _size(entry)
                elif not os.path.exists(os.path.join(entry.path, MANIFEST)):
                    folders.append((entry.path, f"{prefix}{entry.name}/"))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else -1
    except OSError:  # a link in a circle, or gone since the folder was read
        return -1


def _key(name: str) -> str:
    """Write "#", which sets off a range, "%" and bytes that are no UTF-8 as %23, %25 and the like."""
    odd = re.sub("[%#]", lambda sign: f"%{ord(sign[0]):02X}", name)
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", odd)
