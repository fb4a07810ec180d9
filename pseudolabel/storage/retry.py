"""Retry requests to an object store."""

from __future__ import annotations

import time
from collections.abc import Callable
from errno import EACCES, EEXIST, EIO, EISDIR, ENOENT, ENOTDIR

from pseudolabel.contracts import SampleError, T, UserError, one_line

BACKOFF_SECONDS = (0.2, 0.8, 3.2, 12.8)  # seconds to wait before each retry
MAX_RETRY_SECONDS = 20  # seconds after the first attempt; no retry starts later
LOGIN = "log in as the tools of the store do, for example with aws configure, AWS_PROFILE or gcloud auth"
FINAL_ERRORS = {  # answers about the object, not failures of the store: no retry
    FileNotFoundError: ENOENT, PermissionError: EACCES, FileExistsError: EEXIST,
    IsADirectoryError: EISDIR, NotADirectoryError: ENOTDIR,
}  # fmt: skip


class StoreFailure(OSError):
    """A request that still fails after all retries. The store is at fault, not the file."""


def with_retries(ask: Callable[[], T], what: object) -> T:
    """Return `ask()`; retry for at most 20 s if the store fails. Raise `StoreFailure` if it still fails: the storage is
    at fault, never the sample. Raise `OSError` at once for `FINAL_ERRORS`, and `UserError` for missing credentials."""
    begun = time.monotonic()
    for wait in (*BACKOFF_SECONDS, MAX_RETRY_SECONDS):
        try:
            return ask()
        except (SampleError, UserError):
            raise
        except Exception as fault:  # each store has its own exceptions: botocore, aiohttp, asyncio
            told = one_line(fault) or type(fault).__name__
            for kind, number in FINAL_ERRORS.items():
                if isinstance(fault, kind):
                    raise OSError(number, told, str(what)) from fault
            if "Credentials" in type(fault).__name__:
                raise UserError(f"no access to {what}: {told}; {LOGIN}") from fault
            if time.monotonic() - begun + wait >= MAX_RETRY_SECONDS:
                raise StoreFailure(EIO, f"the store fails: {told}", str(what)) from fault
            time.sleep(wait)
    raise AssertionError("unreachable: the last wait is MAX_RETRY_SECONDS")
