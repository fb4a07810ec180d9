"""Lists of files: `@files.txt`, or `-` for standard input, a path or an address a line."""

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

ListedFile = tuple[str, str, int]  # name, where, size; -1 for what is no file one could read


def open_list(given: Path | str) -> Any:
    """The list that is meant by this, if it means one."""
    return FileList(given) if given == "-" or (isinstance(given, str) and given.startswith("@")) else None


class FileList:
    """A source that is a list. Paths are relative to its folder; those of what is piped in, to the current one."""

    parents: Sequence[Path] = ()  # it is no folder that a dataset could lie in

    def __init__(self, given: str) -> None:
        path = None if given == "-" else Path(os.path.abspath(given[1:]))
        self._path = None if path and path.is_fifo() else path
        self._given, self._folder = given, str(self._path.parent) if self._path else os.getcwd()
        self.name = path.name if path else given

    def __str__(self) -> str:
        return self._given

    def exists(self) -> bool:
        return self._path is None or self._path.is_file()

    def files(self) -> Iterator[ListedFile]:
        """What is listed, named as written; if anything lies outside the list's folder, all from where they part.

        So keys are unique, without "..", and the same wherever the whole lies.
        """
        top = self._top()
        for line in self._lines():
            parts = self._parts(line)
            yield ("/".join(parts[len(top) :]), *_place(line, os.path.join(self._folder, line)))

    def _top(self) -> Sequence[str]:
        """The folder that keys are relative to, in parts."""
        common: Sequence[str] | None = None
        for line in self._lines():
            folder = self._parts(line)[:-1]
            both = zip(folder, folder if common is None else common, strict=False)
            common = tuple(one for one, _ in takewhile(lambda parts: parts[0] == parts[1], both))
        own = Path(self._folder).parts
        return own if common is None or common[: len(own)] == own else common

    def _parts(self, line: str) -> Sequence[str]:
        if is_url(line):
            address = urlsplit(line)  # its path has no query, which may be a secret
            return (address.scheme, address.netloc, *filter(None, address.path.split("/")))
        return Path(os.path.normpath(os.path.join(self._folder, line))).parts

    def _lines(self) -> Iterator[str]:
        with open(self._path, "rb") if self._path else nullcontext(_piped(self._given)) as file:
            file.seek(0)
            file.seek(len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0)
            for line in file:
                if b"\0" in line:
                    raise UserError(f"{self} is no list of lines in UTF-8; give one path a line, without -print0")
                if path := os.fsdecode(line.rstrip(b"\r\n")):
                    yield path


@cache
def _piped(given: str) -> IO[bytes]:
    """All of standard input, or of a pipe: it can be read once, and is looked at more often."""
    kept = TemporaryFile()  # noqa: SIM115 - lives as long as the process
    with open(given[1:], "rb") if given != "-" else nullcontext(sys.stdin.buffer) as pipe:
        copyfileobj(pipe, kept)
    return kept


def _place(line: str, path: str) -> tuple[str, int]:
    """Where it is, and its size. What cannot be found is left out like any other file, when it is read."""
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
