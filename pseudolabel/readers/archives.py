"""Archives: the members of zip and tar files as places, found without unpacking anything."""

from __future__ import annotations

import atexit
import io
import os
import pickle
import struct
import tarfile
import time
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from functools import cache
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, NamedTuple

import numpy as np

from pseudolabel.readers.inflated import STRETCH, Inflated
from pseudolabel.readers.places import DEFLATED, Watched, opened
from pseudolabel.readers.windows import size_of
from pseudolabel.sample import Unusable

TARS = (".tar",)
PACKED_TARS = (".tar.gz", ".tgz")
SUFFIXES = (".zip", *TARS, *PACKED_TARS)

ROOM = 64 << 20  # bytes that anything may unpack to; what is larger may be
SWOLLEN = 200  # times its packed size: text is packed to a tenth, silence and blank pages are beyond
BOMB = f"unpacks to more than {ROOM >> 20} MB, and {SWOLLEN} times its packed size"


class Member(NamedTuple):
    """A file in an archive; without a locator it is no file one could read."""

    name: str
    size: int
    locator: str
    block: str = ""
    suffix: str = ""  # of its kind, where the name does not tell


def members(where: str) -> Iterator[Member]:
    """The files of an archive, in the order in which they lie. Raises `Unusable` where it is damaged, or has none."""
    found = _zip(where) if where.lower().endswith(".zip") else _tarred(where)
    first = next(found, None)
    if first is None:  # so ends a zip whose end is damaged, and a tar that begins with zeros
        raise Unusable("no file in it")
    yield first
    yield from found


def _tarred(where: str) -> Iterator[Member]:
    with Watched(where) as file:
        yield from _packed_tar(file, opened(where)) if where.lower().endswith(PACKED_TARS) else _tar(file, file)


def bomb(size: int, packed: int) -> bool:
    """Whether so many bytes are too many for what they were packed to."""
    return size > ROOM and size > SWOLLEN * packed


# --- zip -------------------------------------------------------------------------------------------------------------


def _zip(where: str) -> Iterator[Member]:
    with TemporaryFile() as kept:
        noted = _Noted(kept)
        with Watched(where) as file, file.blamed("no zip archive, or a damaged one"):
            _Zip(file, noted)
        begins = np.sort(np.frombuffer(noted.begins, np.uint64))
        for name, size, flags, method, begin, packed, crc in noted.members():
            after = begins[np.searchsorted(begins, np.uint64(begin), "right") :][:1]
            told = f"zip {begin} {packed} {size} {method} {crc}"  # a worker needs nothing of the list at the file's end
            if flags & 1:
                told = "unusable encrypted"
            elif method not in (zipfile.ZIP_STORED, DEFLATED):
                told = f"unusable packed by method {method} of zip; deflate it, or store it"
            elif len(after) and begin + packed > int(after[0]):
                told = "unusable it overlaps the next member of the archive"
            elif bomb(size, packed):
                told = f"unusable {BOMB}"
            yield Member(name, size, told)


class _Zip(zipfile.ZipFile):
    """A zip archive whose members are noted: to keep them takes zipfile 600 bytes for each."""

    NameToInfo = property(lambda self: {}, lambda self, _: None)
    filelist = property(lambda self: self._noted, lambda self, _: None)

    def __init__(self, file: Watched, noted: _Noted) -> None:
        self._noted = noted
        super().__init__(file)


class _Noted(list[zipfile.ZipInfo]):
    """Where the members begin, and in a file what else is to be known of them. As a list it stays empty."""

    def __init__(self, kept: IO[bytes]) -> None:
        super().__init__()
        self.begins, self._file = array("Q"), kept

    def append(self, info: zipfile.ZipInfo) -> None:
        if not info.is_dir():
            self.begins.append(info.header_offset)
            about = (info.flag_bits, info.compress_type, info.header_offset, info.compress_size, info.CRC)
            pickle.dump((info.filename, info.file_size, *about), self._file)

    def members(self) -> Iterator[tuple[str, int, int, int, int, int, int]]:
        self._file.seek(0)
        for _ in self.begins:
            yield pickle.load(self._file)


