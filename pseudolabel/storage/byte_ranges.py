"""Windows: bytes that lie somewhere as a file one can seek in, for foreign libraries too, and the bytes
of a store, asked for by range."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from pseudolabel.contracts import UnusableSample

BUFFER_BYTES = 1 << 16
ReadAt = Callable[[int, int], bytes]  # (place, count) -> at most so many bytes from there on; none where they end


class RangeFile(io.RawIOBase):
    """`size` bytes, read by asking for any of them.

    `UnusableSample` where there are fewer, or others than `crc` says.
    """

    def __init__(self, size: int, give: ReadAt, crc: int | None, file: io.BufferedReader | None) -> None:
        self._size, self._give, self._crc, self._file = size, give, crc, file
        self._at = self._summed = self._sum = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # the stubs know no name for what it is
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
            raise UnusableSample(f"damaged from byte {self._at} on: it should have {self._size}")
        if self._crc is not None and self._at == self._summed:  # as long as it is read from its begin on
            self._summed, self._sum = self._at + len(data), zlib.crc32(data, self._sum)
            if self._summed == self._size and self._sum != self._crc:
                raise UnusableSample("damaged: its checksum differs")
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
    """A file of `size` bytes; `file` is closed with it."""
    return io.BufferedReader(RangeFile(size, give, crc, file), buffer)


def read_at(file: io.BufferedReader, start: int) -> ReadAt:
    """What lies in a file from `start` on."""

    def give(at: int, count: int) -> bytes:
        file.seek(start + at)
        return file.read(count)

    return give


def file_size(file: io.BufferedReader) -> int:
    """How many bytes a file has, or is said to have."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
