"""Archives: the members of zip and tar files as places, found without unpacking anything."""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
import zipfile
from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np

from pseudolabel.readers.inflated import STRETCH
from pseudolabel.readers.places import DEFLATED, Watched
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
    """The files of an archive, in the order in which they lie. `Unusable` is raised where it is damaged."""
    name = where.lower()
    if name.endswith(".zip"):
        yield from _zip(where)
    else:
        with Watched(where) as file:
            yield from _packed_tar(file) if name.endswith(PACKED_TARS) else _tar(file, file)


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


def _tar(file: Watched, stream: Watched | _Packed, packed: int = 0) -> Iterator[Member]:
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
            yield Member(info.name, info.size, _located(info, packed), block)
    if header.last.strip(b"\0"):  # the last header: what is none ends an archive without a word
        raise Unusable(f"damaged from byte {tar.offset} on: no header of a file")
    if len(header.last) < tarfile.BLOCKSIZE:
        raise Unusable(f"ends at byte {tar.offset}, without the mark of an archive's end")


def _located(info: tarfile.TarInfo, packed: int) -> str:
    if info.issym() or info.islnk():
        return f"unusable a link, to {info.linkname}; pack the file itself"
    if info.issparse():
        return "unusable a sparse file; pack it without --sparse"
    if packed and bomb(info.size, packed):
        return f"unusable {BOMB}"
    return f"tar{'.gz' * bool(packed)} {info.offset_data} {info.size}" if info.isreg() else ""


def _packed_tar(file: Watched) -> Iterator[Member]:
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    stream = _Packed(file, gzip.GzipFile(fileobj=file))
    yield from _tar(file, stream, packed)
    with file.blamed("damaged"):
        while stream.read(1 << 20):  # to its end, where the checksum is
            pass


class _Packed:
    """A gzip stream that is not let swell."""

    def __init__(self, file: Watched, unpacked: gzip.GzipFile) -> None:
        self._file, self._unpacked = file, unpacked

    def read(self, count: int) -> bytes:
        if bomb(self._unpacked.tell(), self._file.tell()):
            raise Unusable(f"from here on it {BOMB}")
        return self._unpacked.read(count)

    def seek(self, offset: int) -> int:
        while (left := offset - self._unpacked.tell()) > 0 and self.read(min(left, 1 << 20)):
            pass
        return self._unpacked.tell()

    def tell(self) -> int:
        return self._unpacked.tell()


class _Last:
    """A file for tarfile that knows what was read of it last."""

    def __init__(self, stream: Watched | _Packed) -> None:
        self._stream, self.last = stream, b""
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, count: int) -> bytes:
        self.last = self._stream.read(count)
        return self.last
