"""Addresses: where a source or a dataset lies, be it a path on disk or `s3://bucket/name` of a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pseudolabel.contracts import Refused

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}  # scheme -> extra
SILENT = 8  # seconds without a byte after which a store has failed


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
        from pseudolabel.storage.remote import Remote

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
