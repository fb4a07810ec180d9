"""URLs and paths of sources and datasets: `s3://bucket/name` in a store, or a path on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pseudolabel.contracts import UserError

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "http": "http", "https": "http"}  # scheme -> extra
TIMEOUT_SECONDS = 8  # seconds without a byte, after which a request fails


def is_url(given: Path | str) -> bool:
    """Return whether `given` is a URL, `scheme://...`."""
    return "://" in str(given)


def open_location(given: Path | str) -> Path:
    """Return an absolute `Path`, or for a URL a path-like object with `open`, `iterdir` and `/`. Raise `UserError` for
    an unknown scheme, a URL with a password, or if the package for that scheme is not installed."""
    if not str(given):  # `Path` would take it for the current folder
        raise UserError("a path is empty, perhaps a shell variable that is not set; give a folder or a file")
    if not is_url(given):
        return Path(os.path.abspath(given))
    scheme, _, rest = str(given).partition("://")
    if "@" in rest.partition("/")[0]:
        raise UserError(f"a {scheme}:// URL must contain no password; put it in the environment or a config file")
    try:
        from pseudolabel.storage.remote import RemotePath

        place = RemotePath(str(given).rstrip("/"), use_listings_cache=False, **_timeouts(scheme))
        _ = place.fs
    except (ImportError, ValueError) as lacking:
        if scheme not in EXTRAS:
            raise UserError(f"{given}: unknown scheme {scheme}://; type s3://, gs://, hf:// or https://") from None
        why = "a package is not installed" if isinstance(lacking, ModuleNotFoundError) else lacking
        raise UserError(f"{given}: {why}; pip install 'pseudolabel[{EXTRAS[scheme]}]'") from None
    return place  # used like a Path


def filesystem_and_path(place: Path) -> tuple[Any, str]:
    """Return the fsspec file system of an `open_location` result, and the path in it."""
    return place.fs, place.path  # type: ignore[attr-defined]


def _timeouts(scheme: str) -> dict[str, Any]:
    """Return the options of the file system: the timeout of a request and, for s3, the limit of parts in memory."""
    match EXTRAS.get(scheme):
        case "s3":
            limits = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
            config = {**limits, "retries": {"total_max_attempts": 1}}
            return {"config_kwargs": config, "max_concurrency": 2}  # parts of 50 MB in memory during a multipart upload
        case "http":
            import aiohttp

            timeout = aiohttp.ClientTimeout(sock_connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
            return {"client_kwargs": {"timeout": timeout}}
        case "gs":
            return {"requests_timeout": TIMEOUT_SECONDS}
    return {}
