"""Lists of files: `@files.txt`, or `-` for standard input, with one path or URL per line."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from errno import EIO, ESTALE
from functools import cache
from itertools import takewhile
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

from pseudolabel.contracts import UnusableSample, UserError
from pseudolabel.readers.sources.location import unusable_location
from pseudolabel.readers.sources.object_store import file_at
from pseudolabel.storage.urls import is_url

ListedFile = tuple[str, str, int]  # name, location, size in bytes; -1 if not a regular file


def open_list(given: Path | str) -> Any:
    """Return the `FileList` of `-` or `@...`; None for any other source."""
    return FileList(given) if given == "-" or (isinstance(given, str) and given.startswith("@")) else None


class FileList:
    """A list of files as a source. Paths are relative to the list's folder; in a pipe, to the current folder."""

    parents: Sequence[Path] = ()  # a list has no parent folders to compare with the output folder

    def __init__(self, given: str) -> None:
        path = None if given == "-" else Path(os.path.abspath(given[1:]))
        self._path = None if path and path.is_fifo() else path
        self._given, self._folder = given, str(self._path.parent) if self._path else os.getcwd()
        self.name = path.name if path else given

    def __str__(self) -> str:
        return self._given

    def exists(self) -> bool:
        """Return whether the list exists. Raise `PermissionError` if it cannot be read."""
        if self._path is None or not self._path.is_file():
            return self._path is None
        os.close(os.open(self._path, os.O_RDONLY))
        return True

    def files(self) -> Iterator[ListedFile]:
        """Yield the listed files. Names are relative to the list's folder or, if a file is outside, to the deepest
        folder that contains all files. So keys have no "..", and stay the same if list and files move."""
        top = self._top()
        for line in self._lines():
            parts = self._parts(line)
            yield ("/".join(parts[len(top) :]), *_place(line, os.path.join(self._folder, line)))

    def paths(self) -> Iterator[str]:
        """Yield the path or the URL of each file."""
        return (line if is_url(line) else os.path.join(self._folder, line) for line in self._lines())

    def _top(self) -> Sequence[str]:
        """Return the folder that keys are relative to, as path parts."""
        common: Sequence[str] | None = None
        for line in self._lines():
            folder = self._parts(line)[:-1]
            both = zip(folder, folder if common is None else common, strict=False)
            common = tuple(one for one, _ in takewhile(lambda parts: parts[0] == parts[1], both))
        own = Path(self._folder).parts
        return own if common is None or common[: len(own)] == own else common

    def _parts(self, line: str) -> Sequence[str]:
        if is_url(line):
            address = urlsplit(line)  # `path` excludes the query, which may contain a secret
            return (address.scheme, address.netloc, *filter(None, address.path.split("/")))
        return Path(os.path.normpath(os.path.join(self._folder, line))).parts

    def _lines(self) -> Iterator[str]:
        with open(self._path, "rb") if self._path else nullcontext(_copy_pipe(self._given)) as file:
            file.seek(0)
            file.seek(len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0)
            for line in file:
                if b"\0" in line:
                    raise UserError(f"{self} contains a NUL byte; give UTF-8 text, one path per line, without -print0")
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    yield path


@cache
def _copy_pipe(given: str) -> IO[bytes]:
    """Copy standard input or a named pipe to a temporary file: a pipe can be read only once, a list is read again."""
    kept = TemporaryFile()  # noqa: SIM115 - open until the process ends
    with open(given[1:], "rb") if given != "-" else nullcontext(sys.stdin.buffer) as pipe:
        copyfileobj(pipe, kept)
    return kept


def _place(line: str, path: str) -> tuple[str, int]:
    """Return location and size of a listed file. A missing file is skipped later, when it is read."""
    try:
        if is_url(line):
            return file_at(line)
        about = os.stat(path)
        return path, about.st_size if os.path.isfile(path) else -1
    except UnusableSample as bad:
        return unusable_location(str(bad), line), 0
    except OSError as fault:
        if fault.errno in (EIO, ESTALE):
            raise
        return unusable_location(f"cannot be found: {(fault.strerror or 'no such file').lower()}", line), 0
