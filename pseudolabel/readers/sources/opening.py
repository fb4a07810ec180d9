"""Open locations, the `where` of an extent. Every read of a source goes through this module.

A location is a path on disk. For an object of a store, a member of an archive or a row of a table it is the container,
the locator, the block and the name, joined by NUL.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EINVAL
from functools import lru_cache
from pathlib import Path

from pseudolabel.contracts import SampleError, UnusableSample, UserError, decoding_errors
from pseudolabel.readers.sources import parquet_media
from pseudolabel.readers.sources.gzip_index import PIECE_BYTES, SeekableGzip
from pseudolabel.readers.sources.object_store import open_object
from pseudolabel.storage.byte_ranges import ReadAt, file_size, range_file, read_at
from pseudolabel.storage.files import file_stamp
from pseudolabel.storage.placeholders import refuse_placeholder

# --- for third-party libraries ---------------------------------------------------------------------------------------


class FaultRecordingFile:
    """A file for third-party libraries. A failed read is recorded, and returns b"" like the end of the file; `check`
    raises the recorded error. The constructor raises `UnusableSample` if the file is empty."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.fault: OSError | UserError | None = None
        self.damage = ""  # damage of the archive that contains the file
        self._file = file
        if not file_size(self._file):
            self._file.close()
            raise UnusableSample("empty file")

    def read(self, count: int = -1) -> bytes:
        try:
            return self._file.read(count)
        except (OSError, UserError) as fault:
            self.fault = fault
        except UnusableSample as damage:
            self.damage = str(damage)
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as fault:
            if fault.errno != EINVAL:  # EINVAL: the library seeks before the start
                self.fault = fault
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    @contextmanager
    def decoding_errors(self, what: str) -> Iterator[None]:
        """Convert any exception of a third-party library into `UnusableSample`; a recorded error is raised instead."""
        try:
            with decoding_errors(what):
                yield
        except SampleError:
            self.check()
            raise

    def check(self) -> None:
        """Raise the recorded error: of the disk, or damage of the archive that contains the file."""
        if self.fault:
            raise self.fault from None
        if self.damage:
            raise UnusableSample(self.damage) from None

    def __repr__(self) -> str:
        return "the file"  # appears in messages of the library

    def __enter__(self) -> FaultRecordingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


MAX_INFLATED_BYTES = 4 << 20  # bytes of a zip member; larger members are inflated in chunks
MAX_OPEN_STREAMS = 3  # deflated streams that a process keeps open
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # header that turns deflated bytes into a gzip stream
DEFLATED = 8  # compression method of zip
DATA_DESCRIPTOR = 8  # zip flag: the checksum follows the data
ARCHIVE_CHANGED = "the archive or table was changed since the scan"


def open_file(where: str) -> io.BufferedReader:
    """Open a location as a seekable file. Raise `UnusableSample` for a bad file, `OSError` for a bad disk or store."""
    if "\0" not in where:
        return _file(where)
    container, locator, *_ = where.rsplit("\0", 3)
    kind, _, told = locator.partition(" ")
    return OPENERS[kind](container, told)


def read_head(where: str, count: int) -> bytes:
    """Return up to `count` first bytes of a location; b"" if unusable. An object of a store needs one request."""
    try:
        with open_file(where) as file:
            file.raw.seek(0, os.SEEK_SET)  # the buffer may have read ahead
            return file.raw.read(count) or b""
    except UnusableSample:
        return b""


def _file(path: str, _: str = "") -> io.BufferedReader:
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise missing_file_error(path) from None
    except PermissionError:
        raise UnusableSample("no permission to read it") from None
    with ExitStack() as unless_kept:
        unless_kept.enter_context(file)
        refuse_placeholder(file.peek())
        unless_kept.pop_all()
    return file


def missing_file_error(path: str) -> Exception:
    """Return `UnusableSample` if only the file is gone, `FileNotFoundError` if its folder is gone too (lost mount)."""
    if os.path.isdir(os.path.dirname(path)):
        return UnusableSample("gone since the scan")
    return FileNotFoundError(2, "its folder is gone", path)


# --- kinds of locations ----------------------------------------------------------------------------------------------


def _unusable(_: str, told: str) -> io.BufferedReader:
    count, _, reason = told.partition(" ")
    raise UnusableSample(reason, int(count))


def _tar_member(container: str, told: str) -> io.BufferedReader:
    header, start, size, crc = map(int, told.split())
    with ExitStack() as unless_kept:
        file = unless_kept.enter_context(open_file(container))
        if zlib.crc32(read_at(file, header)(0, start - header)) != crc:
            raise UnusableSample(ARCHIVE_CHANGED)
        unless_kept.pop_all()
        return range_file(size, read_at(file, start), file=file)


def _packed_member(container: str, told: str) -> io.BufferedReader:
    start, size, end, points = told.split(" ", 3)
    stream = _stream(container, "", container_stamp(container), points, end)
    return range_file(int(size), lambda at, count: stream.give(int(start) + at, count))


