"""Overlaps of sources. A file of two sources has two keys, so its rows could be in both splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pseudolabel.contracts import UserError
from pseudolabel.readers.sources.file_lists import FileList
from pseudolabel.storage.urls import is_url


def check_overlaps(sources: Sequence[Path]) -> None:
    """Raise `UserError` if a source is another one, lies inside another one, or is a list of files of another one.

    Links are resolved. Hidden files and linked folders are not read with their folder, so they may be given beside it.
    """
    if len(sources) < 2:
        return
    places: dict[str, Path] = {}
    for source in sources:
        if not isinstance(source, FileList):
            place = str(source).rstrip("/") if is_url(source) else os.path.realpath(source)
            if (other := places.setdefault(place, source)) is not source:
                raise UserError(f"the sources {other} and {source} are the same; leave one of them out")
    for source in sources:
        for name, path in _paths(source):
            outer = places.get(path) if isinstance(source, FileList) else None
            if outer := outer or _outer(path, places):
                raise UserError(
                    f"{name} is also in the source {outer}, so it would be read twice; leave one of them out"
                )


def _paths(source: Path) -> Iterator[tuple[str, str]]:
    """Yield name and path of a source, or of the files of a list. Links are resolved; of a file, also only those of
    its folder."""
    if isinstance(source, FileList):
        resolve = lru_cache(1000)(os.path.realpath)
        for path in source.paths():
            folder, name = os.path.split(path)
            yield path, path if is_url(path) else os.path.join(resolve(folder), name)
    elif is_url(source):
        yield str(source), str(source).rstrip("/")
    else:
        yield str(source), os.path.realpath(source)
        if source.is_file():  # a folder is read with the linked files in it
            yield str(source), os.path.join(os.path.realpath(source.parent), source.name)


def _outer(path: str, places: Mapping[str, Path]) -> Path | None:
    """Return the source that is a folder above a path, unless a part of the path below it is hidden."""
    while (folder := os.path.dirname(path)) != path and not os.path.basename(path).startswith("."):
        if folder in places:
            return places[folder]
        path = folder
    return None
