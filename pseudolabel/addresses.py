"""Addresses: where a source or a dataset lies, be it a path on disk or `s3://bucket/name` of a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from errno import EACCES, EEXIST, EIO, EISDIR, ENOENT, ENOTDIR
from pathlib import Path
from typing import Any

from pseudolabel.sample import Refused, T, Unusable

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}  # scheme -> extra
SILENT = 8  # seconds without a byte after which a store has failed
WAITS = (0.2, 0.8, 3.2, 12.8)  # seconds before a store that failed is asked again
PATIENCE = 20  # seconds after which it is not asked again
ANSWERS = {  # what is no failure of the store
    FileNotFoundError: ENOENT, PermissionError: EACCES, FileExistsError: EEXIST,
    IsADirectoryError: EISDIR, NotADirectoryError: ENOTDIR,
}  # fmt: skip


class StoreFailed(OSError):
    """A store that goes on failing; unlike what a disk says of a file, it says nothing of what lies there."""


def is_address(given: Path | str) -> bool:
    """Whether this names a place in a store: `scheme://...`."""
    return "://" in str(given)


def located(given: Path | str) -> Path:
    """The absolute path, or the like of it in a store: it is opened, listed and joined as a path is.

    Refused where the package that reaches the store is not installed.
    """
    if not is_address(given):
        return Path(os.path.abspath(given))
    scheme, _, rest = str(given).partition("://")
    if "@" in rest.partition("/")[0]:
        raise Refused(f"an address of {scheme}:// is to hold no password; set it as the store's own tools take it")
    try:
        from pseudolabel.remote import Remote

        place = Remote(str(given).rstrip("/"), use_listings_cache=False, **_timeouts(scheme))
        _ = place.fs
    except (ImportError, ValueError) as lacking:
        if scheme not in EXTRAS:
            raise Refused(f"{given}: {scheme}:// is no kind of store; type s3://, gs://, hf:// or https://") from None
        raise Refused(f"{given}: {lacking}; pip install 'pseudolabel[{EXTRAS[scheme]}]'") from None
    return place  # the like of a path


def reached(place: Path) -> tuple[Any, str]:
    """The store that `located` found for an address, as fsspec has it, and the path there."""
    return place.fs, place.path  # type: ignore[attr-defined]


def _timeouts(scheme: str) -> dict[str, Any]:
    """What makes a store that does not answer fail."""
    match EXTRAS.get(scheme):
        case "s3":
            once = {"total_max_attempts": 1}
            few = {"max_concurrency": 2}  # parts of 50 MB held in memory, where a large file is sent
            return {"config_kwargs": {"connect_timeout": SILENT, "read_timeout": SILENT, "retries": once}, **few}
        case "http":
            import aiohttp

            return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_connect=SILENT, sock_read=SILENT)}}
        case "gs":
            return {"requests_timeout": SILENT}
    return {}


def patiently(ask: Callable[[], T], what: object) -> T:
    """What a store answers; asked again, for some seconds, where it fails otherwise than by what it is asked for.

    Raises `StoreFailed` where it goes on failing: the storage is to blame, never the sample.
    """
    begun = time.monotonic()
    for wait in (*WAITS, PATIENCE):
        try:
            return ask()
        except (Unusable, Refused):
            raise
        except Exception as fault:  # of botocore, aiohttp, the event loop: each store has its own
            told = " ".join(str(fault).split())[:160] or type(fault).__name__
            for kind, number in ANSWERS.items():
                if isinstance(fault, kind):
                    raise OSError(number, told, str(what)) from fault
            if "Credentials" in type(fault).__name__:
                raise OSError(EACCES, told, str(what)) from fault
            if time.monotonic() - begun + wait >= PATIENCE:
                raise StoreFailed(EIO, f"the store fails: {told}", str(what)) from fault
            time.sleep(wait)
    raise AssertionError("the last wait is as long as patience")
