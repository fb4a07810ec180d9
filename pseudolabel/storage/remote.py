"""A path in a store: opened, listed and joined as a path on disk is, and asked patiently."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import IO, Any

from upath.extensions import ProxyUPath

from pseudolabel.storage.retry import with_retries

READ_AHEAD_BYTES = 1 << 20  # bytes asked for at once, where a file is read bit by bit


class RemotePath(ProxyUPath):  # type: ignore[misc]
    """What lies at an address. A store that fails raises, whatever is asked: never is a file said not to be there.

    It is for reading; `stores.Bucket` writes, for what is open for writing may be published half.
    """

    __slots__ = ()

    @property
    def fs(self) -> Any:
        fs = super().fs
        fs.retries = 1  # s3fs's own: `with_retries` asks again
        return fs

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self._kind() != ""

    def is_dir(self) -> bool:
        return self._kind() == "directory"

    def is_file(self) -> bool:
        return self._kind() == "file"

    def _kind(self) -> str:
        try:
            return str(with_retries(lambda: self.fs.info(self.path), self)["type"])
        except FileNotFoundError:
            return ""

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        return with_retries(super().stat, self)

    def iterdir(self) -> Iterator[RemotePath]:
        names = with_retries(lambda: self.fs.ls(self.path, detail=False), self)
        yield from (self / name for name in sorted(path.rpartition("/")[2] for path in names) if name)

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # fsspec's own takes a fault for an empty folder
        """What lies right in this folder and has such a name."""
        with suppress(FileNotFoundError):
            yield from (place for place in self.iterdir() if fnmatchcase(place.name, pattern))

    def read_bytes(self) -> bytes:
        return bytes(with_retries(lambda: self.fs.cat_file(self.path), self))

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *, encoding: str = "utf-8", **_: Any) -> IO[Any]:
        if mode not in ("r", "rb"):
            raise ValueError(f"{self} is not to be opened for writing")
        binary = io.BufferedReader(_RangeReader(self), READ_AHEAD_BYTES)
        return binary if mode == "rb" else io.TextIOWrapper(binary, encoding)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with_retries(lambda: self.fs.rm_file(self.path), self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """A store has no folders."""


class _RangeReader(io.RawIOBase):
    """A file of a store, of which each piece is asked for by itself."""

    def __init__(self, place: RemotePath) -> None:
        self._place, self._at = place, 0
        self._size = int(place.stat().st_size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        place, start = self._place, self._at
        piece = with_retries(lambda: place.fs.cat_file(place.path, start=start, end=stop), place)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
