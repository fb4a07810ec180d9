"""Find the members of zip and tar archives without unpacking them."""

from __future__ import annotations

import atexit
import gzip
import io
import os
import stat
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.sources.decompression_bombs import BOMB_REASON, is_bomb
from pseudolabel.readers.sources.gzip_index import STRETCH_BYTES, SeekableGzip
from pseudolabel.readers.sources.location import Location, unusable_locator
from pseudolabel.readers.sources.opening import (
    DEFLATED,
    MAX_INFLATED_BYTES,
    FaultRecordingFile,
    gzip_end,
    open_file,
    read_head,
)
from pseudolabel.readers.sources.recognition import recognise
from pseudolabel.storage.byte_ranges import file_size

TARS = (".tar",)
PACKED_TARS = (".tar.gz", ".tgz")
SUFFIXES = (".zip", *TARS, *PACKED_TARS)
MAX_DIRECTORY_BYTES = 64 << 20  # bytes of a zip archive's central directory
MAX_ZIP_MEMBERS = 250_000  # zipfile takes about 600 bytes of memory for each: 150 MB
MAX_HEADER_BYTES = 1 << 20  # bytes of all headers before a tar member
MAX_SEEK_POINT_BYTES = 1 << 30  # bytes of all stored seek points


class Member(NamedTuple):
    """A member of an archive. `locator` is "" if the member is neither a file nor a link."""

    name: str
    size: int
    locator: str
    block: str = ""
    suffix: str = ""  # suffix of the media type, if the name has none


Doubt = Callable[[str], int]  # member's name -> first bytes that tell its format; 0: the name tells it


def no_doubt(name: str) -> int:
    return 0


def members(where: str, doubt: Doubt = no_doubt) -> Iterator[Member]:
    """Yield the files of an archive in stored order. Raise `UnusableSample` if it is damaged or contains no file.

    If `doubt` asks for first bytes of a member, set the member's `suffix` by its content.
    """
    found = _zip(where, doubt) if where.lower().endswith(".zip") else _tar_members(where, doubt)
    first = next(found, None)
    if first is None:  # also a zip with a damaged end, or a tar that begins with zeros
        raise UnusableSample("the archive contains no file")
    yield first
    yield from found


def _tar_members(where: str, doubt: Doubt) -> Iterator[Member]:
    with FaultRecordingFile(open_file(where)) as file:
        packed = where.lower().endswith(PACKED_TARS)
        yield from _packed_tar(file, open_file(where), doubt) if packed else _tar(file, file, doubt)


# --- zip -------------------------------------------------------------------------------------------------------------


def _zip(where: str, doubt: Doubt) -> Iterator[Member]:
    with FaultRecordingFile(open_file(where)) as file, file.decoding_errors("not a zip archive, or damaged"):
        infos = zipfile.ZipFile(_ZipDirectory(file, MAX_DIRECTORY_BYTES)).infolist()  # type: ignore[call-overload]
    for info in infos:
        if info.create_system == 0:  # some Windows tools separate folders by backslashes
            info.filename = info.filename.replace("\\", "/")
    files = [info for info in infos if not info.is_dir()]
    begins = np.sort(np.array([info.header_offset for info in files], np.int64))
    for info in files:
        begin, packed, size, method = info.header_offset, info.compress_size, info.file_size, info.compress_type
        first, after = (int(np.searchsorted(begins, begin, side)) for side in ("left", "right"))
        until = int(begins[after]) if after < len(begins) else sys.maxsize
        why = _why_unusable(info, overlap=after - first > 1 or begin + packed > until)
        # with the numbers of a member, a worker needs no central directory
        told = unusable_locator(why) if why else f"zip {begin} {packed} {size} {method} {info.CRC}"
        block = info.filename if method == DEFLATED and max(packed, size) > MAX_INFLATED_BYTES else ""
        suffix = ""
        if size and (count := doubt(info.filename)):
            suffix = recognise(info.filename, read_head("\0".join(Location(where, told, block, info.filename)), count))
        yield Member(info.filename, size, told, block, suffix)


def _why_unusable(info: zipfile.ZipInfo, overlap: bool) -> str:
    """Return why a member of a zip cannot be read, "" if it can."""
    if info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16):
        return "a link; pack the file itself"
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, DEFLATED):
        return f"packed by method {info.compress_type} of zip; deflate it, or store it"
    if info.header_offset < 0:
        return "the beginning of the archive is missing, and this member is in it"
    if overlap:
        return "it overlaps another member of the archive"
    return BOMB_REASON if is_bomb(info.file_size, info.compress_size) else ""


# --- tar -------------------------------------------------------------------------------------------------------------


