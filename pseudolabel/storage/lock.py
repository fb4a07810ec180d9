"""Locks of an output folder: a lock of the system for a folder on disk, a lease for a folder in an object store.

A run holds the lock of the folder. A part holds a lock of its own, `lock-2-of-3`. Parts are rivals of the run, and the
run of all parts. Each takes its own lock first and then probes those of its rivals. So if two rivals start at the same
time, at least one sees the lock of the other.

A lease is an object that its holder rewrites every 2 s. If a holder does not rewrite it for 12 s, the lease expires and
another run takes it. Clocks are not compared: a waiting process only checks whether the object changes. A paused holder
that resumes after its lease was taken finds another token in the object and stops.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOSYS
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel.contracts import UserError
from pseudolabel.storage.retry import with_retries

if TYPE_CHECKING:
    from pseudolabel.storage.remote import RemotePath  # its package is optional

Notify = Callable[[str], None]
CheckLock = Callable[[], None]
RENEW_SECONDS = 2.0  # seconds between two renewals of a lease
EXPIRY_SECONDS = 12.0  # seconds without renewal after which a lease expires
POLL_SECONDS = 0.5  # seconds between two reads of a lease
PROBE_SECONDS = 1.0  # seconds until a rival's lock on disk counts as held


def read_if_exists(path: Path | RemotePath) -> bytes | None:
    """Return the content of a file, or None if the file does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


class Lease:
    """The lease of one run on an output folder in a store. A thread renews the lease."""

    def __init__(self, place: RemotePath, note: Notify) -> None:
        self._place, self._note = place, note
        self._who, self._token, self._signs = f"process {os.getpid()} on {socket.gethostname()}", uuid.uuid4().hex, 0
        self._over, self._lost, self._heard = threading.Event(), False, time.monotonic()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> None:
        """Create the lease, or take an expired one. Raise `UserError` while another run renews it."""
        while True:
            if self.wait_until_expired(self._place) is None:
                if self._create_lease():
                    break
            else:
                self._write(self._pipe)
                time.sleep(RENEW_SECONDS)  # another process may also have taken the expired lease, and written last
                if self._holder() == self._token:
                    break
        self._renewing.start()

    def wait_until_expired(self, place: RemotePath) -> bytes | None:
        """Wait until a lease expires; return its content, or None if released. Raise `UserError` if it is renewed."""
        watched, since, told = read_if_exists(place), time.monotonic(), False
        while watched is not None and time.monotonic() - since < EXPIRY_SECONDS:
            time.sleep(POLL_SECONDS)
            now = read_if_exists(place)
            if now is not None and now != watched:
                raise _in_use(place)
            if not told and time.monotonic() - since > 2 * RENEW_SECONDS:
                who = json.loads(watched)["who"]
                self._note(
                    f"{who} holds the lock but does not renew it; waiting {EXPIRY_SECONDS:.0f} s for the lock to expire"
                )
                told = True
            watched = now
        return watched

    def _create_lease(self) -> bool:
        """Create the lease. Return whether this run holds it; another may have been faster."""
        try:
            self._write(self._create)
        except FileExistsError:
            return self._holder() == self._token  # created by the first attempt, whose response was lost
        except FileNotFoundError as missing:
            remedy = "create the bucket, or give another --out"
            raise UserError(f"{self._place.parent.parent}: {missing.strerror}; {remedy}") from missing
        return True

    def _write(self, put: Callable[[bytes], None]) -> None:
        self._signs += 1
        said = json.dumps({"who": self._who, "token": self._token, "signs": self._signs}).encode()
        with_retries(lambda: put(said), self._place)

    def _pipe(self, said: bytes) -> None:
        self._place.fs.pipe_file(self._place.path, said)

    def _create(self, said: bytes) -> None:
        """Create the object, and fail if it exists. If the store cannot do this in one step, overwrite it."""
        try:
            self._place.fs.pipe_file(self._place.path, said, mode="create")
        except (TypeError, NotImplementedError, OSError) as fault:
            if isinstance(fault, OSError) and fault.errno != ENOSYS:
                raise
            self._pipe(said)

    def _holder(self) -> str:
        held = read_if_exists(self._place)
        return "" if held is None else str(json.loads(held)["token"])

    def _renew(self) -> None:
        """Renew the lease until it is released or another run has taken it."""
        while not self._over.wait(RENEW_SECONDS) and not self._lost:
            with suppress(OSError):  # if the store fails, the next write of the run raises
                self._lost = self._holder() != self._token
                if not self._lost:
                    self._write(self._pipe)
                    self._heard = time.monotonic()

    def check(self) -> None:
        """Raise `UserError` if another run has taken the lease."""
        if time.monotonic() - self._heard > 2 * RENEW_SECONDS:  # renewals are late, so the lease may have expired
            self._lost = self._lost or self._holder() != self._token
            self._heard = time.monotonic()
        if self._lost:
            raise UserError(
                f"another run took over {self._place.parent.parent}: this one renewed its lock too late; wait for it",
                code=4,
            )

    def leave(self) -> None:
        """Release the lease if it is still held, with up to 3 attempts. If all fail, the lease expires later."""
        self._over.set()
        self._renewing.join(EXPIRY_SECONDS)
        if not self._renewing.is_alive() and not self._lost:
            for _ in range(3):
                with suppress(Exception):
                    if json.loads(self._place.fs.cat_file(self._place.path))["token"] == self._token:
                        self._place.fs.rm_file(self._place.path)
                    break


@contextmanager
def hold_file_lock(place: Path, rivals: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Hold the lock `place`, a file on disk, while no rival is held. The system releases it when the process ends.
    Raise `UserError` if another run holds the lock or a rival."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(place, timeout=0):
            for rival in rivals():
                with FileLock(rival, timeout=PROBE_SECONDS):  # another part may probe it at this moment
                    pass
            yield
    except Timeout:
        raise _in_use(place) from None


def _in_use(place: Path | RemotePath) -> UserError:
    return UserError(f"another run is writing to {place.parent.parent}; wait for it, or write to another folder", 4)


@contextmanager
def hold_lease(place: RemotePath, rivals: Callable[[], Iterable[RemotePath]], note: Notify) -> Iterator[CheckLock]:
    """Hold the lease at `place`. Delete expired leases of `rivals`; raise `UserError` if a rival renews its lease.
    Yield a check that raises `UserError` if the lease was lost."""
    lease = Lease(place, note)
    lease.take()
    try:
        for rival in rivals():
            if lease.wait_until_expired(rival) is not None:
                rival.unlink(missing_ok=True)
        yield lease.check
    finally:
        lease.leave()
