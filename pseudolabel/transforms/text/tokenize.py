"""Tokenisation: blocks of documents -> flat token ids. They equal the tokenizer's, but are computed faster.

Text repeats itself. A block is cut into chunks where the tokenizer is known not to look across the cut. Arrow finds the
distinct chunks, only new chunks are tokenised, and the ids are gathered by index.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.readers.text.blocks import Block, pack
from pseudolabel.transforms.text.chunking import BLANKS, ChunkRules, NotChunkable, WordMarks, chunk_rules, mask_between

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTINUES_WORD = np.int32(1 << 30)  # bit of the id of a token that continues the word of the token before it
CALL_BYTES = 1 << 12  # bytes of documents tokenised in one call; a longer document has its own call
SLICE_BYTES = 1_500_000  # bytes processed at once; the tokenizer needs a hundred times as much memory
MAX_CACHED_CHUNKS = 300_000  # chunks in the cache
LONG_CHUNK_BYTES = 64  # bytes; longer chunks are not looked up again, because they rarely repeat
SHORT_CHUNK_BYTES = 15  # bytes; shorter chunks are found by arrays
SLOT_SHIFT, MIX = np.uint64(64 - 19), np.uint64(0x9E3779B97F4A7C15)  # of a multiplicative hash with 19 bits
CHUNKS_PER_CALL = 200  # new chunks tokenised in one call
PROBE_TEXTS = (
    "Straße d’été, a/b: (c)! don't 3.14 x_y",
    "e\u0301te\u0301 ,\u0301 <\u0338 a\u0308\u0323\u0302 ΟΔΟΣ, İI ŉ ﬁ ½ ² \u0301\u0301",
    "a\u00a0b\u200bc\u2028d\u3000e\u00adf\ufeffg\x0bh\x0ci\x00j\x1fk\x85l\ufffdm",
    "中文字符，测试。㐀一丁丄䷿倀鿿豈𠀀 か゚な ｶﾞ 한국어 ภาษาไทย 👩‍👩‍👧 🇫🇷 ☕️ 👍🏽",
    " ".join("x" * n for n in (99, 100, 101)) + "é" * 101,
    "I'll we're  1st,\tx\u00a0 y\u3000 z\u2009 'S \n\n \u0301a\r\n b” é à т 스 한 語 👍 \u0301 \x1c \x85 \u00ad c  ",
    "",
    " \t\r\n ",
)


def slices(data: np.ndarray, places: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield slices of data[start:stop] of at most SLICE_BYTES, cut where (n,) bool `places` is true if possible."""
    while stop - start > SLICE_BYTES:
        high = start + SLICE_BYTES - int(places[start + SLICE_BYTES : start : -1].argmax())
        if not places[high]:  # cut between characters
            high = start + SLICE_BYTES - int((data[start + SLICE_BYTES : start : -1] & 0xC0 != 0x80).argmax())
        yield start, high
        start = high
    yield start, stop


# --- blocks to ids ---------------------------------------------------------------------------------------------------


