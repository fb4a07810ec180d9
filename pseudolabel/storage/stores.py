"""Stores: one interface to write a dataset to a disk or to a bucket."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from errno import EAGAIN
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pseudolabel.contracts import hash64
from pseudolabel.storage.layout import LOCK, MANIFEST
from pseudolabel.storage.lock import CheckLock, Notify, hold_file_lock, hold_lease, read_if_exists
from pseudolabel.storage.retry import with_retries
from pseudolabel.storage.urls import is_url

if TYPE_CHECKING:
    from pseudolabel.storage.remote import RemotePath

CONCURRENT_READS, BATCH_FILES = 16, 1024  # for small objects: concurrent requests, objects in memory


class Store(Protocol):
    """The interface to a folder on disk or in a bucket. Names are relative to the folder, with "/"."""

    def work_dir(self, name: str) -> Path:
        """Return the local folder in which each run makes its own folder for uncommitted files."""

    def stage(self, name: str) -> AbstractContextManager[Path]:
        """Yield a local path to write the file to, before it is committed under `name`."""

    def commit(self, staged: Path, name: str) -> None:
        """Publish a staged file under `name` atomically. The staged file may be gone afterwards."""

    def fsync(self, *folders: str) -> None:
        """Make all commits to these folders durable, so that they survive a power failure."""

    def local_copy(self, name: str, folder: Path) -> Path:
        """Return the path of a file on disk; copy an object of a bucket into `folder` first."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> size in bytes of the files in a folder; {} if the folder does not exist."""

    def read(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the contents of small files in the order of `names`; None for a missing file."""

    def discard(self, *names: str) -> None:
        """Delete files. Missing files are no error."""

    def empty(self, folder: str) -> None:
        """Delete a folder with its content, and its `work_dir`."""

    def lock(self, note: Notify, part: str = "") -> AbstractContextManager[CheckLock]:
        """Hold the lock of the folder. With `part`, lock only this part, so that other parts can run. Yield a check
        that raises `UserError` if the lock was lost. `note` receives a message if the wait is long."""


def store(folder: Path) -> Store:
    """Return the store of a dataset's folder, or of a folder in a dataset."""
    return Bucket(folder) if is_url(folder) else Disk(folder)  # type: ignore[arg-type]


def lock_and_rivals(lock: Any, part: str) -> tuple[Any, Callable[[], Iterable[Any]]]:
    """Return the path of the lock of a run, or of a part, and the paths of the locks that it excludes."""
    if part:
        return lock.with_name(f"{lock.name}{part}"), lambda: [lock]
    return lock, lambda: lock.parent.glob(f"{lock.name}-*")


def parquet_source(path: Path) -> Any:
    """Return a file for pyarrow and NumPy: an open file for a URL, else the path, which they read faster."""
    return path.open("rb") if is_url(path) else path


@dataclass(frozen=True)
class Disk:
    """A folder on disk. Staged files are on the same file system, so that a rename commits them."""

    folder: Path

    def work_dir(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        yield self.folder / f"{name}.tmp"

    def commit(self, staged: Path, name: str) -> None:
        staged.replace(self.folder / name)

    def fsync(self, *folders: str) -> None:
        for folder in folders if os.name == "posix" else ():  # Windows opens no folder, and its journal keeps the order
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
        return (read_if_exists(self.folder / name) for name in names)

    def discard(self, *names: str) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def empty(self, folder: str) -> None:
        shutil.rmtree(self.folder / folder, ignore_errors=True)

    @contextmanager
    def lock(self, note: Notify, part: str = "") -> Iterator[CheckLock]:
        made, lock = not self.folder.exists(), self.folder / LOCK
        lock.parent.mkdir(parents=True, exist_ok=True)
        with hold_file_lock(*lock_and_rivals(lock, part)):
            try:
                yield lambda: None  # never lost: the kernel holds the lock until the process ends
            finally:
                if made and not (self.folder / MANIFEST).exists():
                    shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Bucket:
    """A folder in an object store. Staged files are on the local disk. One request commits a file: a PUT, or the last
    request of a multipart upload. Objects are never streamed, because an error would publish half an object."""

    folder: RemotePath

    def work_dir(self, name: str) -> Path:
        """Return a path in the temporary folder; a rerun on this machine gets the same path."""
        # on Windows there are no user numbers, and the temporary folder is the user's own
        ends = sorted(f"{key}={value}" for key, value in os.environ.items() if "ENDPOINT" in key)
        address = hash64("\n".join([str(self.folder), str(getattr(os, "getuid", int)()), *ends]))
        return Path(tempfile.gettempdir(), f"pseudolabel-{address:016x}", name)

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="pseudolabel-") as folder:
            yield Path(folder, Path(name).name)

    def commit(self, staged: Path, name: str) -> None:
        place = self.folder / name
        with_retries(lambda: place.fs.put_file(str(staged), place.path), place)

    def fsync(self, *folders: str) -> None:
        """Do nothing: a store makes each commit durable."""

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
            for start in range(0, len(names), BATCH_FILES):  # limits the objects in memory
                batch = [self.folder / name for name in names[start : start + BATCH_FILES]]
                yield from pool.map(read_if_exists, batch)

    def discard(self, *names: str) -> None:
        paths = [(self.folder / name).path for name in names]
        with suppress(FileNotFoundError):
            if paths:
                with_retries(lambda: self.folder.fs.rm(paths), self.folder)

    def empty(self, folder: str) -> None:
        shutil.rmtree(self.work_dir(folder), ignore_errors=True)
        with suppress(OSError):  # not empty while other parts of the dataset are made here
            self.work_dir(folder).parent.rmdir()
        place = self.folder / folder

        def removed() -> None:  # retried until `rm` finds nothing: a listing may be incomplete
            place.fs.rm(place.path, recursive=True)
            raise OSError(EAGAIN, "some objects cannot be deleted")

        with suppress(FileNotFoundError):
            with_retries(removed, place)

    @contextmanager
    def lock(self, note: Notify, part: str = "") -> Iterator[CheckLock]:
        with hold_lease(*lock_and_rivals(self.folder / LOCK, part), note) as check:
            yield check
