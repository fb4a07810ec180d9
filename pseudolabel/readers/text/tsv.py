"""Rows of TSV. A quotation mark may be literal: some writers quote fields, as in csv, others write them unchanged."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count

from pseudolabel.contracts import UnusableSample

LITERAL_LINES = 1000  # lines of the right width after an opening quotation mark that prove it literal


def tsv_rows(lines: Iterable[str]) -> Iterator[list[str] | UnusableSample]:
    """Yield the fields of each row, the header first. Blank lines give no row; damage of the file is yielded last.

    A row is read as quoted if that is valid and gives as many fields as the header, unless it joins lines that each
    have as many fields as the header by themselves, and not every field of the header is quoted. Otherwise its
    quotation marks are literal.
    """
    ahead, width, is_quoted = _Lines(lines), 0, False
    while (line := ahead.next()) is not None:
        if isinstance(line, UnusableSample):
            yield line
        elif fields := _split(line):
            if line.startswith('"') or '\t"' in line:
                bare, fields = fields, _unquote(line, fields, ahead, width, is_quoted)
                is_quoted = is_quoted if width else all(field[:1] == field[-1:] == '"' for field in bare)
            width = width or len(fields)
            yield fields


def _unquote(line: str, fields: list[str], ahead: _Lines, width: int, is_quoted: bool) -> list[str]:
    """Return the fields. If the row is quoted, remove quotation marks, and take the row's other lines from `ahead`.

    `is_quoted`: the file certainly has quoted fields.
    """
    plain = len(fields) == width and not is_quoted  # whether the lines of the row, each alone, have the right width

    def row() -> Iterator[str]:
        nonlocal plain
        yield line
        for number, more in enumerate(ahead.peek()):
            plain = plain and len(_split(more)) == width
            if plain and number == LITERAL_LINES:
                return
            yield more

    try:
        reader = csv.reader(row(), delimiter="\t", strict=True)
        quoted = next(reader)
    except csv.Error:  # text after a closing quote, or no closing quote
        return fields
    if len(quoted) != (width or len(quoted)) or (plain and reader.line_num > 1):
        return fields
    ahead.drop(reader.line_num - 1)
    return quoted


def _split(line: str) -> list[str]:
    bare = line.rstrip("\r\n")
    return bare.split("\t") if bare else []


class _Lines:
    """Lines that can be looked at before they are taken. Damage of the file is the last item."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._source, self._seen = self._every(lines), deque[str | UnusableSample]()

    @staticmethod
    def _every(lines: Iterable[str]) -> Iterator[str | UnusableSample]:
        try:
            yield from lines
        except UnusableSample as bad:
            yield bad

    def next(self) -> str | UnusableSample | None:
        return self._seen.popleft() if self._seen else next(self._source, None)

    def peek(self) -> Iterator[str]:
        """Yield the next lines, up to damage."""
        for at in count():
            if at == len(self._seen):
                if (line := next(self._source, None)) is None:
                    return
                self._seen.append(line)
            if isinstance(found := self._seen[at], UnusableSample):
                return
            yield found

    def drop(self, lines: int) -> None:
        for _ in range(lines):
            self._seen.popleft()
