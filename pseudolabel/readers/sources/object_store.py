"""Objects of a store: open, list and describe them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from errno import EIO
from functools import partial
from pathlib import Path
from typing import Any

from pseudolabel.contracts import T, UnusableSample, UserError
from pseudolabel.readers.sources.location import Location
from pseudolabel.storage.byte_ranges import range_file
from pseudolabel.storage.layout import MANIFEST
from pseudolabel.storage.retry import with_retries
from pseudolabel.storage.urls import filesystem_and_path, open_location

REQUEST_BYTES = 1 << 20  # minimum bytes of one request
MAX_WHOLE_BYTES = 64 << 20  # maximum bytes of a response that holds the whole object instead of a range


def open_object(address: str, size: int) -> io.BufferedReader:
    """Open an object of `size` bytes. Each read requests only its range from the store."""
    return range_file(size, partial(_read_range, address), buffer=REQUEST_BYTES)


def _read_range(address: str, at: int, count: int) -> bytes:
    there, path = filesystem_and_path(open_location(address))
    data: bytes = request(lambda: there.cat_file(path, start=at, end=at + count), address)
    if len(data) > max(count, MAX_WHOLE_BYTES):
        raise UserError(f"{address.partition('?')[0]}: the server supports no range requests; download the file")
    return data[at:] if len(data) > count else data  # without range support a server sends all


def request(ask: Callable[[], T], address: str) -> T:
    """Return `ask()`, with retries. Raise `UnusableSample` if the store refuses only this object, OSError if the store
    fails or refuses the whole folder."""
    try:
        return with_retries(partial(_answer, ask), address)
    except (FileNotFoundError, PermissionError) as refusal:
        if not address.startswith("http"):  # HTTP has no folders
            there, folder = filesystem_and_path(open_location(address).parent)
            try:
                with_retries(lambda: there.info(folder), address)
            except (FileNotFoundError, PermissionError):  # for example expired credentials
                raise OSError(EIO, f"the store refuses access to the whole folder: {refusal}", address) from None
        denied = isinstance(refusal, PermissionError)
        raise UnusableSample("no permission to read it" if denied else "gone since the scan") from None


def _answer(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as fault:
        status = getattr(fault, "status", 0)  # of aiohttp: the HTTP status code
        if 400 <= status < 500 and status not in (408, 425, 429):
            raise UnusableSample(f"the server answers with HTTP status {status}") from None
        raise


def object_info(place: Path) -> dict[str, Any]:
    """Return the store's metadata of an object or a folder."""
    there, path = filesystem_and_path(place)
    return dict(there.info(path))


def file_at(address: str) -> tuple[str, int]:
    """Return the location and size of an object; -1 for a folder. Raise `UnusableSample` if gone or of unknown size."""
    place = open_location(address)
    there = request(lambda: object_info(place), address)
    if there["type"] == "directory":
        return address, -1
    return _object(address, there["size"]), there["size"]


def list_objects(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (name relative to `folder`, location, size) of each visible object outside datasets, folder by folder."""
    there, path = filesystem_and_path(folder)
    folders = [(path, "")]
    while folders:
        path, prefix = folders.pop()
        entries = [entry for entry in _list_folder(there, path) if entry["name"].rstrip("/") != path.rstrip("/")]
        names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries]
        if prefix and MANIFEST in names:
            continue
        for entry, name in zip(entries, names, strict=True):
            if name.startswith("."):
                continue
            if entry["type"] == "directory":
                folders.append((entry["name"], f"{prefix}{name}/"))
            else:
                where = _object(there.unstrip_protocol(entry["name"]), entry["size"])
                yield f"{prefix}{name}", where, entry["size"]


def _list_folder(there: Any, path: str) -> list[dict[str, Any]]:
    entries = list(with_retries(lambda: there.ls(path, detail=True), path))
    there.invalidate_cache()  # fsspec would keep every listing
    return entries


def _object(address: str, size: int | None) -> str:
    if size is None:
        raise UnusableSample("the server does not report the size of the file")
    name = address.partition("?")[0] if address.startswith("http") else address
    return "\0".join(Location(address, f"object {size}", "", name))
