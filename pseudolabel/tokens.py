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
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.sample import Refused

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pseudolabel.readers.text import Block

SLICE = 1_500_000  # bytes worked on at once: the tokenizer takes a hundred times that in memory
KNOWN = 500_000  # chunks remembered
LONG = 64  # bytes; longer chunks are seldom met again
GROUP = 1_000  # new chunks tokenised in one call

WHITE, ALONE, HAN = 1, 2, 3  # what a byte is, where text is cut
BLANKS = b" \t\n\r"  # the white space of every tokenizer; BERT's deletes \v and \f as control characters
PUNCTUATION = string.punctuation.encode()  # each sign is a word by itself, for BERT
IDEOGRAPHS = range(0xE5, 0xEA)  # lead bytes of U+5000 to U+9FFF, each a word by itself, for BERT

NORMALIZERS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}  # see no further than a space
CUTTERS = {"BertPreTokenizer", "WhitespaceSplit", "Whitespace"}  # cut at white space, wherever else they may
NASTY = (
    "Straße d’été, a/b: (c)! don't 3.14 x_y", "e\u0301te\u0301 ,\u0301 <\u0338 a\u0308\u0323\u0302 ΟΔΟΣ, İI ŉ ﬁ ½ ²",
    "a\u00a0b\u200bc\u2028d\u3000e\u00adf\ufeffg\x0bh\x0ci\x00j\x1fk\x85l\ufffdm", "中文字符，测试。㐀一丁丄䷿倀鿿豈𠀀 か゚な ｶﾞ 한국어 ภาษาไทย",
    "👩‍👩‍👧 🇫🇷 ☕️ 👍🏽", "x" * 99 + " " + "x" * 100 + " " + "x" * 101 + " " + "é" * 101, "", " \t\r\n ", "\u0301\u0301",
)  # fmt: skip


# --- where text may be cut -------------------------------------------------------------------------------------------


class Cuts(NamedTuple):
    """Where a tokenizer's text can be cut without changing an id."""

    kinds: np.ndarray  # (256,) uint8: WHITE, ALONE, HAN or 0, by byte
    literal: re.Pattern[bytes] | None  # special tokens that stand in the text as themselves
    separator: str  # a token no chunk holds, to tokenise many at once; "" if there is none
    longest: int | None  # letters; a longer word of ASCII letters and digits is unknown, whatever it ends in


def cuts(about: dict[str, Any]) -> Cuts:
    """Read from a tokenizer's description where its text can be cut; raise `Obstacle` if nowhere for certain."""
    normalizers, cutters = parts(about["normalizer"]), parts(about["pre_tokenizer"])
    for strange in [*set(normalizers) - NORMALIZERS, *cutters[1:]]:
        raise Obstacle(f"{strange} may look across white space")
    if not cutters or cutters[0] not in CUTTERS:
        raise Obstacle("its pre-tokenizer does not begin by cutting at white space")
    added = about["added_tokens"]
    for token in added:
        if token["lstrip"] or token["rstrip"] or token["single_word"] or len(token["content"].split()) != 1:
            raise Obstacle(f"its token {token['content']!r} depends on the white space around it")
        if token["normalized"] and not token["content"].isascii():
            raise Obstacle(f"its token {token['content']!r} is sought in normalised text")
    raw = [token["content"] for token in sorted(added, key=lambda t: -len(t["content"])) if not token["normalized"]]
    bert = cutters == ["BertPreTokenizer"] and set(normalizers) <= {"BertNormalizer"} and len(raw) == len(added)
    kinds = np.zeros(256, np.uint8)
    kinds[list(BLANKS)] = WHITE
    if bert:
        kinds[list(PUNCTUATION)] = ALONE
    if bert and normalizers and about["normalizer"]["handle_chinese_chars"]:
        kinds[IDEOGRAPHS] = HAN
    literal = re.compile(b"|".join(re.escape(text.encode()) for text in raw)) if bert and raw else None
    return Cuts(kinds, literal, raw[0] if raw else "", about["model"].get("max_input_chars_per_word") if bert else None)


class Obstacle(Exception):
    """Why a tokenizer must be called document by document."""


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
    for found in cuts.literal.finditer(data) if cuts.literal else ():
        edge[found.start() : found.end()] = False
        edge[[found.start(), *range(found.end(), min(found.end() + 1, len(edge)))]] = True
    edge[1:] |= ~solid[:-1]
    edge[:1] = True
    return solid, solid & edge


