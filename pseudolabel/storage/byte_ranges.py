"""Windows: bytes that lie somewhere as a file one can seek in, for foreign libraries too, and the bytes
of a store, asked for by range."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from pseudolabel.contracts import Unusable

BUFFER = 1 << 16
Give = Callable[[int, int], bytes]  # (place, count) -> at most so many bytes from there on; none where they end


class Window(io.RawIOBase):
    """`size` bytes, read by asking for any of them. `Unusable` where there are fewer, or others than `crc` says."""

    def __init__(self, size: int, give: Give, crc: int | None, file: io.BufferedReader | None) -> None:
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
            raise Unusable(f"damaged from byte {self._at} on: it should have {self._size}")
        if self._crc is not None and self._at == self._summed:  # as long as it is read from its begin on
            self._summed, self._sum = self._at + len(data), zlib.crc32(data, self._sum)
            if self._summed == self._size and self._sum != self._crc:
                raise Unusable("damaged: its checksum differs")
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


def window(
    size: int, give: Give, crc: int | None = None, file: io.BufferedReader | None = None, buffer: int = BUFFER
) -> io.BufferedReader:
    """A file of `size` bytes; `file` is closed with it."""
    return io.BufferedReader(Window(size, give, crc, file), buffer)


def part(file: io.BufferedReader, start: int) -> Give:
    """What lies in a file from `start` on."""

    def give(at: int, count: int) -> bytes:
        file.seek(start + at)
        return file.read(count)

    return give


def size_of(file: io.BufferedReader) -> int:
    """How many bytes a file has, or is said to have."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
