"""Stores: a dataset lies on a disk or in a bucket, and this is all that differs for who writes it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from errno import EAGAIN
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pseudolabel.contracts import hash64
from pseudolabel.storage.layout import LOCK, MANIFEST
from pseudolabel.storage.lock import CheckLock, Notify, hold_lock, lock_folder
from pseudolabel.storage.retry import with_retries
from pseudolabel.storage.urls import is_url

if TYPE_CHECKING:
    from pseudolabel.storage.remote import RemotePath

CONCURRENT_READS, BATCH_FILES = 16, 1024  # small objects asked for at the same time, and held


class Store(Protocol):
    """Names are relative to its folder, with "/" between the parts."""

    def work_dir(self, name: str) -> Path:
        """The local folder below which a run has its own, for what is not committed yet."""

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write to what is to be committed under that name."""

    def commit(self, staged: Path, name: str) -> None:
        """Have the file under that name, whole or not at all. It may be gone from where it was staged."""

    def fsync(self, *folders: str) -> None:
        """Have what was committed to these folders outlive a power cut."""

    def local_copy(self, name: str, folder: Path) -> Path:
        """The local path of a file: its own, or that of a copy in `folder`."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The names and bytes of the files in a folder; none where there is no such folder."""

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """What small files hold, in this order; None where there is none."""

    def discard(self, *names: str) -> None:
        """Delete files."""

    def empty(self, folder: str) -> None:
        """Delete a folder with all that is in it, and in its room."""

    def lock(self, note: Notify, part: str = "") -> AbstractContextManager[CheckLock]:
        """Hold all of it, or one part beside others. Yields what refuses to go on where the lock was lost.

        `note` is told why it takes long.
        """


def store(folder: Path) -> Store:
    """The store that a dataset, or a folder of one, lies in."""
    return Bucket(folder) if is_url(folder) else Disk(folder)  # type: ignore[arg-type]


def parquet_source(path: Path) -> Any:
    """What pyarrow and NumPy read a file by: on a disk its path, which is faster than a file of Python's."""
    return path.open("rb") if is_url(path) else path


def _held(path: Path | RemotePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Disk:
    """A folder. What is staged lies on its file system, so that a rename commits it."""

    folder: Path

    def work_dir(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        yield self.folder / f"{name}.tmp"

    def commit(self, staged: Path, name: str) -> None:
        staged.replace(self.folder / name)

    def fsync(self, *folders: str) -> None:
        for folder in folders:
            descriptor = os.open(self.folder / folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def local_copy(self, name: str, folder: Path) -> Path:
        return self.folder / name

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self.folder / folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        return (_held(self.folder / name) for name in names)

    def discard(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def empty(self, folder: str) -> None:
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    @contextmanager
    def lock(self, note: Notify, part: str = "") -> Iterator[CheckLock]:
        made = not self.folder.exists()
        (self.folder / LOCK).parent.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.folder, part):
            try:
                yield lambda: None  # it goes with the process, however that ends
            finally:
                if made and not (self.folder / MANIFEST).exists():
                    shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Bucket:
    """A place in an object store. What is staged lies on the local disk, and one request commits it: a PUT, or the one
    that completes an upload in parts. No object is ever written as a stream, which an error would publish half."""

    folder: RemotePath

    def work_dir(self, name: str) -> Path:
        """In the folder for temporary files, and the same for a rerun on this machine."""
        ends = sorted(f"{key}={value}" for key, value in os.environ.items() if "ENDPOINT" in key)
        address = hash64("\n".join([str(self.folder), str(os.getuid()), *ends]))
        return Path(tempfile.gettempdir(), f"pseudolabel-{address:016x}", name)

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="pseudolabel-") as folder:
            yield Path(folder, Path(name).name)

    def commit(self, staged: Path, name: str) -> None:
        place = self.folder / name
        with_retries(lambda: place.fs.put_file(str(staged), place.path), place)

    def fsync(self, *folders: str) -> None:
        """It does so by itself."""

    def local_copy(self, name: str, folder: Path) -> Path:
        place, near = self.folder / name, folder / Path(name).name
        with_retries(lambda: place.fs.get_file(place.path, str(near)), place)
        return near

    def sizes(self, folder: str) -> dict[str, int]:
        place = self.folder / folder if folder else self.folder
        try:
            entries = with_retries(lambda: place.fs.ls(place.path, detail=True), place)
        except FileNotFoundError:
            return {}
        return {entry["name"].rpartition("/")[2]: entry["size"] for entry in entries if entry["type"] == "file"}

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            for start in range(0, len(names), BATCH_FILES):  # a few of many are held at a time
                yield from pool.map(lambda name: _held(self.folder / name), names[start : start + BATCH_FILES])

    def discard(self, *names: str) -> None:
        paths = [(self.folder / name).path for name in names]
        with suppress(FileNotFoundError):
            if paths:
                with_retries(lambda: self.folder.fs.rm(paths), self.folder)

    def empty(self, folder: str) -> None:
        shutil.rmtree(self.work_dir(folder), ignore_errors=True)
        with suppress(OSError):  # other parts of the same dataset may be made here
            self.work_dir(folder).parent.rmdir()
        place = self.folder / folder

        def removed() -> None:  # until there is nothing to remove: a listing that failed half would pass for all of it
            place.fs.rm(place.path, recursive=True)
            raise OSError(EAGAIN, "not all of it can be deleted")

        with suppress(FileNotFoundError):
            with_retries(removed, place)

    @contextmanager
    def lock(self, note: Notify, part: str = "") -> Iterator[CheckLock]:
        lock = self.folder / LOCK
        rivals = (lambda: [lock]) if part else (lambda: lock.parent.glob(f"{lock.name}-*"))
        with hold_lock(lock.with_name(f"{lock.name}{part}"), rivals, note) as check:
            yield check
