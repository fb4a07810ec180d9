"""Stores: a dataset lies on a disk or in a bucket, and this is all that differs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pseudolabel.addresses import is_address, patiently
from pseudolabel.sample import Refused, hash64

AT_ONCE = 16  # small objects asked for at the same time


class Store(Protocol):
    """Names are relative to the dataset's folder, with "/" between the parts."""

    def staged(self, name: str) -> Path:
        """A local path to write to what will be committed under that name."""

    def commit(self, staged: Path, name: str) -> None:
        """Have the file under that name, whole or not at all; it may be gone from where it was staged."""

    def fetched(self, name: str, folder: Path) -> Path:
        """A local path to a file of the dataset: its own, or a copy in the folder."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The files in a folder and their bytes; none if it is not there."""

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """What small files hold."""

    def discard(self, folder: str) -> None:
        """Delete a folder with all that is in it."""

    def left(self) -> list[Path]:
        """The local folders of runs that were killed here; whoever asks holds the lock."""

    def work(self, name: str) -> Path:
        """A new local folder for a run, from where files can be committed."""

    def locked(self, name: str, rivals: str, note: Callable[[str], None]) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock of this name, and none of those that `rivals` matches may be held.

        Yields what refuses to go on where the lock was lost. `note` is told why it takes long.
        """


def store(out: Path) -> Store:
    """The store of a dataset."""
    return Bucket(out) if is_address(out) else Disk(out)


def readable(path: Path) -> Any:
    """What pyarrow can read a file by: on disk its path, which is faster than a file of Python's."""
    return path.open("rb") if is_address(path) else path


@dataclass(frozen=True)
class Disk:
    """A folder. What is committed lies on its file system before: a rename is whole or not at all."""

    out: Path

    def staged(self, name: str) -> Path:
        return self.out / f"{name}.tmp"

    def commit(self, staged: Path, name: str) -> None:
        staged.replace(self.out / name)
        sync((self.out / name).parent)

    def fetched(self, name: str, folder: Path) -> Path:
        return self.out / name

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with os.scandir(self.out / folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return {}

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        return ((self.out / name).read_bytes() for name in names)

    def discard(self, folder: str) -> None:
        shutil.rmtree(self.out / folder, ignore_errors=True)

    def left(self) -> list[Path]:
        return sorted((self.out / WORK).glob("*"))

    def work(self, name: str) -> Path:
        (folder := self.out / WORK / name).mkdir(parents=True)
        return folder

    @contextmanager
    def locked(self, part: str, note: Callable[[str], None]) -> Iterator[Callable[[], None]]:
        (self.out / LOCK).parent.mkdir(parents=True, exist_ok=True)
        with (self.out / LOCK).open("a") as lock, (self.out / f"{LOCK}{part}").open("a") as own:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if part:
                    fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise at_work(self.out) from None
            yield lambda: None  # it goes with the process, however that ends


@dataclass(frozen=True)
class Bucket:
    """A place in an object store. A file is sent from the local disk, in one piece or in parts that are put together at
    the end: until then there is nothing. It is never written as a stream, which an error would publish half."""

    out: Any  # a Remote

    def staged(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix="pseudolabel-"), Path(name).name)
