"""Locks of an output folder: the kernel's lock for a folder on disk, and a lease for one in an object store.

A lease is an object that its holder rewrites every 2 s. A holder that does not for 12 s is dead: its lease is taken.
Clocks are not compared: a waiting process looks whether the object changes. If a paused holder wakes up after its lease
was taken, it finds another token in the object and stops.
"""

from __future__ import annotations

import fcntl
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
from pseudolabel.storage.layout import LOCK
from pseudolabel.storage.retry import with_retries

if TYPE_CHECKING:
    from pseudolabel.storage.remote import RemotePath  # its package is an extra

Notify = Callable[[str], None]
CheckLock = Callable[[], None]
RENEW_SECONDS = 2.0  # seconds between two signs of life
EXPIRY_SECONDS = 12.0  # seconds without one after which a holder is dead
POLL_SECONDS = 0.5  # seconds between two looks


class Lease:
    """The lease of one run on an output folder in a store. A thread renews it."""

    def __init__(self, place: RemotePath, note: Notify) -> None:
        self._place, self._note = place, note
        self._who, self._token, self._signs = f"process {os.getpid()} on {socket.gethostname()}", uuid.uuid4().hex, 0
        self._over, self._lost, self._heard = threading.Event(), False, time.monotonic()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> None:
        """Make the object if there is none, or if who holds it is dead. Refused while another run lives."""
        while True:
            if self.wait_until_expired(self._place) is None:
                if self._made():
                    break
            else:
                self._write(self._pipe)
                time.sleep(RENEW_SECONDS)  # another may have come to the same, and written after us
                if self._holder() == self._token:
                    break
        self._renewing.start()

    def wait_until_expired(self, place: RemotePath) -> bytes | None:
        """Watch a lease until its holder must be dead; what it holds then, None if it is gone. Refused if it lives."""
        watched, since, told = self._read(place), time.monotonic(), False
        while watched is not None and time.monotonic() - since < EXPIRY_SECONDS:
            time.sleep(POLL_SECONDS)
            now = self._read(place)
            if now is not None and now != watched:
                raise UserError(
                    f"another run is at work on {place.parent.parent}; wait for it, or give another --out", code=4
                )
            if not told and time.monotonic() - since > 2 * RENEW_SECONDS:
                who = json.loads(watched)["who"]
                self._note(
                    f"{who} was at work here and gives no sign; if it gives none for {EXPIRY_SECONDS:.0f} s, it is dead"
                )
                told = True
            watched = now
        return watched

    def _made(self) -> bool:
        try:
            self._write(self._create)
        except FileExistsError:
            return self._holder() == self._token  # made, though the store's answer was lost on the way
        except FileNotFoundError as lacking:
            remedy = "make the bucket, or give another --out"
            raise UserError(f"{self._place.parent.parent}: {lacking.strerror}; {remedy}") from lacking
        return True

    def _write(self, put: Callable[[bytes], None]) -> None:
        self._signs += 1
        said = json.dumps({"who": self._who, "token": self._token, "signs": self._signs}).encode()
        with_retries(lambda: put(said), self._place)

    def _pipe(self, said: bytes) -> None:
        self._place.fs.pipe_file(self._place.path, said)

    def _create(self, said: bytes) -> None:
        """Write it if it is not there, where the store can do that in one step."""
        try:
            self._place.fs.pipe_file(self._place.path, said, mode="create")
        except (TypeError, NotImplementedError):
            self._pipe(said)
        except OSError as fault:
            if fault.errno != ENOSYS:
                raise
            self._pipe(said)

    @staticmethod
    def _read(place: RemotePath) -> bytes | None:
        try:
            return place.read_bytes()
        except FileNotFoundError:
            return None

    def _holder(self) -> str:
        held = self._read(self._place)
        return "" if held is None else str(json.loads(held)["token"])

    def _renew(self) -> None:
        """Give signs of life, until it is left or another's."""
        while not self._over.wait(RENEW_SECONDS) and not self._lost:
            with suppress(OSError):  # the store fails: whoever stores something in it will say so
                self._lost = self._holder() != self._token
                if not self._lost:
                    self._write(self._pipe)
                    self._heard = time.monotonic()

    def check(self) -> None:
        """Refuse to go on where another run took over."""
        if time.monotonic() - self._heard > 2 * RENEW_SECONDS:  # it was held up, and may have been taken for dead
            self._lost = self._lost or self._holder() != self._token
            self._heard = time.monotonic()
        if self._lost:
            raise UserError(
                f"another run has taken {self._place.parent.parent} over, for this one gave no sign of life", code=4
            )

    def leave(self) -> None:
        """Give it up, if the store can be asked."""
        self._over.set()
        self._renewing.join(EXPIRY_SECONDS)
        if not self._renewing.is_alive() and not self._lost:
            for _ in range(3):
                with suppress(Exception):
                    self._place.fs.rm_file(self._place.path)
                    break


@contextmanager
def lock_folder(folder: Path, part: str = "") -> Iterator[None]:
    """Hold the lock of an output folder on disk: all of it, or one part beside others. The kernel releases the lock
    when the process ends. Raise `UserError` while another run holds it."""
    with (folder / LOCK).open("a+") as lock, (folder / f"{LOCK}{part}").open("a+") as own:  # NFS: + to share
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if part else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if part:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another run is at work on {folder}; wait for it, or give another --out DIR", 4) from None
        yield


@contextmanager
def hold_lock(place: RemotePath, rivals: Callable[[], Iterable[RemotePath]], note: Notify) -> Iterator[CheckLock]:
    """Hold the lease of this name, where no rival holds another; yields what refuses to go on where it was lost."""
    lease = Lease(place, note)
    lease.take()
    try:
        for rival in rivals():
            if lease.wait_until_expired(rival) is not None:
                rival.unlink(missing_ok=True)
        yield lease.check
    finally:
        lease.leave()
