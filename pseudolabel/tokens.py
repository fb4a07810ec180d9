"""Tokens: blocks of documents become flat token ids, exactly those the tokenizer gives for each document, only sooner.

Text repeats itself. A block is cut into chunks at places across which the tokenizer is known not to look, the distinct
chunks are found by Arrow, and only those never met before are tokenised; the rest is gathering by index.
"""

from __future__ import annotations

import json
import re
import string
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.readers.text import Block, pack

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLICE = 1_500_000  # bytes worked on at once: the tokenizer takes a hundred times that in memory
KNOWN = 300_000  # chunks remembered
LONG = 64  # bytes; longer chunks are seldom met again
GROUP = 200  # new chunks tokenised in one call

WHITE, ALONE, HAN = 1, 2, 3  # what a byte is, where text is cut
BLANKS = b" \t\n\r"  # the white space of every tokenizer; BERT's deletes \v and \f as control characters
PUNCTUATION = string.punctuation.encode()  # each sign is a word by itself, for BERT
IDEOGRAPHS = range(0xE5, 0xEA)  # lead bytes of U+5000 to U+9FFF, each a word by itself, for BERT

# Neither sees further than a space: the one changes characters, the other cuts at white space (and elsewhere, or not).
NORMALIZERS = frozenset({"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"})
CUTTERS = frozenset({"BertPreTokenizer", "WhitespaceSplit", "Whitespace"})
NASTY = (
    "Straße d’été, a/b: (c)! don't 3.14 x_y",
    "e\u0301te\u0301 ,\u0301 <\u0338 a\u0308\u0323\u0302 ΟΔΟΣ, İI ŉ ﬁ ½ ² \u0301\u0301",
    "a\u00a0b\u200bc\u2028d\u3000e\u00adf\ufeffg\x0bh\x0ci\x00j\x1fk\x85l\ufffdm",
    "中文字符，测试。㐀一丁丄䷿倀鿿豈𠀀 か゚な ｶﾞ 한국어 ภาษาไทย 👩‍👩‍👧 🇫🇷 ☕️ 👍🏽",
    " ".join("x" * n for n in (99, 100, 101)) + "é" * 101,
    "",
    " \t\r\n ",
)


# --- where text may be cut -------------------------------------------------------------------------------------------


class Cuts(NamedTuple):
    """Where a tokenizer's text can be cut without changing an id."""

    kinds: np.ndarray  # (256,) uint8: WHITE, ALONE, HAN or 0, by byte
    literal: re.Pattern[bytes] | None  # special tokens that stand in the text as themselves
    separator: str  # a token no chunk holds, to tokenise many at once; "" if there is none


class Obstacle(Exception):
    """Why a tokenizer must be called document by document."""


def cuts(about: dict[str, Any]) -> Cuts:
    """Read from a tokenizer's description where its text can be cut; raise `Obstacle` if nowhere for certain."""
    normalizers, cutters, added = parts(about["normalizer"]), parts(about["pre_tokenizer"]), about["added_tokens"]
    if len(cutters) != 1 or cutters[0] not in CUTTERS:
        raise Obstacle(f"its pre-tokenizer ({', '.join(cutters) or 'none'}) may look across white space")
    if not NORMALIZERS.issuperset(normalizers):
        raise Obstacle(f"its normalizer ({', '.join(normalizers)}) may look across white space")
    for token in added:
        tame = (
            not (token["lstrip"] or token["rstrip"] or token["single_word"]) and len(token["content"].encode()) <= LONG
        )
        if not tame or len(token["content"].split()) != 1:
            raise Obstacle(f"its token {token['content']!r} depends on what is around it")
        if token["normalized"] and not token["content"].isascii():
            raise Obstacle(f"its token {token['content']!r} is sought in the normalised text")
    raw = sorted((token["content"] for token in added if not token["normalized"]), key=len, reverse=True)
    bert = cutters == ["BertPreTokenizer"] and normalizers in ([], ["BertNormalizer"]) and len(raw) == len(added)
    kinds = np.zeros(256, np.uint8)
    if bert:
        kinds[list(PUNCTUATION)] = ALONE
    if bert and normalizers and about["normalizer"]["handle_chinese_chars"]:
        kinds[IDEOGRAPHS] = HAN
    kinds[list(BLANKS)] = WHITE
    literal = re.compile(b"|".join(re.escape(text.encode()) for text in raw)) if bert and raw else None
    return Cuts(kinds, literal, raw[0] if raw else "")


