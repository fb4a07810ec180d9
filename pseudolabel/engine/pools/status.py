"""Status of a worker: the sample that it is on, in a mapped file that outlives the worker, its parent and a container.

Each record has a checksum, so a half-written record is ignored.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from pseudolabel.engine.jobs import Job

STATUS_FILES = "worker-*.status"
RECORD_BYTES = 1 << 17  # the longest record, two names of members of a zip archive
CHECKSUM, HEAD = Struct("<I"), Struct("<QI")  # CRC-32 of the rest; tick, bytes of the text


class WorkerStatus(NamedTuple):
    """The work that a worker is on. `tick` changes with each report."""

    tick: int
    kind: str
    trial: bool
    shard: int
    extent: str  # "": the worker reads no extent; no time limit
    key: str  # "": the extent is being read


class StatusFile:
    """The status file of this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        os.write(self._file, bytes(RECORD_BYTES))  # allocated now: a full disk would end this process later
        self._map: mmap.mmap | None = None
        with suppress(OSError):  # some network file systems have no shared maps
            self._map = mmap.mmap(self._file, RECORD_BYTES)
        self._tick, self._job = 0, ""

    def begin(self, job: Job) -> None:
        """Set the job that the next reports are on."""
        self._job = f"{job.kind}\0{job.trial:d}\0{job.shard.index}"

    def write(self, extent: str, key: str) -> None:
        """Report a sample or, if `key` is empty, an extent."""
        self._tick += 1
        text = f"{self._job}\0{extent}\0{key}".encode("utf-8", "surrogatepass")
        body = HEAD.pack(self._tick, len(text)) + text
        record = CHECKSUM.pack(crc32(body)) + body
        if len(record) > RECORD_BYTES:
            record = bytes(CHECKSUM.size)  # an invalid record, which is ignored
        if self._map is None:
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, record)
        else:
            self._map[: len(record)] = record


def read_status(file: Path) -> WorkerStatus | None:
    """Return the status in a worker's file, or None if there is none or it is not whole."""
    try:
        record = file.read_bytes()
    except FileNotFoundError:
        return None
    body = memoryview(record)[CHECKSUM.size :]
    if len(body) < HEAD.size:
        return None
    tick, size = HEAD.unpack_from(body)
    body = body[: HEAD.size + size]
    if CHECKSUM.unpack_from(record)[0] != crc32(body):
        return None
    kind, trial, shard, extent, key = bytes(body[HEAD.size :]).decode("utf-8", "surrogatepass").split("\0", 4)
    return WorkerStatus(tick, kind, trial == "1", int(shard), extent, key)