class Tokens:
    """A tokenizer for blocks, with the ids of `tokenizer.encode(document, add_special_tokens=False)`.

    With `words`, the id of a token that continues a word has the bit CONTINUES_WORD. Tokens with the same number in the
    encoding's `word_ids` are one word; an added token is a word by itself. Without `literal`, the name of a special
    token in the text is ordinary text.

    The tokenizer needs gigabytes for long text, so two cuts are made although they may change ids: after SLICE_BYTES
    without a safe place; and, if chunks are not used, before white space in a document longer than SLICE_BYTES.
    """

    def __init__(self, tokenizer: Tokenizer, words: bool = False, literal: bool = True) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = not literal
        self.tokenizer, about = tokenizer, json.loads(tokenizer.to_str())
        self.caller = PlainTokenizer(tokenizer, WordMarks.of(tokenizer, about) if words else None)
        self.served: Counter[str] = Counter()  # blocks encoded each way: "fast" or "plain"
        self.obstacle = ""  # why blocks are encoded the plain way
        try:
            self.chunks: Chunks | None = Chunks(self.caller, chunk_rules(about, literal))
        except NotChunkable as why:
            self.chunks, self.obstacle = None, str(why)
        if self.chunks and not self._agrees(self.chunks):
            self.chunks, self.obstacle = None, "the ids of its chunks differ on the probe texts"

    def encode(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Return (t,) int32 ids and (d + 1,) int64 offsets: document i is ids[offsets[i]:offsets[i + 1]]."""
        self.served["fast" if self.chunks else "plain"] += 1
        return encode_chunked(self.chunks, block) if self.chunks else encode_plain(self.caller, block)

    def _agrees(self, chunks: Chunks) -> bool:
        added = [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]
        texts = [*PROBE_TEXTS, *(f"a{text}b {text}, {text.lower()}" for text in added)]
        block = pack([text.encode() for text in texts], range(len(texts)))
        return all(
            np.array_equal(*both)
            for both in zip(encode_chunked(chunks, block), encode_plain(self.caller, block), strict=True)
        )


@lru_cache(maxsize=1)
def load_tokens(description: str, words: bool, literal: bool) -> Tokens:
    """Load a tokenizer from the content of tokenizer.json. It is cached, with its known chunks, for the next shard."""
    from tokenizers import Tokenizer

    return Tokens(Tokenizer.from_str(description), words, literal)


class PlainTokenizer(NamedTuple):
    """The tokenizer without chunks."""

    tokenizer: Tokenizer
    marks: WordMarks | None  # None if words are not needed

    def ids(self, groups: Iterable[list[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Return (t,) int32 concatenated ids and (k,) int64 lengths of texts. Each group is tokenised in one call."""
        numbered = self.marks is not None and self.marks.tails is None
        call = self.tokenizer.encode_batch if numbered else self.tokenizer.encode_batch_fast  # without `word_ids`
        ids, words, lengths = array("i"), array("i"), array("q")
        for texts in groups:
            for made in call(texts, add_special_tokens=False):
                ids.extend(made.ids)
                lengths.append(len(made))
                if numbered:
                    words.extend(made.word_ids)  # type: ignore[arg-type]  # None only for added special tokens
        flat, each = np.array(ids, np.int32), np.array(lengths, np.int64)
        if self.marks:
            flat[self.marks.going_on(flat, np.array(words), each)] |= CONTINUES_WORD
        return flat, each


def encode_plain(caller: PlainTokenizer, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Encode a block as `Tokens.encode` does, by documents, with many small ones in one call."""
    data, white = block.data, np.isin(block.data, list(BLANKS))
    lows, highs = block.starts, block.ends
    for i in np.flatnonzero(highs - lows > SLICE_BYTES)[::-1].tolist():
        parts = np.array(list(slices(data, white, int(lows[i]), int(highs[i]))), np.int64)
        lows = np.concatenate([lows[:i], parts[:, 0], lows[i + 1 :]])
        highs = np.concatenate([highs[:i], parts[:, 1], highs[i + 1 :]])
    calls = np.flatnonzero(np.diff(np.cumsum(highs - lows) // CALL_BYTES, prepend=-1)).tolist()
    ids, lengths = caller.ids(
        [str(data.data[low:high], "utf-8") for low, high in zip(lows[i:j].tolist(), highs[i:j].tolist(), strict=True)]
        for i, j in pairwise([*calls, len(lows)])
    )
    return ids, np.append(0, np.cumsum(lengths))[np.searchsorted(lows, np.append(block.starts, len(data) + 1))]


def encode_chunked(known: Chunks, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """Encode a block as `Tokens.encode` does, by chunks."""
    data, starts = block.data, block.starts
    inside = mask_between(np.stack([starts, block.ends], 1).ravel(), len(data))
    ids, offsets, done, low = [np.empty(0, np.int32)], np.zeros(len(starts) + 1, np.int64), 0, 0
    while low < len(data):
        ahead = slice(low, low + SLICE_BYTES + 1)
        solid, begins = known.cuts.chunks(data[ahead], inside[ahead])
        fresh = np.append(0, starts[slice(*np.searchsorted(starts, [low, low + len(begins)]))] - low)
        begins[fresh] = solid[fresh]  # a document begins a chunk, even if it touches the one before
        (_, size), *_ = slices(data[ahead], begins, 0, len(begins))
        part, totals = known.encode(data[low : low + size], solid[:size], begins[:size])
        first, last = np.searchsorted(starts, [low, low + size])
        chunks_before = np.searchsorted(np.flatnonzero(begins[:size]), starts[first:last] - low)
        offsets[first:last] = done + totals[chunks_before]
        ids.append(part)
        done, low = done + len(part), low + size
    offsets[np.searchsorted(starts, len(data)) :] = done
    return np.concatenate(ids), offsets


def short_keys(data: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two (c,) uint64: bytes 0 to 7 of data[lows:highs], and bytes 8 to 14 with the length above them.

    Keys differ if chunks differ, unless both are longer than SHORT_CHUNK_BYTES.
    """
    padded, lengths = np.append(data, np.zeros(16, np.uint8)), highs - lows
    words = np.ndarray(len(data) + 9, "<u8", padded, strides=(1,))  # at every byte
    masks = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
    size = np.minimum(lengths, 255).astype(np.uint64) << np.uint64(56)
    tail = words[lows + 8] & masks.take(lengths - 8, mode="clip") & masks[7]
    return words[lows] & masks.take(lengths, mode="clip"), tail | size


class Chunks:
    """A cache of chunks and their ids: chunk i is ids[starts[i]:starts[i + 1]].

    Arrays find the short chunks: the slot of a chunk, by its hash, holds its bytes and its number. A chunk that is
    longer, new, or was put out of its slot by another is looked up in a dictionary.
    """

    def __init__(self, caller: PlainTokenizer, cuts: ChunkRules) -> None:
        self.caller, self.cuts = caller, cuts
        self.separator = caller.tokenizer.token_to_id(cuts.separator) if cuts.separator else None
        self._forget()

    def _forget(self) -> None:
        self.known: dict[bytes, int] = {}
        self.ids, self.starts = array("i"), array("q", [0])
        self.slots = np.zeros((3, 1 << 64 - int(SLOT_SHIFT)), np.uint64)  # two keys and the number of a short chunk

    def encode(self, data: np.ndarray, solid: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (t,) int32 ids of (n,) uint8 text in c chunks, and (c + 1,) the number of ids before each chunk."""
        ends = solid.copy()
        ends[:-1] &= begins[1:] | ~solid[1:]
        which = self._find(data, np.flatnonzero(begins), np.flatnonzero(ends) + 1)
        table, starts = np.frombuffer(self.ids, np.int32), np.frombuffer(self.starts, np.int64)
        first = starts.take(which)
        lengths = starts.take(which + 1) - first
        totals = np.append(0, np.cumsum(lengths))
        return table.take(np.repeat(first - totals[:-1], lengths) + np.arange(totals[-1])), totals

    def _find(self, data: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        """Return (c,) int64, the numbers of the chunks data[lows:highs]. New chunks are tokenised."""
        import pyarrow as pa

        if max(len(self.starts), len(self.ids) // 4) > MAX_CACHED_CHUNKS:
            self._forget()
        keys = short_keys(data, lows, highs)
        slots = ((keys[0] ^ keys[1] * MIX) * MIX >> SLOT_SHIFT).astype(np.int64)
        first, second, numbers = self.slots
        which = numbers.take(slots).view(np.int64)
        lost = np.flatnonzero((first.take(slots) != keys[0]) | (second.take(slots) != keys[1]))
        lengths = (highs - lows).take(lost)
        bounds = np.append(0, np.cumsum(lengths))
        packed = data.take(np.repeat(lows.take(lost) - bounds[:-1], lengths) + np.arange(bounds[-1]))
        buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(packed)]
        texts = pa.Array.from_buffers(pa.binary(), len(lost), buffers).dictionary_encode()
        which[lost] = self._look_up(texts.dictionary.to_pylist()).take(texts.indices.to_numpy())
        lost = lost[lengths <= SHORT_CHUNK_BYTES]
        self.slots[:, slots.take(lost)] = keys[0].take(lost), keys[1].take(lost), which.take(lost)
        return which

    def _look_up(self, texts: list[bytes]) -> np.ndarray:
        found = np.fromiter(map(self.known.get, texts, repeat(-1)), np.int64, len(texts))
        new = np.flatnonzero(found < 0)
        found[new] = np.arange(len(new)) + len(self.starts) - 1
        self.known.update(
            (texts[i], at) for i, at in zip(new, found[new].tolist(), strict=True) if len(texts[i]) <= LONG_CHUNK_BYTES
        )
        for i in range(0, len(new), CHUNKS_PER_CALL):
            ids, lengths = self._tokenise([texts[j].decode() for j in new[i : i + CHUNKS_PER_CALL]])
            self.starts.frombytes((len(self.ids) + np.cumsum(lengths, dtype=np.int64)).tobytes())
            self.ids.frombytes(ids.tobytes())
        return found

    def _tokenise(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the concatenated ids of k texts, and (k,) the number of ids per text."""
        if self.separator is not None:
            ids, _ = self.caller.ids([[f" {self.cuts.separator} ".join(texts)]])
            between = ids == self.separator
            if np.count_nonzero(between) == len(texts) - 1:  # else a text contains the separator, too
                ends = np.append(np.flatnonzero(between), len(ids))
                return ids[~between], np.diff(ends, prepend=-1) - 1
        return self.caller.ids([texts])