def parts(component: dict[str, Any] | None) -> list[str]:
    """Name the steps of a normalizer or pre-tokenizer, sequences unfolded."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component["type"]]
    return [name for part in component.get("normalizers") or component["pretokenizers"] for name in parts(part)]


def chunks(data: np.ndarray, inside: np.ndarray, cuts: Cuts) -> tuple[np.ndarray, np.ndarray]:
    """(n,) uint8 text, (n,) bool in a document -> (n,) bool belongs to a chunk, (n,) bool begins one."""
    kind = cuts.kinds.take(data)
    solid = inside & (kind != WHITE)
    alone, han = kind == ALONE, kind == HAN
    edge = alone | han
    edge[1:] |= alone[:-1]
    edge[3:] |= han[:-3]
    if cuts.literal:
        bounds = np.fromiter(chain.from_iterable(m.span() for m in cuts.literal.finditer(data.data)), np.int64)
        edge &= ~spread(bounds, len(edge))
    edge[1:] |= ~solid[:-1]
    return solid, solid & edge


def spread(bounds: np.ndarray, length: int) -> np.ndarray:
    """(2 k,) ascending starts and ends in turn -> (length,) bool, true within."""
    lengths = np.diff(bounds, prepend=0, append=length)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def slices(data: np.ndarray, places: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut data[start:stop] into stretches of SLICE bytes at most, where (n,) bool `places` allows if it can be done."""
    while stop - start > SLICE:
        high = start + SLICE - int(places[start + SLICE : start : -1].argmax())
        if not places[high]:
            high = start + SLICE - int((data[start + SLICE : start : -1] & 0xC0 != 0x80).argmax())  # between characters
        yield start, high
        start = high
    yield start, stop


# --- blocks to ids ---------------------------------------------------------------------------------------------------


class Tokens:
    """A tokenizer for blocks: its ids are those of `tokenizer.encode(document, add_special_tokens=False)`.

    Two things are cut that the tokenizer alone could only take with gigabytes: a stretch of SLICE bytes without a place
    to cut at, and, where it must be called document by document, one longer than SLICE, before white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.served: Counter[str] = Counter()  # blocks, "fast" or "plain"
        self.obstacle = ""  # why the plain way, if so
        try:
            self.words: Words | None = Words(tokenizer, cuts(json.loads(tokenizer.to_str())))
        except Obstacle as why:
            self.words, self.obstacle = None, str(why)
        if self.words and not self._agrees(self.words):
            self.words, self.obstacle = None, "its ids differ on the strings tried first"

    def encode(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """A block of d documents -> (t,) int32 ids, (d + 1,) int64 offsets: document i's are from offsets[i] on."""
        self.served["fast" if self.words else "plain"] += 1
        return fast(self.words, block) if self.words else plain(self.tokenizer, block)

    def _agrees(self, words: Words) -> bool:
        added = [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]
        texts = [*NASTY, *(f"a{text}b {text}, {text.lower()}" for text in added)]
        block = pack([text.encode() for text in texts], range(len(texts)))
        return all(np.array_equal(*both) for both in zip(fast(words, block), plain(self.tokenizer, block), strict=True))


@lru_cache(maxsize=1)
def tokens_from(description: str) -> Tokens:
    """The tokenizer of a tokenizer.json's content; kept, with the chunks it knows, for the next shard."""
    from tokenizers import Tokenizer

    return Tokens(Tokenizer.from_str(description))


