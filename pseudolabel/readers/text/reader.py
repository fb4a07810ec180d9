"""Reader of text: files of any length become blocks of documents.

In plain text, white space separates documents: one line end if a line is a document, two if a paragraph is a document.
A file can also be one document. Documents are stripped of the white space around them. Lines end with LF, CR LF or CR.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, islice
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Extent, Options, Sample, Skipped, Split, UnusableSample, UserError, splits
from pseudolabel.readers.metadata import columns
from pseudolabel.readers.sources.formats import COMPRESSED, CSV, JSONL, TEXT, strip_compression
from pseudolabel.readers.sources.opening import check_checksum
from pseudolabel.readers.text import streams, tables
from pseudolabel.readers.text.blocks import MAX_DOCUMENT_BYTES, Block, Fault, decode_block, each_document, pack_cells
from pseudolabel.readers.text.boundaries import BoundaryScanner, RawDocuments, boundaries_within, cut_documents
from pseudolabel.storage.placeholders import PlaceholderFile

EXTENT_BYTES = 1 << 20  # bytes of a file that are one extent
SPLIT_HELP = "Unit that --validation draws. [file in plain text, document in jsonl, csv, tsv and parquet]"


class DocumentUnit(StrEnum):
    """Unit of plain text that is one document."""

    paragraph = "paragraph"
    line = "line"
    file = "file"


class SplitUnit(StrEnum):
    """Unit that is in one split, train or validation, as a whole."""

    document = "document"
    file = "file"


(EVERYTHING,) = splits(0.0)
LINE_ENDS = {DocumentUnit.line: 1, DocumentUnit.paragraph: 2, DocumentUnit.file: 0}  # line ends that separate documents


@dataclass(frozen=True)
class TextOptions(Options):
    """Options for reading text files as documents."""

    column: Annotated[str, Option(help="Column that holds the text, in jsonl, csv, tsv and parquet.")] = "text"
    encoding: Annotated[str, Option(help="Encoding of text: utf-8, latin-1, cp1252, utf-16, gb18030, ...")] = "utf-8"
    document: Annotated[DocumentUnit, Option(help="Unit of plain text that is one document.")] = DocumentUnit.paragraph
    split_by: Annotated[SplitUnit | None, Option(help=SPLIT_HELP)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            b"a".decode(self.encoding, "ignore")
            codecs.getincrementaldecoder(self.encoding)
        except (LookupError, ValueError):
            raise UserError(f"--encoding {self.encoding!r} is not known; try utf-8, latin-1 or cp1252") from None


OPTION_FORMATS = {  # option -> the formats that it is for
    "column": "jsonl, csv, tsv and parquet",
    "document": "plain text",
    "encoding": "plain text, jsonl, csv and tsv",
}


class TextReader:
    """Reader of documents from plain text and a column of jsonl, csv, tsv and parquet, also compressed (`COMPRESSED`).

    An empty file and a blank line give no document. A row without text (null or empty) is filtered.
    """

    suffixes = TEXT

    def __init__(self, options: TextOptions) -> None:
        self.options = options

    def scan(self, key: str, path: str, size: int, span: int = EXTENT_BYTES) -> Iterator[Extent]:
        """Yield extents of about `span` bytes if the file can be read in ranges, else the whole file."""
        name = path.lower()
        if name.endswith(".parquet"):
            yield from tables.parquet_extents(key, path, size, self.options.column, span)
        elif size > span and self._cuts(name):
            for start in range(0, size, span):
                stop = min(start + span, size)
                yield Extent(f"{key}#{start}-{stop}", path, start, stop, stop - start)
        else:
            yield Extent(key, path, 0, None, size)

    def given_options(self) -> set[str]:
        """Return the options of `OPTION_FORMATS` that differ from their defaults."""
        return {name for name in OPTION_FORMATS if getattr(self.options, name) != getattr(TextOptions, name)}

    def options_of(self, path: str) -> set[str]:
        """Return the options of `OPTION_FORMATS` that have an effect on a file of this name."""
        if not columns.is_table(path):
            return {"document", "encoding"}
        return {"column"} if path.lower().endswith(".parquet") else {"column", "encoding"}

    def splits_by_file(self, path: str) -> bool:
        """Return whether a file is in one split as a whole. Paragraphs of one book in both splits would be a leak."""
        if self.options.split_by is None:
            return not columns.is_table(path)
        return self.options.split_by == SplitUnit.file

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Yield blocks of the documents in `split`, and a `Skipped` for each unusable document or row without text."""
        for extent in extents:
            if self.splits_by_file(extent.where):
                if not split.holds(extent.file):
                    continue
                held = EVERYTHING
            else:
                held = split
            numbers, last = count(), -1
            for item in self._items(extent):
                if isinstance(item, Block):
                    mask = held.holds_at(extent.file, item.positions)
                    cut = np.count_nonzero(mask & (np.diff(item.positions, prepend=last) == 0))
                    key = _block_key(extent, next(numbers), item)
                    last = item.positions[-1] if len(item.positions) else last
                    if mask.any():
                        yield Sample(key, item.keep(mask), {"cut": int(cut)} if cut else {}, int(mask.sum()))
                elif held.holds_at(extent.file, np.array([item[0]]))[0]:
                    position, bad = item
                    unusable = isinstance(bad, UnusableSample)
                    yield Skipped(f"{extent.file}#{position}", str(bad), unusable, bad.count)

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Return the extent cut after `count` documents, and how many it has. Pieces of a document stay together."""
        seen, total = [np.empty((2, 0), np.int64)], 0  # positions, and sizes
        for item in self._items(extent):
            if isinstance(item, Block):
                if total > count and (item.positions[:1] > seen[-1][0, -1:]).any():  # the last document is complete
                    break
                seen.append(np.stack([item.positions, item.ends - item.starts]))
            else:
                seen.append(np.array([[item[0]], [0]]))
            total += seen[-1].shape[1]
        positions, sizes = np.concatenate(seen, axis=1)
        ordered = np.sort(positions)
        last = ordered[count - 1] if 0 < count <= len(ordered) else -1
        if len(ordered) <= count or last == ordered[-1]:
            return extent, len(positions)
        stop = int(ordered[np.searchsorted(ordered, last, "right")])
        weight = min(extent.weight, int(sizes[positions < stop].sum()))
        cut = Extent(f"{extent.file}#{extent.start}-{stop}", extent.where, extent.start, stop, weight)
        return cut, int(np.count_nonzero(positions < stop))

    def records(
        self, extent: Extent, wanted: columns.ColumnTypes
    ) -> Iterator[tuple[int, columns.Values | UnusableSample]]:
        """Yield a pair for each text of the extent: its position, and the values of the `wanted` columns or why they
        are unusable. Raise `UnusableSample` only for damage after which `read` finds no documents either."""
        path, name = extent.where, strip_compression(extent.where)
        if name.endswith(".parquet"):
            return columns.parquet_values(extent, wanted)
        if name.endswith(CSV):
            rows = tables.csv_records(path, wanted, self.options.encoding)
            return columns.text_values(islice(rows, extent.stop), wanted)
        top, _ = streams.byte_order_mark(path)
        return columns.text_values(self._objects(extent, top), wanted)

    def _cuts(self, name: str) -> bool:
        """Return whether a file of this name is read in ranges."""
        if name.endswith(CSV + COMPRESSED) or not streams.cuts_at_white(self.options.encoding):
            return False
        return self.options.document != DocumentUnit.file or name.endswith(JSONL)

    def _items(self, extent: Extent) -> Iterator[Block | Fault]:
        """Yield blocks. The faults of a block's documents come before the block."""
        try:
            if extent.where.lower().endswith(".parquet"):
                yield from pack_cells(tables.parquet_cells(extent, self.options.column))
            else:
                if extent.start == 0 and extent.stop is not None:  # only the first range checks the file
                    check_checksum(extent.where)
                yield from self._text(extent)
        except UnusableSample as bad:
            if extent.start == 0 or not isinstance(bad, PlaceholderFile):  # one fault for all ranges of the file
                yield extent.start, bad

    def _text(self, extent: Extent) -> Iterator[Block | Fault]:
        column, encoding = self.options.column, self.options.encoding
        name = strip_compression(extent.where)
        top, wide = streams.byte_order_mark(extent.where)
        if wide and streams.cuts_at_white(encoding):
            if extent.start == 0:
                raise UnusableSample(f"the byte order mark says {wide}; give --encoding {wide}")
        elif name.endswith(CSV):
            yield from pack_cells(tables.csv_cells(extent, column, encoding))
        elif not name.endswith(JSONL):
            yield from self._plain(extent, top, LINE_ENDS[self.options.document], MAX_DOCUMENT_BYTES)
        else:
            yield from pack_cells(tables.json_cells(self._objects(extent, top), column))

    def _objects(self, extent: Extent, top: int) -> Iterator[tables.Record]:
        """Yield the JSON objects of the lines that start in the extent."""
        return tables.json_records(each_document(self._plain(extent, top, 1, streams.MAX_LINE_BYTES)))

    def _plain(self, extent: Extent, top: int, line_ends: int, longest: int) -> Iterator[Block | Fault]:
        """Yield the documents of plain text that start in the extent. The text of the file starts at byte `top`."""
        path, encoding = extent.where, self.options.encoding
        stop = sys.maxsize if extent.stop is None else extent.stop
        if not streams.cuts_at_white(encoding):
            edges, source = BoundaryScanner(0, line_ends, longest), streams.recode(streams.chunks(path), encoding)
            encoding = "utf-8"
        elif extent.start <= top:
            edges, source = BoundaryScanner(top, line_ends, longest, encoding), streams.chunks(path, top)
        else:
            edges = boundaries_within(path, extent.start, stop, top, line_ends, longest, encoding)
            source = streams.chunks(path, edges.at)
        for item in cut_documents(source, edges, stop):
            yield from decode_block(item, encoding) if isinstance(item, RawDocuments) else (item,)


def _block_key(extent: Extent, number: int, block: Block) -> str:
    """Return the extent's key for its first block; for later blocks, the range of positions, "+" and the number."""
    if number == 0 or not len(block.positions):
        return extent.key
    return f"{extent.file}#{block.positions[0]}-{block.positions[-1] + 1}+{number}"
