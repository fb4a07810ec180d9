"""Locations: text that names an object of a store, a member of an archive, or a row of a table."""

from __future__ import annotations

from typing import NamedTuple


class Location(NamedTuple):
    """A place that is no path on disk; `"\\0".join(place)` is its `where`."""

    container: str  # the path, the address or the place it lies in
    locator: str  # its kind and what `OPENERS` want to know
    block: str  # what it is best read with, or nothing
    name: str  # tells what it is by its suffix


def unusable_location(reason: str, name: str) -> str:
    """The place of what was found and cannot be used."""
    return "\0".join(Location("", unusable_locator(reason), "", name.replace("\0", "")))


def unusable_locator(reason: str) -> str:
    """The locator of such a place. A reason may name what an archive says, which may hold anything."""
    return f"unusable {reason}".replace("\0", "").encode(errors="backslashreplace").decode()


def file_name(where: str) -> str:
    """The last part of a place's name."""
    return where.rpartition("\0")[2].rpartition("/")[2]


class TableRow(NamedTuple):
    """The rows of a table that are read together, and which of them is meant."""

    container: str
    group: int  # row group that they are counted from
    first: int
    stop: int
    number: int


def table_row(where: str) -> TableRow | None:
    """The row that a place is, if it is one."""
    container, locator, *_ = where.rsplit("\0", 3) if "\0" in where else ("", "")
    if not locator.startswith("row "):
        return None
    _, group, _, first, stop, index, *_ = locator.split(" ", 6)
    return TableRow(container, *map(int, (group, first, stop, index)))