def plain(tokenizer: Tokenizer, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """`Tokens.encode`, document by document."""
    white = np.isin(block.data, list(BLANKS))
    ids, offsets = array("i"), array("q", [0])
    for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
        for low, high in slices(block.data, white, start, end):
            text = block.data[low:high].tobytes().decode()
            ids.extend(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)
        offsets.append(len(ids))
    return np.array(ids, np.int32), np.array(offsets, np.int64)


def fast(words: Words, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """`Tokens.encode`, chunk by chunk."""
    data, starts = block.data, block.starts
    inside = spread(np.stack([starts, block.ends], 1).ravel(), len(data))
    ids, offsets, done, low = [np.empty(0, np.int32)], np.zeros(len(starts) + 1, np.int64), 0, 0
    while low < len(data):
        ahead = slice(low, low + SLICE + LONG)  # a special token that stands across the end is seen whole
        solid, begins = chunks(data[ahead], inside[ahead], words.cuts)
        begins[0] = solid[0]
        (_, size), *_ = slices(data[ahead], begins, 0, len(begins))
        part, totals = words.encode(data[low : low + size], solid[:size], begins[:size])
        first, last = np.searchsorted(starts, [low, low + size])
        chunks_before = np.searchsorted(np.flatnonzero(begins[:size]), starts[first:last] - low)
        offsets[first:last] = done + totals[chunks_before]
        ids.append(part)
        done, low = done + len(part), low + size
    offsets[-1] = done
    return np.concatenate(ids), offsets


class Words:
    """The chunks met so far and their ids: chunk i is ids[starts[i]:starts[i + 1]]."""

    def __init__(self, tokenizer: Tokenizer, cuts: Cuts) -> None:
        self.tokenizer, self.cuts = tokenizer, cuts
        self.separator = tokenizer.token_to_id(cuts.separator) if cuts.separator else None
        self._forget()

    def _forget(self) -> None:
        self.known: dict[bytes, int] = {}
        self.ids, self.starts = array("i"), array("q", [0])

    def encode(self, data: np.ndarray, solid: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) text and its c chunks -> (t,) int32 ids, (c + 1,) how many of them stand before each chunk."""
        import pyarrow as pa

        packed = data.compress(solid)
        bounds = np.append(np.flatnonzero(begins.compress(solid)), len(packed)).astype(np.int32)
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(packed)]
        words = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers).dictionary_encode()
        which = self._look_up(words.dictionary.to_pylist())[words.indices.to_numpy()]
        table, starts = np.frombuffer(self.ids, np.int32), np.frombuffer(self.starts, np.int64)
        lengths = starts[which + 1] - starts[which]
        totals = np.append(0, np.cumsum(lengths))
        return table[np.repeat(starts[which] - totals[:-1], lengths) + np.arange(totals[-1])], totals

    def _look_up(self, words: list[bytes]) -> np.ndarray:
        if max(len(self.starts), len(self.ids) // 4) > KNOWN:
            self._forget()
        found = np.fromiter(map(self.known.get, words, repeat(-1)), np.int64, len(words))
        new = np.flatnonzero(found < 0)
        found[new] = np.arange(len(new)) + len(self.starts) - 1
        self.known.update(
            (words[i], at) for i, at in zip(new, found[new].tolist(), strict=True) if len(words[i]) <= LONG
        )
        for i in range(0, len(new), GROUP):
            ids, lengths = self._tokenise([words[j].decode() for j in new[i : i + GROUP]])
            self.starts.frombytes((len(self.ids) + np.cumsum(lengths, dtype=np.int64)).tobytes())
            self.ids.frombytes(ids.tobytes())
        return found

    def _tokenise(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """k texts -> their ids in a row, (k,) how many each has."""
        if self.separator is not None:
            text = f" {self.cuts.separator} ".join(texts)
            ids = np.array(self.tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids, np.int32)
            between = ids == self.separator
            if np.count_nonzero(between) == len(texts) - 1:  # else the separator stands in a text, too
                ends = np.append(np.flatnonzero(between), len(ids))
                return ids[~between], np.diff(ends, prepend=-1) - 1
        made = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        return np.array([i for ids in made for i in ids], np.int32), np.array([len(ids) for ids in made])
