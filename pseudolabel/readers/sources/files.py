"""Find the files of the sources: on disk or in a store, in folders, lists, archives and tables."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pseudolabel.contracts import Skipped, UnusableSample, UserError, hash64, or_skipped
from pseudolabel.readers.sources import archives, formats, object_store, parquet_media
from pseudolabel.readers.sources.archives import Member
from pseudolabel.readers.sources.file_lists import FileList, ListedFile
from pseudolabel.readers.sources.formats import suffix_of
from pseudolabel.readers.sources.location import Location, file_name, local_location, unusable_location
from pseudolabel.readers.sources.opening import open_file, read_head
from pseudolabel.readers.sources.overlaps import check_overlaps
from pseudolabel.readers.sources.recognition import head_in_doubt, recognise
from pseudolabel.storage.layout import DATA, MANIFEST, RECORDS
from pseudolabel.storage.retry import with_retries
from pseudolabel.storage.urls import is_url

METADATA = "metadata.parquet"  # metadata of the files beside it: see `readers.metadata.sidecars`
NO_FILE = "no regular file"  # in a summary: a linked folder, a broken link, a device
ESCAPED = re.compile("[%#\0\udc80-\udcff]")  # the last are bytes that are not UTF-8, as `os.fsdecode` gives them
DUPLICATE_MARK = "\udc00"  # stands between a repeated name and its number; no real name has it; keys have "%" for it


class File(NamedTuple):
    """A file of a source. `candidate`: the task's reader accepts its suffix or, if the suffix is unknown, the format of
    its content. `ignored_as`: the group in which a summary counts a file that is no candidate."""

    key: str
    where: str
    size: int
    candidate: bool
    ignored_as: str = ""


def find_files(sources: Sequence[Path], suffixes: Collection[str]) -> Iterator[File]:
    """Yield the files below `sources`, except hidden ones and datasets of this package. Do not enter symlinked folders.

    The key is the path relative to the source, with "/"; if there are several sources, the source's name comes first.
    Archives and media tables are read like folders. Damaged containers and members are yielded as unusable files.
    If the content of a file tells its format, the name in its location gets the suffix of that format. The content of
    an object in a store is read only if a source or a list names the object itself.
    """
    ends = tuple(suffixes)
    for source in sources:
        prefix = f"{source.name}/" if len(sources) > 1 else ""
        listed, alone = _list_files(source, ends)
        looks = _is_recognised(ends) and (alone or not (isinstance(source, FileList) or is_url(source)))
        for name, where, size in _readable(listed):
            if size >= 0 and _contains(name.partition(DUPLICATE_MARK)[0], where, ends):
                yield from _inside(prefix + name, prefix if alone else f"{prefix}{name}/", where, ends)
            elif size >= 0 and name.partition(DUPLICATE_MARK)[0].lower().endswith(ends):
                yield File(escape_key(prefix + name), where, size, True)
            else:
                yield _other(prefix + name, _by_content(where, size, ends) if looks else where, size, ends)


def _other(name: str, where: str, size: int, ends: tuple[str, ...]) -> File:
    """Return a file whose name has no wanted suffix; a candidate if `_by_content` gave its location such a suffix."""
    if size >= 0 and "\0" in where and where.lower().endswith(ends):
        return File(escape_key(name), where, size, True)
    told = formats.short_suffix(suffix_of(name.partition(DUPLICATE_MARK)[0])) if size >= 0 else NO_FILE
    return File(escape_key(name), where, max(size, 0), False, told)


def _by_content(where: str, size: int, ends: tuple[str, ...]) -> str:
    """Return the location of a file. If only its content tells that it is wanted, append the suffix of its format."""
    name = file_name(where)
    if size <= 0 or not (count := head_in_doubt(name, ends)):
        return where
    found = recognise(name, read_head(where, count))
    if not found or not found.endswith(ends):
        return where
    return where + found if "\0" in where else local_location(where, found)


def _is_recognised(ends: tuple[str, ...]) -> bool:
    """Return whether the content of a file can show that it has one of the wanted formats."""
    return any(suffix in ends for suffix in (*formats.SIGNATURES, ".txt"))


def check_sources(sources: Sequence[Path]) -> None:
    """Raise `UserError` if a source is missing, unreadable, of a wrong kind, or has the name or files of another."""
    for source in sources:
        with _permission_errors(source):
            _check_source(source)
    check_overlaps(sources)
    names = Counter(source.name for source in sources)
    for name, count in names.items():
        if count > 1:
            raise UserError(f"two sources are named {name!r}, so keys would clash; rename one, or give the parent")


def _check_source(source: Path) -> None:
    if not _exists(source):
        raise UserError(f"{source} does not exist; give a folder or a file to read")
    if isinstance(source, FileList):
        return
    if not is_url(source):
        if not (source.is_dir() or source.is_file()):
            raise UserError(f"{source} is a pipe or a device; give - as the source, and pipe in a list of files")
        os.close(os.open(source, os.O_RDONLY))
        source = Path(os.path.realpath(source))
    inside = [place.parent for place in (source, source.parent) if place.name in (DATA, RECORDS)]
    for folder in (source, *inside):
        if (folder / MANIFEST).exists():
            raise UserError(f"{folder} is a dataset made by pseudolabel, not raw data; give the source of that dataset")


@contextmanager
def _permission_errors(place: Path | None = None) -> Iterator[None]:
    """Convert a denied permission into `UserError`, which names `place` or the folder."""
    try:
        yield
    except PermissionError as denied:
        raise UserError(
            f"{place or denied.filename} cannot be read: {denied.strerror}; give a source that you may read"
        ) from None


def _readable(listed: Iterable[ListedFile]) -> Iterator[ListedFile]:
    with _permission_errors():
        yield from listed


def _exists(source: Path) -> bool:
    if isinstance(source, FileList):
        return source.exists()
    if is_url(source):
        try:
            return bool(with_retries(lambda: object_store.object_info(source), source))
        except FileNotFoundError:
            return False
        except UnusableSample as refused:
            raise UserError(f"{source} cannot be read: {refused}; give another URL") from None
    try:
        os.stat(source)
    except PermissionError:
        raise
    except OSError:  # for example, the name is too long
        return False
    return True


# --- files -----------------------------------------------------------------------------------------------------------


def _list_files(source: Path, ends: tuple[str, ...]) -> tuple[Iterable[ListedFile], bool]:
    """Return the visible files of a source, and whether the source is a single file."""
    if isinstance(source, FileList):
        looks = _is_recognised(ends)
        named = (
            (name, _by_content(where, size, ends) if looks else where, size) for name, where, size in source.files()
        )
        return _once(named), False
    if is_url(source):
        where, size = object_store.file_at(str(source))
        return ([(source.name, where, size)], True) if size >= 0 else (object_store.list_objects(source), False)
    if source.is_dir():
        return _below(str(source)), False
    return [(source.name, str(source), source.stat().st_size)], True


def _once(found: Iterable[ListedFile]) -> Iterator[ListedFile]:
    """Yield the files. The second file of a name is unusable, with `%2` at the end of its key; the third with `%3`."""
    seen: set[int] = set()
    times: Counter[int] = Counter()  # repetitions of each name
    for name, where, size in found:
        if (known := hash64(escape_key(name))) in seen:
            times[known] += 1
            where = unusable_location("an earlier file has the same name", where.rpartition("\0")[2])
            name, size = f"{name}{DUPLICATE_MARK}{times[known] + 1}", min(size, 0)
        seen.add(known)
        yield name, where, size


def _below(folder: str) -> Iterator[ListedFile]:
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
    except PermissionError:  # the reader reports it as unusable
        return 0
    except OSError:  # a circular link, or deleted since the folder was read
        return -1


def escape_key(name: str) -> str:
    """Escape a name for a key: "#" (it begins a range), "%", NUL and bytes that are not UTF-8, as %23, %25, %00, ..."""
    return ESCAPED.sub(lambda sign: f"%{ord(sign[0]) % 0xDC00:02X}", name).replace(DUPLICATE_MARK, "%")


# --- containers ------------------------------------------------------------------------------------------------------


def _contains(name: str, where: str, ends: tuple[str, ...]) -> bool:
    """Return whether the file is read as a container. If `ends` has ".parquet", a table must contain media."""
    if name.rpartition("/")[2] == METADATA:
        return False
    if name.lower().endswith(archives.SUFFIXES):
        return True
    if not name.lower().endswith(formats.TABLE) or not parquet_media.media_suffixes(ends):
        return False
    return formats.TABLE not in ends or not media_table_fault(where, ends)


def media_table_fault(where: str, suffixes: Collection[str]) -> str:
    """Return why a Parquet file cannot be read as a table with one media column of these suffixes; "" if it can."""
    try:
        with open_file(where) as file, parquet_media.open_table(file) as table:
            parquet_media.media_column(table.schema_arrow, parquet_media.media_suffixes(suffixes))
    except UnusableSample as bad:
        return str(bad)
    return ""


def _inside(name: str, prefix: str, where: str, ends: tuple[str, ...]) -> Iterator[File]:
    """Yield the members of an archive or a table. If it is damaged, end with one unusable file that has the reason."""
    members = _once(_members(prefix, where, ends))
    while found := or_skipped(partial(next, members, None), name):
        if isinstance(found, Skipped):
            yield File(escape_key(name), unusable_location(found.reason, name, found.count), 0, True)
            return
        inner, place, size = found
        yield _other(prefix + inner, place, size, ends)


def _members(prefix: str, where: str, ends: tuple[str, ...]) -> Iterator[ListedFile]:
    """Yield name, location and size of each member. Omit hidden members; a path out of the archive is unusable."""
    table = where.lower().endswith(formats.TABLE)
    looks = "\0" not in where and _is_recognised(ends)  # in a store, reading each head would be a request
    doubt = partial(head_in_doubt, ends=ends) if looks else archives.no_doubt
    for member in _rows(where, ends) if table else archives.members(where, doubt):
        parts = _parts(member.name)
        if not table and any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts):
            continue
        clean = "/".join(parts)
        if not parts or member.name.startswith("/") or ".." in parts or "\0" in clean:
            yield member.name, unusable_location("its name is not a path inside the archive", clean), 0
        elif not member.locator:
            yield clean, clean, -1
        else:
            block = f"{prefix}#{member.block}" if member.block else ""
            block = escape_key(prefix + clean) if member.block == member.name else block  # the member is the block
            yield clean, "\0".join(Location(where, member.locator, block, clean + member.suffix)), member.size


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _rows(where: str, ends: tuple[str, ...]) -> Iterator[Member]:
    """Yield the rows of a media table. A row is named by its path if valid and not used yet, else by its number."""
    with open_file(where) as file:
        seen: set[int] = set()
        for row in parquet_media.find_rows(file, ends):
            name = row.name or ""
            like = name and not name.startswith(("/", ".")) and "/." not in name and "\0" not in name
            name = "/".join(_parts(name)) if like else ""
            if not name or hash64(name) in seen:
                name = str(row.number)
                while hash64(name) in seen:  # an earlier row has this number as its path
                    name += "+"
            seen.add(hash64(name))
            yield Member(name, row.size, row.locator, row.block, "" if name.lower().endswith(ends) else row.suffix)
