"""Packing: a shard's documents as one stream of tokens, cut into rows of one length, of which nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.readers.text import Block
from pseudolabel.sample import Sample, file_of
from pseudolabel.tokens import Tokens

if TYPE_CHECKING:
    import pyarrow as pa

ENOUGH = 256 << 10  # bytes of text worked on at once, at least


class Packed(NamedTuple):
    """Rows that are complete with these blocks."""

    key: str  # of the last block, which chance is drawn by
    keys: pa.Array  # (r,) strings: the file, document and token each row begins with
    texts: np.ndarray  # (r, w) int32
    documents: int  # taken in


class Kept(NamedTuple):
    """The beginning of a row that the next blocks go on with, and how much there was of the document it lies in."""

    key: str
    ids: np.ndarray  # (k,) int32, k <= length - 2
    document: tuple[str, int]  # file and position
    tokens: int


class Packing(NamedTuple):
    """Documents, each followed by a separator, as rows of `width` tokens."""

    tokens: Tokens
    sep: int
    width: int

    def rows(self, samples: Iterator[Sample]) -> Iterator[Packed]:
        """The rows of a stream of blocks; what is left at its end makes a last and shorter one."""
        kept = Kept("", np.empty(0, np.int32), ("", 0), 0)
        for group in gathered(samples):
            keys, texts, kept = self.cut(group, kept)
            yield Packed(group[-1].key, keys, texts, sum(sample.count for sample in group))
        if len(kept.ids) > 1:
            yield Packed(kept.key, strings([kept.key]), kept.ids[None, :-1], 0)  # its last separator is the row's own

    def cut(self, group: Sequence[Sample], kept: Kept) -> tuple[pa.Array, np.ndarray, Kept]:
        """The keys and the (r, width) texts of the rows complete with these blocks, and what is left over."""
        import pyarrow as pa

        block, files, owners = merged(group)
        ids, starts, which = stream(*self.tokens.encode(block), np.stack([owners, block.positions]), self.sep)
        every = np.concatenate([kept.ids, ids])
        if not len(ids):
            return strings([]), every[:0].reshape(0, self.width), kept
        if kept.document == (files[which[0, 0]], which[1, 0]):
            starts[0] -= kept.tokens
        rows = (
            len(every) - 1
        ) // self.width  # at least a token is left over: of the last one it is known to be a [SEP]
        at = np.arange(rows + 1) * self.width - len(kept.ids)
        keys = row_keys(files, which, starts, at[at >= 0])
        keys = pa.concat_arrays([strings([kept.key] if at[0] < 0 else []), keys])
        document, tokens = (files[which[0, -1]], int(which[1, -1])), len(ids) - int(starts[-1])
        left = Kept(keys[rows].as_py(), every[rows * self.width :].copy(), document, tokens)
        return keys[:rows], every[: rows * self.width].reshape(rows, self.width), left


def gathered(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Blocks one by one, small ones by the dozen: most of what a block costs does not depend on its size."""
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.payload.data)
        if size >= ENOUGH:
            yield group
            group, size = [], 0
    if group:
        yield group


def merged(group: Sequence[Sample]) -> tuple[Block, list[str], np.ndarray]:
    """One block of several, the files its d documents come from, and (d,) which one each does."""
    blocks = [sample.payload for sample in group]
    files = list(dict.fromkeys(file_of(sample.key) for sample in group))
    number = {file: i for i, file in enumerate(files)}
    owners = np.repeat([number[file_of(sample.key)] for sample in group], [len(block.starts) for block in blocks])
    if len(blocks) == 1:
        return blocks[0], files, owners
    begin = np.cumsum([0] + [len(block.data) + 1 for block in blocks])
    data = np.concatenate([part for block in blocks for part in (block.data, np.frombuffer(b"\n", np.uint8))])
    starts = np.concatenate([block.starts + at for block, at in zip(blocks, begin[:-1], strict=True)])
    ends = np.concatenate([block.ends + at for block, at in zip(blocks, begin[:-1], strict=True)])
    return Block(data, starts, ends, np.concatenate([block.positions for block in blocks])), files, owners


def stream(ids: np.ndarray, offsets: np.ndarray, names: np.ndarray, sep: int) -> tuple[np.ndarray, ...]:
    """(t,) ids of d documents, (2, d) their names -> the ids with [SEP] after each, (k,) starts, (2, k) names of these.

    A name is a file and a position. Documents without a token leave no trace, pieces of one that was cut are one.
    """
    filled = np.flatnonzero(np.diff(offsets))
    starts, names = offsets[filled] + np.arange(len(filled)), names[:, filled]
    first = np.flatnonzero(np.diff(names, prepend=-1).any(0))
    return np.insert(ids, offsets[filled + 1], sep), starts[first], names[:, first]


def row_keys(files: list[str], names: np.ndarray, starts: np.ndarray, at: np.ndarray) -> pa.Array:
    """Name (r,) places in a stream by file, document and token: "a.txt#1024+7"."""
    import pyarrow as pa
    import pyarrow.compute as pc

    document = np.searchsorted(starts, at, "right") - 1
    owners, positions = names[:, document]
    numbers = [pa.array(n).cast(pa.string()) for n in (positions, at - starts[document])]
    places = pc.binary_join_element_wise(strings(files).take(pa.array(owners)), numbers[0], "#")
    return pc.binary_join_element_wise(places, numbers[1], "+")


def lists(rows: np.ndarray) -> pa.Array:
    """(r, w) -> r Arrow lists of w."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], rows.reshape(-1))


def strings(texts: list[str]) -> pa.Array:
    """An Arrow array, also of none."""
    import pyarrow as pa

    return pa.array(texts, pa.string())
