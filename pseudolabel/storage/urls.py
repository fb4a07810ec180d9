"""Addresses: where a source or a dataset lies, be it a path on disk or `s3://bucket/name` of a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pseudolabel.contracts import UserError

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}  # scheme -> extra
TIMEOUT_SECONDS = 8  # seconds without a byte after which a store has failed


def is_url(given: Path | str) -> bool:
    """Whether this names a place in a store: `scheme://...`."""
    return "://" in str(given)


def open_location(given: Path | str) -> Path:
    """The absolute path, or the like of it in a store: it is opened, listed and joined as a path is.

    Refused where the package that reaches the store is not installed.
    """
    if not is_url(given):
        return Path(os.path.abspath(given))
    scheme, _, rest = str(given).partition("://")
    if "@" in rest.partition("/")[0]:
        raise UserError(f"an address of {scheme}:// is to hold no password; set it as the store's own tools take it")
    try:
        from pseudolabel.storage.remote import RemotePath

        place = RemotePath(str(given).rstrip("/"), use_listings_cache=False, **_timeouts(scheme))
        _ = place.fs
    except (ImportError, ValueError) as lacking:
        if scheme not in EXTRAS:
            raise UserError(f"{given}: {scheme}:// is no kind of store; type s3://, gs://, hf:// or https://") from None
        raise UserError(f"{given}: {lacking}; pip install 'pseudolabel[{EXTRAS[scheme]}]'") from None
    return place  # the like of a path


def filesystem_and_path(place: Path) -> tuple[Any, str]:
    """The store that `open_location` found for an address, as fsspec has it, and the path there."""
    return place.fs, place.path  # type: ignore[attr-defined]


def _timeouts(scheme: str) -> dict[str, Any]:
    """What makes a store that does not answer fail."""
    match EXTRAS.get(scheme):
        case "s3":
            once = {"total_max_attempts": 1}
            few = {"max_concurrency": 2}  # parts of 50 MB held in memory, where a large file is sent
            return {
                "config_kwargs": {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS, "retries": once},
                **few,
            }
        case "http":
            import aiohttp

            return {
                "client_kwargs": {
                    "timeout": aiohttp.ClientTimeout(sock_connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
                }
            }
        case "gs":
            return {"requests_timeout": TIMEOUT_SECONDS}
    return {}
