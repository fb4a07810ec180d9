"""Windows: bytes that lie somewhere as a file one can seek in, and the bytes of a store, asked for by range."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from errno import EIO
from functools import partial

from pseudolabel.addresses import located, patiently, reached
from pseudolabel.sample import T, Unusable

BUFFER = 1 << 16
ASKED = 1 << 20  # bytes that a store is asked for at once, at least

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


# --- stores ----------------------------------------------------------------------------------------------------------


def stored(address: str, size: int) -> io.BufferedReader:
    """An object of a store: what is read of it is asked for when it is read."""
    return window(size, partial(_ranged, address), buffer=ASKED)


def _ranged(address: str, at: int, count: int) -> bytes:
    there, path = reached(located(address))
    data: bytes = given(lambda: there.cat_file(path, start=at, end=at + count), address)
    return data[at:] if len(data) > count else data  # a server that knows no ranges sends it whole


def given(ask: Callable[[], T], address: str) -> T:
    """What a store answers. `Unusable` where it refuses this one object; OSError where it fails, or refuses all."""
    try:
        return patiently(partial(_answered, ask), address)
    except (FileNotFoundError, PermissionError) as refusal:
        if not address.startswith("http"):  # where nothing is known of folders
            there, folder = reached(located(address).parent)
            try:
                patiently(lambda: there.info(folder), address)
            except (FileNotFoundError, PermissionError):  # as where what gives access has run out
                raise OSError(EIO, f"the store refuses all of its folder: {refusal}", address) from None
        denied = isinstance(refusal, PermissionError)
        raise Unusable("no permission to read it" if denied else "gone since the scan") from None


def _answered(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as fault:
        status = getattr(fault, "status", 0)  # of aiohttp
        if 400 <= status < 500 and status not in (408, 425, 429):
            raise Unusable(f"the server answers {status}") from None
        raise
