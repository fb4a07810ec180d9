"""WebDataset shards: tar archives. Consecutive members whose names agree up to the first dot are one sample.

Each member is a field, named by the rest of its name: `json` has several columns, `cls` and `txt` one, as have
`left.cls` and `right.txt`; `left.json` has the columns `left.NAME` (https://github.com/webdataset/webdataset).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.metadata.columns import TEXT, Values, to_text
from pseudolabel.readers.sources import archives
from pseudolabel.readers.sources.archives import Member
from pseudolabel.readers.sources.location import Location
from pseudolabel.readers.sources.opening import open_file
from pseudolabel.readers.text import tables

TEXT_FIELDS = ("cls", "txt")
FIELDS = ("json", *TEXT_FIELDS)
HEAD_SAMPLES = 64  # samples read to find the columns
MAX_FIELD_BYTES = 4 << 20  # maximum bytes of a field


def is_shard(where: str) -> bool:
    """Return whether a file can be a shard, by its name."""
    return where.lower().endswith((*archives.TARS, *archives.PACKED_TARS))


def is_field(name: str) -> bool:
    """Return whether a member holds metadata of its sample, by its name."""
    return name.rpartition(".")[2].lower() in FIELDS


def stem(name: str) -> str:
    """Return the part of a member's name that names the sample: `a/b.c/0001.left.jpg` -> `a/b.c/0001`."""
    folder, slash, own = name.rpartition("/")
    return folder + slash + own.partition(".")[0]


def column_types(where: str, wanted: Sequence[str]) -> dict[str, str]:
    """Return column name -> type of the first `HEAD_SAMPLES` samples, and of more until all `wanted` are found."""
    found: dict[str, str] = {}
    for number, (_, members) in enumerate(_samples(where)):
        if number >= HEAD_SAMPLES and all(name in found for name in wanted):
            break
        with suppress(UnusableSample):  # an unusable sample does not affect the others
            found |= dict.fromkeys(_record(where, members), TEXT)
    return found


def values(where: str, wanted: Sequence[str]) -> Iterator[tuple[str, Values | UnusableSample]]:
    """Yield the name and the values of each sample, or the name and the error."""
    for name, members in _samples(where):
        try:
            record = _record(where, members, wanted)
            yield name, {column: to_text(column, record.get(column)) for column in wanted}
        except UnusableSample as bad:
            yield name, bad


def _samples(where: str) -> Iterator[tuple[str, list[Member]]]:
    named = groupby(archives.members(where), key=lambda member: stem(member.name.removeprefix("./")))
    return ((name, list(members)) for name, members in named)


def _record(where: str, members: Sequence[Member], wanted: Sequence[str] = ()) -> dict[str, Any]:
    """Return the columns of a sample. Raise `UnusableSample` if its fields give a wanted column different values."""
    record: dict[str, Any] = {}
    for field, data in _fields(where, members):
        before, _, kind = field.rpartition(".")
        if kind in TEXT_FIELDS:
            made: dict[str, Any] = {field: _decode(field, data)}
        else:
            made = {f"{before}.{name}" if before else name: value for name, value in tables.json_object(data).items()}
        for name, value in made.items():
            if name in wanted and to_text(name, record.get(name, value)) != to_text(name, value):
                raise UnusableSample(f"two fields give different values of the column {name!r}")
            record[name] = value
    return record


def _fields(where: str, members: Sequence[Member]) -> Iterator[tuple[str, bytes]]:
    for member in members:
        field = member.name.rpartition("/")[2].partition(".")[2].lower()
        if is_field(field) and member.locator:
            if member.size > MAX_FIELD_BYTES:
                raise UnusableSample(
                    f"the .{field} field has {member.size:,} bytes, at most {MAX_FIELD_BYTES:,} are read"
                )
            with open_file("\0".join(Location(where, member.locator, "", member.name))) as file:
                yield field, file.read()


def _decode(field: str, data: bytes) -> str:
    try:
        return data.decode().strip()
    except UnicodeDecodeError as bad:
        raise UnusableSample(f"byte {bad.start} of the .{field} field is not utf-8") from None
