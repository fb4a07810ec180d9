"""Files: atomic writes, checksums, and modification times with sizes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path

from pseudolabel.storage.stores import store


def file_stamp(path: Path) -> tuple[int, int]:
    """Return the modification time in ns and the size in bytes; (0, 0) if `stat` fails."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an `OSError` the path of the file that is written: `write` and `fsync` name none, as on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # NumPy's: it says only how much was not written
            raise OSError(ENOSPC, f"not everything was written ({error})", str(path)) from error
        error.filename = error.filename or str(path)
        raise


def write_atomic(path: Path, parts: Iterable[str]) -> None:
    """Write a text file atomically: readers see the old file or the whole new one. On return the new one is durable."""
    home = store(path.parent)
    with naming(path), home.stage(path.name) as staged:
        with staged.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        home.commit(staged, path.name)
        home.fsync("")