def slices(data: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut data[start:stop] into stretches of about SLICE bytes, before white space."""
    white = np.isin(np.arange(256), list(BLANKS))
    while stop - start > SLICE:
        before = np.flatnonzero(white[data[start + 1 : start + SLICE]])
        after = () if len(before) else np.flatnonzero(white[data[start + SLICE : stop]])
        high = start + 1 + before[-1] if len(before) else start + SLICE + after[0] if len(after) else stop
        yield start, int(high)
        start = int(high)
    yield start, stop


# --- blocks to ids ---------------------------------------------------------------------------------------------------


class Tokens:
    """A tokenizer for blocks: its ids are those of `tokenizer.encode(document, add_special_tokens=False)`.

    Where it must be called document by document, one longer than SLICE is cut before white space.
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
        """A block of d documents -> (t,) int32 ids, (d + 1,) int64 offsets: document i is ids[offsets[i]:offsets[i + 1]]."""
        self.served["fast" if self.words else "plain"] += 1
        return fast(self.words, block) if self.words else plain(self.tokenizer, block)

    def _agrees(self, words: Words) -> bool:
        texts = [*NASTY, *(f"a{token.content}b {token.content}, {token.content.lower()}" for token in self._added())]
        block = joined(texts)
        return all(np.array_equal(*both) for both in zip(fast(words, block), plain(self.tokenizer, block), strict=True))

    def _added(self) -> list[Any]:
        return list(self.tokenizer.get_added_tokens_decoder().values())


@lru_cache(maxsize=1)
def tokens_from(description: str) -> Tokens:
    """The tokenizer of a tokenizer.json's content; kept, with the chunks it knows, for the next shard."""
    from tokenizers import Tokenizer

    return Tokens(Tokenizer.from_str(description))


def joined(texts: Sequence[str]) -> Block:
    """A block of `texts`."""
    from pseudolabel.readers.text import Block

    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) + 1 for text in encoded], dtype=np.int64) - 1
    starts = ends - [len(text) for text in encoded]
    return Block(np.frombuffer(b"\n".join(encoded), np.uint8), starts, ends, np.arange(len(texts)))


def plain(tokenizer: Tokenizer, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """`Tokens.encode`, document by document."""
    ids, offsets = array("i"), array("q", [0])
    for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
        for low, high in slices(block.data, start, end):
            text = block.data[low:high].tobytes().decode()
            ids.extend(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)
        offsets.append(len(ids))
    return np.array(ids, np.int32), np.array(offsets, np.int64)


def fast(words: Words, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """`Tokens.encode`, by looking chunks up."""
    ids, offsets, done, last = [np.empty(0, np.int32)], np.empty(len(block.starts) + 1, np.int64), 0, 0
    for low, high in slices(block.data, 0, len(block.data)):
        open_, first, last = *np.searchsorted(block.ends, [low], "right"), *np.searchsorted(block.starts, [low, high])
        bounds = np.stack([block.starts[open_:last], block.ends[open_:last]], 1).clip(low, high) - low
        part, places, totals = words.encode(block.data[low:high], spread(bounds, high - low))
        offsets[first:last] = done + totals[np.searchsorted(places, block.starts[first:last] - low)]
        ids.append(part)
        done += len(part)
    offsets[last:] = done
    return np.concatenate(ids), offsets


def spread(bounds: np.ndarray, length: int) -> np.ndarray:
    """(d, 2) ascending starts and ends -> (length,) bool, true within."""
    lengths = np.diff(bounds.ravel(), prepend=0, append=length)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


class Words:
    """The chunks met so far and their ids: chunk i is ids[starts[i]:starts[i + 1]]."""

    def __init__(self, tokenizer: Tokenizer, cuts: Cuts) -> None:
        self.tokenizer, self.cuts = tokenizer, cuts
        self.separator = tokenizer.token_to_id(cuts.separator) if cuts.separator else None
        self._forget()

    def _forget(self) -> None:
        self.known: dict[bytes, int] = {}
        self.ids, self.starts = array("i"), array("q", [0])

    def encode(self, data: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) text -> (t,) ids, (c,) where its chunks begin, (c + 1,) how many ids there are before each."""
        import pyarrow as pa

        solid, begins = chunks(data, inside, self.cuts)
        packed = data.compress(solid)
        bounds = np.append(np.flatnonzero(begins.compress(solid)), len(packed)).astype(np.int32)
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(packed)]
        words = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers).dictionary_encode()
        which = self._look_up(words.dictionary.to_pylist())[words.indices.to_numpy()]
        table, starts = np.frombuffer(self.ids, np.int32), np.frombuffer(self.starts, np.int64)
        lengths = starts[which + 1] - starts[which]
        totals = np.append(0, np.cumsum(lengths))
        ids = table[np.repeat(starts[which] - totals[:-1], lengths) + np.arange(totals[-1])]
        return ids, np.flatnonzero(begins), totals

    def _look_up(self, words: list[bytes]) -> np.ndarray:
        if max(len(self.starts), len(self.ids) // 4) > KNOWN:
            self._forget()
        found = np.fromiter(map(self.known.get, words, repeat(-1)), np.int64, len(words))
        new = np.flatnonzero(found < 0)
        found[new] = np.arange(len(new)) + len(self.starts) - 1
        self.known.update((words[i], at) for i, at in zip(new, found[new].tolist(), strict=True) if len(words[i]) <= LONG)
        for i in range(0, len(new), GROUP):
            ids, lengths = self._tokenise([self._text(words[j]) for j in new[i : i + GROUP]])
            self.starts.frombytes((len(self.ids) + np.cumsum(lengths, dtype=np.int64)).tobytes())
            self.ids.frombytes(ids.tobytes())
        return found

    def _text(self, word: bytes) -> str:
        longest = self.cuts.longest
        return (word[: longest + 1] if longest and len(word) > longest and word.isalnum() else word).decode()

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
