"""Blocks: documents as tasks take them, about 1 MB in one buffer of UTF-8 and the offsets in it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.text import streams
from pseudolabel.readers.text.boundaries import BLOCK_BYTES, RawDocuments, split_document
from pseudolabel.readers.text.tables import Cell

MAX_DOCUMENT_BYTES = 16 << 20  # of a document; longer ones are cut


class Block(NamedTuple):
    """Documents, about 1 MB of them: document i is `data[starts[i]:ends[i]]`. What lies between belongs to none.

    A position names the document in its file: its first byte, or its row's number in csv, tsv and parquet. Bytes count
    in the decompressed file; in an encoding like UTF-16, which is read from the top only, in that file as UTF-8. The
    pieces of a document that was too long share its position.
    """

    data: np.ndarray  # (n,) uint8, UTF-8; the byte at ends[i], where there is one, is ASCII white space
    starts: np.ndarray  # (d,) int64, ascending
    ends: np.ndarray  # (d,) int64
    positions: np.ndarray  # (d,) int64, not descending

    def text(self, i: int) -> str:
        """Document `i` as a string."""
        return self.data[self.starts[i] : self.ends[i]].tobytes().decode()

    def texts(self) -> list[bytes]:
        """All documents, in UTF-8."""
        data = self.data.data
        return [bytes(data[start:end]) for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def keep(self, mask: np.ndarray) -> Block:
        """The block with only the documents where (d,) bool `mask` is true."""
        return Block(self.data, self.starts[mask], self.ends[mask], self.positions[mask])


Fault = tuple[int, UnusableSample]  # the position of a document, and why it is none


def pack(texts: Sequence[bytes], positions: Sequence[int]) -> Block:
    """Join documents into a block."""
    ends = np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1
    starts = ends - np.array([len(text) for text in texts], np.int64)
    return Block(np.frombuffer(b"\n".join(texts), np.uint8), starts, ends, np.array(positions, np.int64))


def decode_block(run: RawDocuments, encoding: str) -> Iterator[Block | Fault]:
    """Decode a run into a block: as it lies there where it is good UTF-8, else one document after the other."""
    apart = (run.ends[:-1] < run.starts[1:]).all()  # not so where a piece had to be cut between characters
    if len(run.starts) and apart and codecs.lookup(encoding).name == "utf-8":
        first, last = int(run.starts[0]), int(run.ends[-1])
        data = memoryview(run.data)[first - run.at : last - run.at]
        if _is_text(data):
            yield Block(np.frombuffer(data, np.uint8), run.starts - first, run.ends - first, run.positions)
            return
    texts, positions = [], []
    for raw, start, position in zip(run.texts(), run.starts.tolist(), run.positions.tolist(), strict=True):
        try:
            texts.append(_recoded(raw, start, encoding))
            positions.append(position)
        except UnusableSample as bad:
            yield position, bad
    yield pack(texts, positions)


def _is_text(data: memoryview) -> bool:
    try:
        return "\0" not in str(data, "utf-8")
    except UnicodeDecodeError:
        return False


def _recoded(raw: bytes, place: int, encoding: str) -> bytes:
    try:
        text = raw.decode(encoding).encode()
    except UnicodeError as bad:
        at = getattr(bad, "start", 0)
        raise UnusableSample(f"byte {place + at} ({raw[at]:#04x}) is not {encoding}; {streams.ENCODING_HINT}") from None
    if 0 in text:
        raise UnusableSample(
            f"a zero at byte {place + raw.index(0)}: no text, or UTF-16 or UTF-32; {streams.ENCODING_HINT}"
        )
    return text


def pack_cells(texts: Iterable[Cell]) -> Iterator[Block | Fault]:
    """Join the texts of cells into blocks. White space around them goes, long ones are cut."""
    held: list[bytes] = []
    positions: list[int] = []
    size = 0
    for position, cell in texts:
        if isinstance(cell, UnusableSample):
            yield position, cell
            size += 64  # where nothing is usable, blocks come all the same
        elif text := cell.strip():
            spans = (
                split_document(text, 0, len(text), MAX_DOCUMENT_BYTES)
                if len(text) > MAX_DOCUMENT_BYTES
                else [(0, len(text))]
            )
            held += [text[start:end] for start, end in spans]
            positions += [position for _ in range(len(positions), len(held))]
            size += len(text)
        if size >= BLOCK_BYTES:
            yield pack(held, positions)
            held, positions, size = [], [], 0
    yield pack(held, positions)


def each_document(items: Iterable[Block | Fault]) -> Iterator[Cell]:
    """The documents of blocks one by one."""
    for item in items:
        if isinstance(item, Block):
            yield from zip(item.positions.tolist(), item.texts(), strict=True)
        else:
            yield item