def _zip_member(container: str, told: str) -> io.BufferedReader:
    header, packed, size, method, crc = map(int, told.split())
    with ExitStack() as unless_kept:
        file = unless_kept.enter_context(open_file(container))
        begin = header + _header(file, header, crc)
        if method != DEFLATED:
            unless_kept.pop_all()
            return range_file(size, read_at(file, begin), crc, file)
        if max(packed, size) <= MAX_INFLATED_BYTES:
            data = _inflate(read_at(file, begin)(0, packed), size)
            return range_file(size, lambda at, count: data[at : at + count], crc)
    stream = _stream(container, f"{begin} {packed} {size} {crc}", container_stamp(container))
    return range_file(size, stream.give, crc)


def check_checksum(where: str) -> None:
    """Read a whole zip member to check its checksum. Reads of single ranges cannot check it."""
    if "\0" in where and where.rsplit("\0", 3)[1].startswith("zip "):
        with open_file(where) as file:
            while file.read(PIECE_BYTES):
                pass


def _header(file: io.BufferedReader, at: int, crc: int) -> int:
    """Return the length in bytes of the header before a zip member's data."""
    file.seek(at)
    head = file.read(30)
    if len(head) < 30 or not head.startswith(b"PK\3\4"):
        raise UnusableSample("damaged: no member at the position that the archive's directory gives")
    if not head[6] & DATA_DESCRIPTOR and struct.unpack("<I", head[14:18])[0] != crc:
        raise UnusableSample(ARCHIVE_CHANGED)
    name, extra = struct.unpack("<HH", head[26:])
    return 30 + int(name) + int(extra)


def _inflate(packed: bytes, size: int) -> bytes:
    with decoding_errors("damaged"):
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)  # a limit of 0 means no limit
    if len(data) != size:
        raise UnusableSample("damaged: the unpacked size differs from the archive's directory")
    return data


@lru_cache(MAX_OPEN_STREAMS)
def _stream(container: str, member: str, _: object, points: str = "", end: str = "") -> SeekableGzip:
    """Return a gzip stream: a whole file, whose `gzip_end` must be `end`, or a zip member."""
    file = open_file(container)
    if not member:
        if gzip_end(file) != end:
            file.close()
            raise UnusableSample(ARCHIVE_CHANGED)
        return SeekableGzip(file, points)
    begin, packed, size, crc = map(int, member.split())
    give = _as_gzip(read_at(file, begin), packed, struct.pack("<II", crc, size & 0xFFFFFFFF))
    return SeekableGzip(range_file(len(GZIP_HEADER) + packed + 8, give, file=file))


def gzip_end(file: io.BufferedReader) -> str:
    """Return a text that identifies a gzip file: its size, and its last 8 bytes (checksum and unpacked size)."""
    size = file_size(file)
    end = read_at(file, max(0, size - 8))(0, 8)
    file.seek(0)
    return f"{size}-{end.hex()}"


def _as_gzip(deflated: ReadAt, packed: int, end: bytes) -> ReadAt:
    def give(at: int, count: int) -> bytes:
        inside = at - len(GZIP_HEADER)
        if inside < 0:
            return GZIP_HEADER[at : at + count]
        return deflated(inside, min(count, packed - inside)) if inside < packed else end[inside - packed :][:count]

    return give


def _row(container: str, told: str) -> io.BufferedReader:
    *numbers, mark, leaf = told.split(" ", 6)
    group, until, first, stop, index = map(int, numbers)
    near = _near(container, container_stamp(container), group, until, first, stop, mark, leaf)
    with ExitStack() as opening:
        if not near.holds(index):
            file = opening.enter_context(open_file(container))
            if parquet_media.file_mark(file) != mark:
                raise UnusableSample(ARCHIVE_CHANGED)
            near.read(file, index)
        data = near[index].as_buffer()
    if data is None:
        raise UnusableSample("the row has no bytes, and a path alone is not read")
    return range_file(data.size, lambda at, count: data[at : at + count].to_pybytes())


@lru_cache(1)
def _near(
    container: str, _: object, group: int, until: int, first: int, stop: int, mark: str, leaf: str
) -> parquet_media.RowCache:
    _near.cache_clear()  # otherwise two caches would be in memory
    return parquet_media.RowCache(group, until, first, stop, leaf)


def forget_open_files() -> None:
    """Close what is kept open between reads. A fork calls it, since its parent reads the same open files."""
    _stream.cache_clear()
    _near.cache_clear()


def container_stamp(container: str) -> object:
    """Return the `file_stamp` of the container's file, as a part of cache keys."""
    return file_stamp(Path(container.partition("\0")[0]))


OPENERS: dict[str, Callable[[str, str], io.BufferedReader]] = {
    "unusable": _unusable,
    "file": _file,
    "object": lambda address, size: open_object(address, int(size)),
    "zip": _zip_member,
    "tar": _tar_member,
    "tar.gz": _packed_member,
    "row": _row,
}
