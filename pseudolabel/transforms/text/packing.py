"""Packing: join a shard's documents into one stream of tokens and cut it into rows, without losing a token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Sample, file_of
from pseudolabel.readers.text.blocks import Block
from pseudolabel.transforms.text.tokenize import Tokens

if TYPE_CHECKING:
    import pyarrow as pa

MIN_BLOCK_BYTES = 256 << 10  # bytes of text processed at once, at least


class Packed(NamedTuple):
    """The rows of one width that a group of blocks completes."""

    key: str  # of the last block; seeds the random number generator
    keys: pa.Array  # (r,) strings: file, document and token where each row begins
    texts: np.ndarray  # (r, w) int32
    documents: int  # in the group; 0 if already counted
    turn: int  # index of the width


class PackingState(NamedTuple):
    """The incomplete row that the next blocks continue, and the number of tokens so far in its last document."""

    key: str = ""
    ids: np.ndarray = np.empty(0, np.int32)  # (k,) int32, k <= width
    document: tuple[str, int] = ("", 0)  # file and position
    tokens: int = 0
    turn: int = 0  # index of the row's width


class Packing(NamedTuple):
    """A cutter of documents into rows, whose widths are `widths` in turn. `sep`, if not None, follows each document."""

    tokens: Tokens
    sep: int | None
    widths: tuple[int, ...]

    def rows(self, samples: Iterator[Sample]) -> Iterator[Packed]:
        """Yield the rows of a stream of blocks. The last row may be shorter."""
        kept = PackingState()
        for group in group_blocks(samples):
            keys, every, bounds, left = self.cut(group, kept)
            documents = sum(sample.count for sample in group)
            for turn, width in enumerate(self.widths):
                first = (turn - kept.turn) % len(self.widths)
                starts = bounds[first :: len(self.widths)]
                texts = every[starts[:, None] + np.arange(width)]
                yield Packed(self.key(group[-1].key, turn), keys[first :: len(self.widths)], texts, documents, turn)
                documents = 0
            kept = left
        last = kept.ids if self.sep is None else kept.ids[:-1]  # the task's [SEP] replaces the last separator
        if len(last):
            yield Packed(self.key(kept.key, kept.turn), to_strings([kept.key]), last[None], 0, kept.turn)

    def key(self, key: str, turn: int) -> str:
        """Return the key that seeds the random number generator for the rows of a width."""
        return f"{key}/{turn}" if len(self.widths) > 1 else key

    def cut(self, group: Sequence[Sample], kept: PackingState) -> tuple[pa.Array, np.ndarray, np.ndarray, PackingState]:
        """Return (r,) keys, (t,) ids and (r,) first tokens of the rows that a group completes, and the new state."""
        import pyarrow as pa

        block, files, owners = merge_blocks(group)
        ids, starts, which = token_stream(*self.tokens.encode(block), np.stack([owners, block.positions]), self.sep)
        every = np.concatenate([kept.ids, ids])
        if not len(ids):
            return to_strings([]), every, np.empty(0, np.int64), kept
        if kept.document == (files[which[0, 0]], which[1, 0]):
            starts[0] -= kept.tokens
        turns = np.roll(self.widths, -kept.turn)
        bounds = np.cumsum(np.resize(turns, len(every) // min(self.widths) + 1))
        bounds = np.append(0, bounds[bounds < len(every)])  # the state keeps a full last row: `rows` drops its [SEP]
        at = bounds - len(kept.ids)
        keys = row_keys(files, which, starts, at[at >= 0])
        keys = pa.concat_arrays([to_strings([kept.key] if at[0] < 0 else []), keys])
        document, tokens = (files[which[0, -1]], int(which[1, -1])), len(ids) - int(starts[-1])
        turn = (kept.turn + len(bounds) - 1) % len(self.widths)
        left = PackingState(keys[-1].as_py(), every[bounds[-1] :].copy(), document, tokens, turn)
        return keys[:-1], every, bounds[:-1], left


def group_blocks(samples: Iterable[Sample], times: int = 1) -> Iterator[list[Sample]]:
    """Yield groups of `times` * MIN_BLOCK_BYTES or more: most of the cost of a block is independent of its size."""
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.payload.data)
        if size >= times * MIN_BLOCK_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def merge_blocks(group: Sequence[Sample]) -> tuple[Block, list[str], np.ndarray]:
    """Return one block of d documents, their files, and (d,) the file number of each document."""
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


def token_stream(ids: np.ndarray, offsets: np.ndarray, names: np.ndarray, sep: int | None) -> tuple[np.ndarray, ...]:
    """Return the (t,) ids of d documents with `sep` after each, the (k,) starts of documents and their (2, k) names.

    A name is a file and a position. Documents without tokens are dropped. Pieces of one document have one start and
    one name, but `sep` follows each piece.
    """
    filled = np.flatnonzero(np.diff(offsets))
    starts, names = offsets[filled], names[:, filled]
    first = np.flatnonzero(np.diff(names, prepend=-1).any(0))
    if sep is None:
        return ids, starts[first], names[:, first]
    return np.insert(ids, offsets[filled + 1], sep), (starts + np.arange(len(filled)))[first], names[:, first]


def row_keys(files: list[str], names: np.ndarray, starts: np.ndarray, at: np.ndarray) -> pa.Array:
    """Return the names of (r,) places in a stream, with file, document and token: "a.txt#1024+7"."""
    import pyarrow as pa
    import pyarrow.compute as pc

    document = np.searchsorted(starts, at, "right") - 1
    owners, positions = names[:, document]
    numbers = [pa.array(n).cast(pa.string()) for n in (positions, at - starts[document])]
    places = pc.binary_join_element_wise(to_strings(files).take(pa.array(owners)), numbers[0], "#")
    return pc.binary_join_element_wise(places, numbers[1], "+")


def to_lists(rows: np.ndarray) -> pa.Array:
    """Return (r, w) as an Arrow array of r lists."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], rows.reshape(-1))


def to_strings(texts: list[str]) -> pa.Array:
    """Return an Arrow array of strings, typed even if empty."""
    import pyarrow as pa

    return pa.array(texts, pa.string())