# --- tar -------------------------------------------------------------------------------------------------------------


def _tar(file: Watched, stream: Watched | _Packed, packed: int = 0, points: str = "") -> Iterator[Member]:
    """`packed`: the bytes of all of it, where it is gzipped. Small ones are kept whole, and have no blocks."""
    with file.blamed("no tar archive"):
        header = _Last(stream)
        tar = tarfile.TarFile(fileobj=header)  # type: ignore[arg-type]
    while True:
        with file.blamed(f"damaged from byte {tar.offset} on"):
            info = tar.next()
        if info is None:
            break
        tar.members.clear()  # type: ignore[attr-defined] # it keeps them all
        if not info.isdir():
            block = str(info.offset_data // STRETCH) if packed > 2 * STRETCH else ""
            yield Member(info.name, info.size, _located(info, packed, points), block)
    if header.last.strip(b"\0"):  # the last header: what is none ends an archive without a word
        raise Unusable(f"damaged from byte {tar.offset} on: no header of a file")
    if len(header.last) < tarfile.BLOCKSIZE:
        raise Unusable(f"ends at byte {tar.offset}, without the mark of an archive's end")


def _located(info: tarfile.TarInfo, packed: int, points: str) -> str:
    if info.issym() or info.islnk():
        return f"unusable a link, to {info.linkname}; pack the file itself"
    if info.issparse():
        return "unusable a sparse file; pack it without --sparse"
    if packed and bomb(info.size, packed):
        return f"unusable {BOMB}"
    if not info.isreg():
        return ""
    place = f"{info.offset_data} {info.size}"
    return f"tar.gz {place} {points}" if packed else f"tar {place}"


def _packed_tar(file: Watched, own: io.BufferedReader) -> Iterator[Member]:
    """Read all of it: that finds the seek points, which workers on this machine then need not look for."""
    packed, points = size_of(own), os.path.join(_seek_points(), f"{time.time_ns()}")
    stream = _Packed(file, own)
    try:
        yield from _tar(file, stream, packed, points)
        with file.blamed("damaged"):
            while stream.read(1 << 20):  # to its end, where the checksum is
                pass
            stream.check(packed)
    finally:
        stream.inflated.export(points)


@cache
def _seek_points() -> str:
    """A folder for them, as long as this process lives."""
    folder = TemporaryDirectory(prefix="pseudolabel-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


class _Packed:
    """A gzip stream, read from its begin to its end, and not let swell."""

    def __init__(self, watched: Watched, file: io.BufferedReader) -> None:
        self._watched, self._file, self._at, self._crc = watched, file, 0, 0
        self.inflated = Inflated(file)

    def read(self, count: int) -> bytes:
        if bomb(self._at, self._file.tell()):
            raise Unusable(f"from here on it {BOMB}")
        parts = []
        while count and (part := self._give(count)):
            self._at, self._crc, count = self._at + len(part), zlib.crc32(part, self._crc), count - len(part)
            parts.append(part)
        return b"".join(parts)

    def _give(self, count: int) -> bytes:
        try:
            return self.inflated.give(self._at, count)
        except OSError as fault:
            self._watched.fault = fault
            raise

    def seek(self, offset: int) -> int:
        while self._at < offset and self.read(min(offset - self._at, 1 << 20)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at

    def check(self, packed: int) -> None:
        """Raise `Unusable` where the checksum at the end is another; of several streams in one, that is not known."""
        self._watched.seek(packed - 8)
        crc, size = struct.unpack("<II", self._watched.read(8))
        if size == self._at & 0xFFFFFFFF and crc != self._crc:
            raise Unusable("damaged: its checksum differs")


class _Last:
    """A file for tarfile that knows what was read of it last."""

    def __init__(self, stream: Watched | _Packed) -> None:
        self._stream, self.last = stream, b""
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int) -> bytes:
        self.last = self._stream.read(count)
        return self.last
