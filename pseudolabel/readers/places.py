"""Places: what an extent's `where` names, opened. Whatever is read of a source is read through here.

A place is a path on disk; or, with NUL between them, what it lies in, how it is found there, its block, and its name:
an object of a store, a member of an archive, a row of a table.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from typing import NamedTuple

from pseudolabel.readers import rows
from pseudolabel.readers.inflated import PIECE, Inflated
from pseudolabel.readers.windows import Give, part, size_of, stored, window
from pseudolabel.sample import Unusable, blamed

SMALL = 4 << 20  # bytes of a zip member that are inflated at once
STREAMS = 3  # deflated ones that a process keeps open
GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # what stands before deflated bytes in a gzip stream
DEFLATED = 8  # a zip archive's word for it
STREAMED = 8  # its flag of members that have their checksum behind them
CHANGED = "its archive was changed since the scan"


class Place(NamedTuple):
    """A place that is no path on disk; `"\\0".join(place)` is its `where`."""

    container: str  # the path, the address or the place it lies in
    locator: str  # its kind and what `OPENERS` want to know
    block: str  # what it is best read with, or nothing
    name: str  # tells what it is by its suffix


def unusable(reason: str, name: str) -> str:
    """The place of what was found and cannot be used."""
    return "\0".join(Place("", refused(reason), "", name.replace("\0", "")))


def refused(reason: str) -> str:
    """The locator of such a place. A reason may name what an archive says, which may hold anything."""
    return f"unusable {reason}".replace("\0", "").encode(errors="backslashreplace").decode()


def name_of(where: str) -> str:
    """The last part of a place's name."""
    return where.rpartition("\0")[2].rpartition("/")[2]


def opened(where: str) -> io.BufferedReader:
    """A file to read, and to seek in. Raises `Unusable` where it cannot be opened."""
    if "\0" not in where:
        return _file(where)
    container, locator, *_ = where.rsplit("\0", 3)
    kind, _, told = locator.partition(" ")
    return OPENERS[kind](container, told)


def _file(path: str) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise gone(path) from None
    except PermissionError:
        raise Unusable("no permission to read it") from None


def gone(path: str) -> Exception:
    """What to raise where a file is not found: it alone is gone, or all of its folder is lost, as with a mount."""
    if os.path.isdir(os.path.dirname(path)):
        return Unusable("gone since the scan")
    return FileNotFoundError(2, "the folder it lay in is gone", path)


# --- kinds of places -------------------------------------------------------------------------------------------------


def _unusable(_: str, reason: str) -> io.BufferedReader:
    raise Unusable(reason)


def _object(address: str, size: str) -> io.BufferedReader:
    return stored(address, int(size))


def _tar_member(container: str, told: str) -> io.BufferedReader:
    header, start, size, crc = map(int, told.split())
    with ExitStack() as unless_kept:
        file = unless_kept.enter_context(opened(container))
        if zlib.crc32(part(file, header)(0, start - header)) != crc:
            raise Unusable(CHANGED)
        unless_kept.pop_all()
        return window(size, part(file, start), file=file)


def _packed_member(container: str, told: str) -> io.BufferedReader:
    start, size, end, points = told.split(" ", 3)
    stream = _stream(container, "", stamp(container), points, end)
    return window(int(size), lambda at, count: stream.give(int(start) + at, count))


def _zip_member(container: str, told: str) -> io.BufferedReader:
    header, packed, size, method, crc = map(int, told.split())
    with ExitStack() as unless_kept:
        file = unless_kept.enter_context(opened(container))
        begin = header + _header(file, header, crc)
        if method != DEFLATED:
            unless_kept.pop_all()
            return window(size, part(file, begin), crc, file)
        if max(packed, size) <= SMALL:
            data = _inflated(part(file, begin)(0, packed), size)
            return window(size, lambda at, count: data[at : at + count], crc)
    stream = _stream(container, f"{begin} {packed} {size} {crc}", stamp(container))
    return window(size, stream.give, crc)


def check(where: str) -> None:
    """Read all of a zip member, which is to be read in parts: only of the whole there is a checksum."""
    if "\0" in where and where.rsplit("\0", 3)[1].startswith("zip "):
        with opened(where) as file:
            while file.read(PIECE):
                pass


