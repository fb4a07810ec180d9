"""The files of a source, in no particular order: the plan orders them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pseudolabel.sample import Refused

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
        entries = _below(str(source), "") if source.is_dir() else [(source.name, str(source), source.stat().st_size)]
        for name, path, size in entries:
            yield File(_key(prefix + name), path, size, name.lower().endswith(ends))


def check(sources: Sequence[Path]) -> None:
    """Refuse sources that are missing, or whose names would give two files one key."""
    for source in sources:
        if not source.exists():
            raise Refused(f"{source} does not exist; give a folder or a file to read")
        if (source / MANIFEST).exists():
            raise Refused(f"{source} is a dataset made by pseudolabel, not raw data; give the folder it was made from")
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise Refused(
                f"two sources are named {name!r}, so their keys would clash; rename one, or give their parent"
            )


def _below(folder: str, prefix: str) -> Iterator[tuple[str, str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not os.path.exists(os.path.join(entry.path, MANIFEST)):
                    yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.path, entry.stat().st_size


def _key(name: str) -> str:
    """Bytes of a name that are no UTF-8 are written \\xNN, and "#", which sets off a range, %23."""
    return os.fsencode(name).decode(errors="backslashreplace").replace("#", "%23")