def _tar(
    file: FaultRecordingFile, stream: FaultRecordingFile | _Packed, doubt: Doubt, packed: int = 0, points: str = ""
) -> Iterator[Member]:
    """Yield the members. `packed`: bytes of a gzipped archive, 0 for others. Only members of large ones get a block."""
    with file.decoding_errors("not a tar archive"):
        headers = _Headers(stream, MAX_HEADER_BYTES)
        tar = tarfile.TarFile(fileobj=headers)  # type: ignore[arg-type]
    while True:
        with file.decoding_errors(f"damaged from byte {tar.offset} on"):
            info = tar.next()
        if info is None:
            break
        head = headers.take()[info.offset - info.offset_data :]
        tar.members.clear()  # type: ignore[attr-defined] # tarfile would keep all members
        if not info.isdir():
            block = str(info.offset_data // STRETCH_BYTES) if packed > 2 * STRETCH_BYTES else ""
            suffix = ""
            if info.isreg() and not info.issparse() and (count := doubt(info.name)):
                with file.decoding_errors("damaged"):
                    stream.seek(info.offset_data)
                    suffix = recognise(info.name, stream.read(min(info.size, count)))
            yield Member(info.name, info.size, _member_location(info, head, packed, points), block, suffix)
    if headers.last.strip(b"\0"):  # tarfile ends without an error at an invalid header
        raise UnusableSample(f"damaged from byte {tar.offset} on: no valid header")
    if len(headers.last) < tarfile.BLOCKSIZE:
        raise UnusableSample(f"ends at byte {tar.offset} without the end-of-archive marker")
    with file.decoding_errors("damaged"):
        while rest := stream.read(1 << 20):
            if rest.strip(b"\0"):
                raise UnusableSample("data follows the end-of-archive marker; pack the archive again")
    file.check()


def _member_location(info: tarfile.TarInfo, head: bytes, packed: int, points: str) -> str:
    if info.islnk():
        return unusable_locator(f"a hard link, to {info.linkname}; pack it with --hard-dereference")
    if info.issym():
        return unusable_locator(f"a link, to {info.linkname}; pack the file itself")
    if info.issparse():
        return unusable_locator("a sparse file; pack it without --sparse")
    if packed and is_bomb(info.size, packed):
        return unusable_locator(BOMB_REASON)
    if not info.isreg():
        return ""
    if packed:
        return f"tar.gz {info.offset_data} {info.size} {points}"
    return f"tar {info.offset_data - len(head)} {info.offset_data} {info.size} {zlib.crc32(head)}"


def _packed_tar(file: FaultRecordingFile, own: io.BufferedReader, doubt: Doubt) -> Iterator[Member]:
    """Read the whole archive, and save the seek points found, for the workers on this machine."""
    packed, points, end = file_size(own), os.path.join(_folder(), f"{time.time_ns()}"), gzip_end(own)
    stream = _Packed(file, own)
    try:
        yield from _tar(file, stream, doubt, packed, f"{end} {points}")
        with file.decoding_errors("damaged"):
            stream.check(packed)  # read to the end, where the checksum is
    finally:
        with suppress(OSError):  # for example a full disk: seek points only save time
            if sum(entry.stat().st_size for entry in os.scandir(_folder())) < MAX_SEEK_POINT_BYTES:
                stream.inflated.export(points)


@cache
def _folder() -> str:
    """Return a temporary folder for seek points, deleted when this process ends."""
    folder = TemporaryDirectory(prefix="pseudolabel-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


class _Packed:
    """A gzip stream, read once from start to end. `read` raises `UnusableSample` at a decompression bomb."""

    def __init__(self, watched: FaultRecordingFile, file: io.BufferedReader) -> None:
        self._watched, self._file, self._at, self._crc = watched, file, 0, 0
        self.inflated = SeekableGzip(file)

    def read(self, count: int) -> bytes:
        if is_bomb(self._at, self._file.tell()):
            raise UnusableSample(f"reading stopped: the archive {BOMB_REASON}")
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
        """Raise `UnusableSample` on a checksum mismatch. Read a file of several gzip members again to check each."""
        self._watched.seek(packed - 8)
        crc, size = struct.unpack("<II", self._watched.read(8))
        if size == self._at & 0xFFFFFFFF:
            if crc != self._crc:
                raise UnusableSample("damaged: checksum mismatch")
            return
        self._watched.seek(0)
        again = gzip.GzipFile(fileobj=self._watched)
        while again.read(1 << 20):
            pass


class _Short:
    """A file for zipfile and tarfile. It raises `UnusableSample` if a header claims a size above `most` bytes."""

    def __init__(self, stream: FaultRecordingFile | _Packed, most: int) -> None:
        self._stream, self._most = stream, most
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int = -1) -> bytes:
        if count > self._most:
            raise UnusableSample(f"the headers of the archive claim more than {self._most >> 20} MB")
        return self._stream.read(count)


class _ZipDirectory(_Short):
    """A `_Short` for the central directory, which zipfile reads at once. It raises if there are too many members."""

    def read(self, count: int = -1) -> bytes:
        data = super().read(count)
        if (count := data.count(b"PK\1\2")) > MAX_ZIP_MEMBERS:
            most = f"more than {MAX_ZIP_MEMBERS:,} members"
            raise UnusableSample(f"{most}; split the archive, unpack it, or pack a tar", count)
        return data


class _Headers(_Short):
    """A `_Short` for the headers of a tar archive. It records the bytes read."""

    last = _taken = b""

    def read(self, count: int = -1) -> bytes:
        if len(self._taken) > self._most:  # many small headers: the next read raises
            count = self._most + 1
        self.last = super().read(count)
        self._taken += self.last
        return self.last

    def take(self) -> bytes:
        """Return the bytes read since the last call."""
        taken, self._taken = self._taken, b""
        return taken
