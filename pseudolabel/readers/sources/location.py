"""Locations: texts that name an object of a store, a member of an archive, or a row of a table."""

from __future__ import annotations

from typing import NamedTuple


class Location(NamedTuple):
    """A location that is not a path on disk. `"\\0".join(location)` is the `where` of an extent."""

    container: str  # path, URL or location of the archive or table; URL of the object
    locator: str  # a key of `opening.OPENERS`, then the arguments for its function
    block: str  # name of the block that is read as a whole, or ""
    name: str  # file name, whose suffix tells the format


def unusable_location(reason: str, name: str, count: int = 1) -> str:
    """Return the location of a file that was found but cannot be used. `count`: the number of samples lost with it."""
    return "\0".join(Location("", unusable_locator(reason, count), "", name.replace("\0", "")))


def unusable_locator(reason: str, count: int = 1) -> str:
    """Return the locator of an unusable file. Remove NUL and surrogates: `reason` may quote any text of an archive."""
    return f"unusable {count} {reason}".replace("\0", "").encode(errors="backslashreplace").decode()


def local_location(path: str, suffix: str) -> str:
    """Return the location of a file on disk whose name does not tell its format; `suffix` does."""
    return "\0".join(Location(path, "file", "", path.rpartition("/")[2] + suffix))


def file_name(where: str) -> str:
    """Return the last part of a location's name."""
    return where.rpartition("\0")[2].rpartition("/")[2]


class TableRow(NamedTuple):
    """A row of a table, and the rows that are read together with it."""

    container: str
    group: int  # row group from whose start rows are counted
    first: int
    stop: int
    number: int


def table_row(where: str) -> TableRow | None:
    """Return the table row that a location names; None for any other location."""
    container, locator, *_ = where.rsplit("\0", 3) if "\0" in where else ("", "")
    if not locator.startswith("row "):
        return None
    _, group, _, first, stop, index, *_ = locator.split(" ", 6)
    return TableRow(container, *map(int, (group, first, stop, index)))
