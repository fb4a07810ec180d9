"""Paths in an object store, used like paths on disk. Requests are retried."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import IO, Any

from upath.extensions import ProxyUPath

from pseudolabel.storage.byte_ranges import range_file
from pseudolabel.storage.retry import with_retries

READ_AHEAD_BYTES = 1 << 20  # bytes of one request, when a file is read in small pieces


class RemotePath(ProxyUPath):  # type: ignore[misc]
    """A path in a store, to read or delete. If the store fails, every method raises: no file is reported as absent.
    `stores.Bucket` and `lock.Lease` put whole objects: a file opened for writing could become visible half written."""

    __slots__ = ()

    @property
    def fs(self) -> Any:
        fs = super().fs
        fs.retries = 1  # attempts of s3fs: `with_retries` retries instead
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

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # fsspec's glob yields nothing on a failure
        """Yield the direct children whose names match `pattern`."""
        with suppress(FileNotFoundError):
            yield from (place for place in self.iterdir() if fnmatchcase(place.name, pattern))

    def read_bytes(self) -> bytes:
        return bytes(with_retries(lambda: self.fs.cat_file(self.path), self))

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *, encoding: str = "utf-8", **_: Any) -> IO[Any]:
        if mode not in ("r", "rb"):
            raise ValueError(f"{self} is read-only; it cannot be opened for writing")
        binary = range_file(int(self.stat().st_size), self._read_range, buffer=READ_AHEAD_BYTES)
        return binary if mode == "rb" else io.TextIOWrapper(binary, encoding)

    def _read_range(self, at: int, count: int) -> bytes:
        return bytes(with_retries(lambda: self.fs.cat_file(self.path, start=at, end=at + count), self))

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with_retries(lambda: self.fs.rm_file(self.path), self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no folders."""
