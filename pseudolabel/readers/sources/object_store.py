"""Stores: what lies at an address, and below it."""

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

REQUEST_BYTES = 1 << 20  # bytes that a store is asked for at once, at least
MAX_WHOLE_BYTES = 64 << 20  # bytes of an object that are taken where but a range was asked for


# --- stores ----------------------------------------------------------------------------------------------------------


def open_object(address: str, size: int) -> io.BufferedReader:
    """An object of a store: what is read of it is asked for when it is read."""
    return range_file(size, partial(_ranged, address), buffer=REQUEST_BYTES)


def _ranged(address: str, at: int, count: int) -> bytes:
    there, path = filesystem_and_path(open_location(address))
    data: bytes = request(lambda: there.cat_file(path, start=at, end=at + count), address)
    if len(data) > max(count, MAX_WHOLE_BYTES):
        raise UserError(f"{address.partition('?')[0]}: the server sends no ranges of it; download it first")
    return data[at:] if len(data) > count else data  # a server that knows no ranges sends it whole


def request(ask: Callable[[], T], address: str) -> T:
    """What a store answers.

    `UnusableSample` where it refuses this one object; OSError where it fails, or refuses all.
    """
    try:
        return with_retries(partial(_answered, ask), address)
    except (FileNotFoundError, PermissionError) as refusal:
        if not address.startswith("http"):  # where nothing is known of folders
            there, folder = filesystem_and_path(open_location(address).parent)
            try:
                with_retries(lambda: there.info(folder), address)
            except (FileNotFoundError, PermissionError):  # as where what gives access has run out
                raise OSError(EIO, f"the store refuses all of its folder: {refusal}", address) from None
        denied = isinstance(refusal, PermissionError)
        raise UnusableSample("no permission to read it" if denied else "gone since the scan") from None


def _answered(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as fault:
        status = getattr(fault, "status", 0)  # of aiohttp
        if 400 <= status < 500 and status not in (408, 425, 429):
            raise UnusableSample(f"the server answers {status}") from None
        raise


def object_info(place: Path) -> dict[str, Any]:
    """What a store says of what lies there."""
    there, path = filesystem_and_path(place)
    return dict(there.info(path))


def file_at(address: str) -> tuple[str, int]:
    """The place of an object, and its size; -1 where it is a folder. `UnusableSample` where there is none."""
    place = open_location(address)
    there = request(lambda: object_info(place), address)
    if there["type"] == "directory":
        return address, -1
    return _object(address, there["size"]), there["size"]


def list_objects(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Name relative to a folder of a store, place, and size of the visible objects below, held a folder at a time."""
    there, path = filesystem_and_path(folder)
    folders = [(path, "")]
    while folders:
        path, prefix = folders.pop()
        entries = [entry for entry in _listed(there, path) if entry["name"].rstrip("/") != path.rstrip("/")]
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


def _listed(there: Any, path: str) -> list[dict[str, Any]]:
    entries = list(with_retries(lambda: there.ls(path, detail=True), path))
    there.invalidate_cache()  # it keeps all it was ever told
    return entries


def _object(address: str, size: int | None) -> str:
    if size is None:
        raise UnusableSample("the server does not say how large it is")
    name = address.partition("?")[0] if address.startswith("http") else address
    return "\0".join(Location(address, f"object {size}", "", name))
