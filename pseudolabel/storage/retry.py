"""Requests to a store, tried again where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from errno import EACCES, EEXIST, EIO, EISDIR, ENOENT, ENOTDIR

from pseudolabel.contracts import SampleError, T, UserError

BACKOFF_SECONDS = (0.2, 0.8, 3.2, 12.8)  # seconds before a store that failed is asked again
MAX_RETRY_SECONDS = 20  # seconds after which it is not asked again
FINAL_ERRORS = {  # what is no failure of the store
    FileNotFoundError: ENOENT, PermissionError: EACCES, FileExistsError: EEXIST,
    IsADirectoryError: EISDIR, NotADirectoryError: ENOTDIR,
}  # fmt: skip


class StoreFailure(OSError):
    """A store that goes on failing; unlike what a disk says of a file, it says nothing of what lies there."""


def with_retries(ask: Callable[[], T], what: object) -> T:
    """What a store answers; asked again, for some seconds, where it fails otherwise than by what it is asked for.

    Raises `StoreFailure` where it goes on failing: the storage is to blame, never the sample.
    """
    begun = time.monotonic()
    for wait in (*BACKOFF_SECONDS, MAX_RETRY_SECONDS):
        try:
            return ask()
        except (SampleError, UserError):
            raise
        except Exception as fault:  # of botocore, aiohttp, the event loop: each store has its own
            told = " ".join(str(fault).split())[:160] or type(fault).__name__
            for kind, number in FINAL_ERRORS.items():
                if isinstance(fault, kind):
                    raise OSError(number, told, str(what)) from fault
            if "Credentials" in type(fault).__name__:
                raise OSError(EACCES, told, str(what)) from fault
            if time.monotonic() - begun + wait >= MAX_RETRY_SECONDS:
                raise StoreFailure(EIO, f"the store fails: {told}", str(what)) from fault
            time.sleep(wait)
    raise AssertionError("the last wait is as long as patience")
