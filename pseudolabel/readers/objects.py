"""Stores: what lies at an address, and below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pseudolabel.addresses import located, patiently, reached
from pseudolabel.readers.places import Place
from pseudolabel.readers.windows import given
from pseudolabel.sample import Unusable

MANIFEST = "_manifest.json"  # a folder that holds one is a dataset of ours and never read as a source


def about(place: Path) -> dict[str, Any]:
    """What a store says of what lies there."""
    there, path = reached(place)
    return dict(there.info(path))


def file_at(address: str) -> tuple[str, int]:
    """The place of an object, and its size; -1 where it is a folder. `Unusable` where there is none."""
    place = located(address)
    there = given(lambda: about(place), address)
    if there["type"] == "directory":
        return address, -1
    return _object(address, there["size"]), there["size"]


def below(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Name relative to a folder of a store, place, and size of the visible objects below, held a folder at a time."""
    there, path = reached(folder)
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
    entries = list(patiently(lambda: there.ls(path, detail=True), path))
    there.invalidate_cache()  # it keeps all it was ever told
    return entries


def _object(address: str, size: int | None) -> str:
    if size is None:
        raise Unusable("the server does not say how large it is")
    name = address.partition("?")[0] if address.startswith("http") else address
    return "\0".join(Place(address, f"object {size}", "", name))