def _header(file: io.BufferedReader, at: int, crc: int) -> int:
    """The length of the header before a zip member's bytes."""
    file.seek(at)
    head = file.read(30)
    if len(head) < 30 or not head.startswith(b"PK\3\4"):
        raise Unusable("damaged: it is not where the archive's list says")
    if not head[6] & STREAMED and struct.unpack("<I", head[14:18])[0] != crc:
        raise Unusable(CHANGED)
    name, extra = struct.unpack("<HH", head[26:])
    return 30 + int(name) + int(extra)


def _inflated(packed: bytes, size: int) -> bytes:
    with blamed("damaged"):
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)  # 0 would be no limit
    if len(data) != size:
        raise Unusable("damaged: it unpacks to another size than the archive says")
    return data


@lru_cache(STREAMS)
def _stream(container: str, member: str, _: object, points: str = "", end: str = "") -> Inflated:
    """A gzip stream: all of a file, which is to have this end, or a zip member as one."""
    file = opened(container)
    if not member:
        if gzip_end(file) != end:
            file.close()
            raise Unusable(CHANGED)
        return Inflated(file, points)
    begin, packed, size, crc = map(int, member.split())
    give = _gzipped(part(file, begin), packed, struct.pack("<II", crc, size & 0xFFFFFFFF))
    return Inflated(window(len(GZIP) + packed + 8, give, file=file))


def gzip_end(file: io.BufferedReader) -> str:
    """What tells a gzip stream from another: its checksum, and how long it is packed and unpacked."""
    size = size_of(file)
    end = part(file, max(0, size - 8))(0, 8)
    file.seek(0)
    return f"{size}-{end.hex()}"


def _gzipped(deflated: Give, packed: int, end: bytes) -> Give:
    def give(at: int, count: int) -> bytes:
        inside = at - len(GZIP)
        if inside < 0:
            return GZIP[at : at + count]
        return deflated(inside, min(count, packed - inside)) if inside < packed else end[inside - packed :][:count]

    return give


def _row(container: str, told: str) -> io.BufferedReader:
    *numbers, mark, leaf = told.split(" ", 6)
    group, until, first, stop, index = map(int, numbers)
    near = _near(container, stamp(container), group, until, first, stop, mark, leaf)
    with ExitStack() as opening:
        if not near.holds(index):
            file = opening.enter_context(opened(container))
            if rows.mark(file) != mark:
                raise Unusable(CHANGED)
            near.read(file, index)
        data = near[index].as_buffer()
    if data is None:
        raise Unusable("the table has no bytes of it, at most a path")
    return window(data.size, lambda at, count: data[at : at + count].to_pybytes())


class TableRow(NamedTuple):
    """The rows of a table that are read together, and which of them is meant."""

    container: str
    group: int  # row group that they are counted from
    first: int
    stop: int
    number: int


def row_of(where: str) -> TableRow | None:
    """The row that a place is, if it is one."""
    container, locator, *_ = where.rsplit("\0", 3) if "\0" in where else ("", "")
    if not locator.startswith("row "):
        return None
    _, group, _, first, stop, index, *_ = locator.split(" ", 6)
    return TableRow(container, *map(int, (group, first, stop, index)))


@lru_cache(1)
def _near(container: str, _: object, group: int, until: int, first: int, stop: int, mark: str, leaf: str) -> rows.Near:
    _near.cache_clear()  # or there would be room for two
    return rows.Near(group, until, first, stop, leaf)


def stamp(container: str) -> object:
    """What changes where a file is written anew: what is kept of it is not to be used any more."""
    path = container.partition("\0")[0]
    try:
        about = os.stat(path)
    except OSError:  # an address, or gone
        return None
    return about.st_mtime_ns, about.st_size


OPENERS: dict[str, Callable[[str, str], io.BufferedReader]] = {
    "unusable": _unusable,
    "object": _object,
    "zip": _zip_member,
    "tar": _tar_member,
    "tar.gz": _packed_member,
    "row": _row,
}
