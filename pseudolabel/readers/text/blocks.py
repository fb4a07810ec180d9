"""Blocks: about 1 MB of documents in one UTF-8 buffer, with their offsets. Tasks read text as blocks."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import FilteredSample, SampleError, UnusableSample
from pseudolabel.readers.text import streams
from pseudolabel.readers.text.boundaries import BLOCK_BYTES, RawDocuments, split_document
from pseudolabel.readers.text.tables import Cell

MAX_DOCUMENT_BYTES = 16 << 20  # bytes; longer documents are cut into pieces
NO_TEXT = "no text: null, empty or white space"


class Block(NamedTuple):
    """About 1 MB of documents: document i is `data[starts[i]:ends[i]]`. Bytes between documents belong to no document.

    A position identifies a document in its file. It is the byte offset of the document (jsonl: of its line), or the row
    number in csv, tsv and parquet. The offset counts decompressed bytes; in an encoding such as UTF-16 it counts bytes
    after conversion to UTF-8. All pieces of a document that is too long have the position of the document.
    """

    data: np.ndarray  # (n,) uint8, UTF-8; if data has a byte at ends[i], the byte is ASCII white space
    starts: np.ndarray  # (d,) int64, ascending
    ends: np.ndarray  # (d,) int64
    positions: np.ndarray  # (d,) int64, ascending; equal for pieces of one document

    def text(self, i: int) -> str:
        """Return document `i`."""
        return self.data[self.starts[i] : self.ends[i]].tobytes().decode()

    def texts(self) -> list[bytes]:
        """Return all documents as UTF-8."""
        data = self.data.data
        return [bytes(data[start:end]) for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def keep(self, mask: np.ndarray) -> Block:
        """Return a block of the documents for which `mask`, (d,) bool, is true."""
        return Block(self.data, self.starts[mask], self.ends[mask], self.positions[mask])


Fault = tuple[int, SampleError]  # the position of a document, and why it is unusable or left out


def pack(texts: Sequence[bytes], positions: Sequence[int]) -> Block:
    """Join documents into a block."""
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1
    starts = ends - np.array([len(text) for text in texts], np.int64)
    return Block(np.frombuffer(b"\n".join(texts), np.uint8), starts, ends, np.array(positions, np.int64))


def decode_block(run: RawDocuments, encoding: str) -> Iterator[Block | Fault]:
    """Yield the faults of documents, then their block. Valid UTF-8 is not copied; otherwise decode each document."""
    apart = (run.ends[:-1] < run.starts[1:]).all()  # false if a long document was cut inside a word
    if len(run.starts) and apart and codecs.lookup(encoding).name == "utf-8":
        first, last = int(run.starts[0]), int(run.ends[-1])
        data = memoryview(run.data)[first - run.at : last - run.at]
        if _is_text(data):
            yield Block(np.frombuffer(data, np.uint8), run.starts - first, run.ends - first, run.positions)
            return
    texts, positions, last = [], [], len(run.starts) - 1 if run.at_end else -1
    for i, (raw, start, position) in enumerate(
        zip(run.texts(), run.starts.tolist(), run.positions.tolist(), strict=True)
    ):
        try:
            texts.append(_recode(raw, start, encoding, i == last))
            positions.append(position)
        except UnusableSample as bad:
            yield position, bad
    yield pack(texts, positions)


def _is_text(data: memoryview) -> bool:
    try:
        return "\0" not in str(data, "utf-8")
    except UnicodeDecodeError:
        return False


def _recode(raw: bytes, place: int, encoding: str, at_end: bool) -> bytes:
    try:
        text = raw.decode(encoding).encode()
    except UnicodeError as bad:
        if at_end and streams.lacks_end(raw, encoding):
            raise UnusableSample(streams.CUT_CHARACTER) from None
        at = getattr(bad, "start", 0)
        raise UnusableSample(f"byte {place + at} ({raw[at]:#04x}) is not {encoding}; {streams.ENCODING_HINT}") from None
    if 0 in text:
        raise UnusableSample(
            f"NUL at byte {place + raw.index(0)}: binary data, UTF-16 or UTF-32; {streams.ENCODING_HINT}"
        )
    return text


def pack_cells(texts: Iterable[Cell]) -> Iterator[Block | Fault]:
    """Yield the texts of cells in blocks. Strip each text, and cut texts above `MAX_DOCUMENT_BYTES` into pieces.

    A cell without text is filtered.
    """
    held: list[bytes] = []
    positions: list[int] = []
    size = 0
    for position, cell in texts:
        if isinstance(cell, SampleError):
            yield position, cell
            size += 64  # unusable cells count too: after many, a block is yielded even if it is empty
        elif text := cell.strip():
            spans = (
                split_document(text, 0, len(text), MAX_DOCUMENT_BYTES)
                if len(text) > MAX_DOCUMENT_BYTES
                else [(0, len(text))]
            )
            held += [text[start:end] for start, end in spans]
            positions += [position for _ in range(len(positions), len(held))]
            size += len(text)
        else:
            yield position, FilteredSample(NO_TEXT)
        if size >= BLOCK_BYTES:
            yield pack(held, positions)
            held, positions, size = [], [], 0
    yield pack(held, positions)


def each_document(items: Iterable[Block | Fault]) -> Iterator[Cell]:
    """Yield the documents of blocks, and the faults, one by one."""
    for item in items:
        if isinstance(item, Block):
            yield from zip(item.positions.tolist(), item.texts(), strict=True)
        else:
            yield item
