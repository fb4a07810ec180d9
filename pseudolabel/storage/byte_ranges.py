"""Byte ranges as seekable file objects, for ranges of a file, of an archive member or of a store's object."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from pseudolabel.contracts import UnusableSample
from pseudolabel.storage.placeholders import refuse_placeholder

BUFFER_BYTES = 1 << 16
ReadAt = Callable[[int, int], bytes]  # (position, count) -> at most `count` bytes; b"" at the end


class RangeFile(io.RawIOBase):
    """A raw file of `size` bytes, read through the function `give`. Reading raises `UnusableSample` if bytes are
    missing, for a placeholder, or if the CRC-32 of a file read from start to end is not `crc`."""

    def __init__(self, size: int, give: ReadAt, crc: int | None, file: io.BufferedReader | None) -> None:
        self._size, self._give, self._crc, self._file = size, give, crc, file
        self._at = self._summed = self._sum = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # the stubs' type has no public name
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        parts = []
        while part := self._read(self._size - self._at):
            parts.append(part)
        return b"".join(parts)

    def _read(self, count: int) -> bytes:
        count = min(count, self._size - self._at)
        if count <= 0:
            return b""
        data = self._give(self._at, count)[:count]
        if not data:
            raise UnusableSample(f"damaged from byte {self._at} on: {self._size} bytes expected")
        if self._at == 0:
            refuse_placeholder(data)
        if self._crc is not None and self._at == self._summed:  # read from the start without gaps
            self._summed, self._sum = self._at + len(data), zlib.crc32(data, self._sum)
            if self._summed == self._size and self._sum != self._crc:
                raise UnusableSample("damaged: checksum mismatch")
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def range_file(
    size: int, give: ReadAt, crc: int | None = None, file: io.BufferedReader | None = None, buffer: int = BUFFER_BYTES
) -> io.BufferedReader:
    """Return a buffered `RangeFile` of `size` bytes. Closing it also closes `file`."""
    return io.BufferedReader(RangeFile(size, give, crc, file), buffer)


def read_at(file: io.BufferedReader, start: int) -> ReadAt:
    """Return a function that reads `file`, with positions counted from `start`."""

    def give(at: int, count: int) -> bytes:
        file.seek(start + at)
        return file.read(count)

    return give


def file_size(file: io.BufferedReader) -> int:
    """Return the size of a file in bytes, as its `seek` reports it, and go back to the start."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
