"""Windows: bytes that lie somewhere as a file one can seek in, for foreign libraries too, and the bytes
of a store, asked for by range."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL, EIO
from functools import partial

from pseudolabel.addresses import located, patiently, reached
from pseudolabel.sample import Refused, T, Unusable, blamed

BUFFER = 1 << 16
ASKED = 1 << 20  # bytes that a store is asked for at once, at least
WHOLE = 64 << 20  # bytes of an object that are taken where but a range was asked for

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


# --- for foreign libraries -------------------------------------------------------------------------------------------


class Watched:
    """A file for a foreign library, which takes any fault of the disk for the end of the file: here it is kept.

    Raises `Unusable` where it is empty.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self.fault: OSError | Refused | None = None
        self.damage = ""  # what is wrong with the archive it lies in
        self._file = file
        if not size_of(self._file):
            self._file.close()
            raise Unusable("empty file")

    def read(self, count: int = -1) -> bytes:
        try:
            return self._file.read(count)
        except (OSError, Refused) as fault:
            self.fault = fault
        except Unusable as damage:
            self.damage = str(damage)
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as fault:
            if fault.errno != EINVAL:  # a place before the begin: of the library's making
                self.fault = fault
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    @contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Blame the file for whatever a foreign library raises, unless it is the disk that fails."""
        try:
            with blamed(what):
                yield
        except Unusable:
            self.check()
            raise

    def check(self) -> None:
        """Raise what was kept, be it the disk's fault or that of what the file lies in."""
        if self.fault:
            raise self.fault from None
        if self.damage:
            raise Unusable(self.damage) from None

    def __repr__(self) -> str:
        return "the file"  # in the library's messages

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


# --- stores ----------------------------------------------------------------------------------------------------------


def stored(address: str, size: int) -> io.BufferedReader:
    """An object of a store: what is read of it is asked for when it is read."""
    return window(size, partial(_ranged, address), buffer=ASKED)


def _ranged(address: str, at: int, count: int) -> bytes:
    there, path = reached(located(address))
    data: bytes = given(lambda: there.cat_file(path, start=at, end=at + count), address)
    if len(data) > max(count, WHOLE):
        raise Refused(f"{address.partition('?')[0]}: the server sends no ranges of it; download it first")
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
