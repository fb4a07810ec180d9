"""Sentence pairs: documents -> sentences -> pairs of segments, which follow each other or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import Sample, Skipped
from pseudolabel.transforms.text.packing import merge_blocks
from pseudolabel.transforms.text.ragged import follow_links
from pseudolabel.transforms.text.sentences import split_sentences
from pseudolabel.transforms.text.tokenize import Tokens

FEW_DOCUMENTS = 8  # other documents; with so few, the document of a segment reveals the label


class Negatives(StrEnum):
    """The kind of a negative pair."""

    swapped = "swapped"
    random = "random"


class DocumentProgress(NamedTuple):
    """The number of tokens read so far from the last document."""

    document: tuple[str, int]  # file and position
    tokens: int


class SentenceText(NamedTuple):
    """Documents as sentences. Sentences without tokens are dropped."""

    ids: np.ndarray  # (t,) int32, with CONTINUES_WORD
    bounds: np.ndarray  # (s + 1,) int32: sentence i is ids[bounds[i]:bounds[i + 1]]
    document: np.ndarray  # (s,) int32: the document of each sentence
    first: np.ndarray  # (d,) int64: the first sentence of each document
    last: np.ndarray  # (d,) int64: the last sentence of each document, plus 1
    begin: np.ndarray  # (d,) int64: the first token of each document; negative if an earlier group has it
    names: np.ndarray  # (2, d) int64: the file number and position of each document
    files: list[str]
    pieces: np.ndarray  # (p,) int64: the document of each piece that was read

    def lacking(self, negatives: Negatives) -> Iterator[Skipped]:
        """Yield each piece of a document that can make no pair."""
        count = self.last - self.first
        for document in self.pieces[~self.usable(negatives)[self.pieces]].tolist():
            key = f"{self.files[self.names[0, document]]}#{self.names[1, document]}"
            reason = "only one sentence, which makes no pair" if count[document] else "no sentence"
            yield Skipped(key, reason, unusable=False)

    def usable(self, negatives: Negatives) -> np.ndarray:
        """Return (d,) bool: the document can make pairs. The result is not random."""
        least = 2 if negatives == Negatives.swapped or len(self.document) < 3 else 1
        return np.asarray(self.last - self.first >= least)


def read_sentences(
    group: Sequence[Sample], tokens: Tokens, per_line: bool, told: DocumentProgress
) -> tuple[SentenceText, DocumentProgress]:
    """Return the sentences of a group of blocks, and the progress in its last document."""
    block, files, owners = merge_blocks(group)
    parted = split_sentences(block, per_line)
    ids, offsets = tokens.encode(parted)
    filled = np.diff(offsets) > 0
    piece = (np.searchsorted(block.starts, parted.starts[filled], "right") - 1).astype(np.int32)
    del parted  # there may be millions of sentences
    every = np.stack([owners, block.positions])
    new = np.diff(every, prepend=-1).any(0)
    pieces = np.cumsum(new) - 1
    document, bounds = pieces.astype(np.int32)[piece], np.append(offsets[:-1][filled], offsets[-1]).astype(np.int32)
    first, last = (np.searchsorted(document, np.arange(new.sum()), side) for side in ("left", "right"))
    begin, names = bounds[first].astype(np.int64), every[:, new]
    if len(pieces) and told.document == (files[names[0, 0]], names[1, 0]):
        begin[0] -= told.tokens
    text = SentenceText(ids, bounds, document, first, last, begin, names, files, pieces)
    if not len(pieces):
        return text, told
    return text, DocumentProgress((files[names[0, -1]], int(names[1, -1])), len(ids) - int(begin[-1]))


# --- pairs -----------------------------------------------------------------------------------------------------------


class SentencePairs(NamedTuple):
    """Pairs of segments: the first token and the number of tokens of both, (c,) each."""

    chunk: np.ndarray  # (c,) int64: the first token of the sentences that make the pair
    a: np.ndarray
    a_size: np.ndarray
    b: np.ndarray
    b_size: np.ndarray
    label: np.ndarray  # (c,) bool: the pair is negative

    def known(self, is_text: np.ndarray) -> np.ndarray:
        """Return (c,) bool: both segments have a token of text. `is_text`: (t,) bool, false for [UNK]."""
        before = np.append(0, np.cumsum(is_text))
        a_known, b_known = before[self.a + self.a_size] > before[self.a], before[self.b + self.b_size] > before[self.b]
        return np.asarray(a_known & b_known)


def make_pairs(
    text: SentenceText, negatives: Negatives, most: int, short: float, rng: np.random.Generator
) -> SentencePairs:
    """Return all pairs of a text, of at most `most` tokens.

    As create_instances_from_document in google-research/bert, create_pretraining_data.py: lines 273-289 random segment.
    As google-research/albert's: lines 338-343 swapped segments.
    """
    bounds, (chunks, cut, stop, aim, false) = text.bounds, draw_chunks(text, negatives, most, short, rng)
    a, a_stop, b, b_stop = bounds[chunks], bounds[cut], bounds[cut], bounds[stop]
    if negatives == Negatives.swapped:
        a, b = np.where(false, b, a), np.where(false, a, b)
        a_stop, b_stop = np.where(false, b_stop, a_stop), np.where(false, a_stop, b_stop)
    else:
        start, end = elsewhere(text, chunks, first_negative(cut, stop, len(text.document)), rng)
        enough = np.searchsorted(bounds, bounds[start] + np.maximum(aim - (a_stop - a), 1))
        b, b_stop = np.where(false, bounds[start], b), np.where(false, bounds[np.minimum(enough, end)], b_stop)
    return SentencePairs(bounds[chunks], *truncate_pairs(a, a_stop - a, b, b_stop - b, most, rng), false)


def draw_chunks(
    text: SentenceText, negatives: Negatives, most: int, short: float, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Divide a text into chunks, (c,) each: the first sentence, the first of the second segment, the first after the
    chunk, the target length in tokens, and whether the pair is negative. Every sentence draws numbers, as if it began
    a chunk.

    BERT's lines 239-241 target length, 256 enough sentences for it, 260-262 size of the first segment, 271 random
    label, 292-293 unused sentences go back.
    """
    n, bounds = np.arange(len(text.document), dtype=np.int32), text.bounds
    end = text.last.astype(np.int32)[text.document]
    aim = np.where(rng.random(len(n)) < short, rng.integers(2, most + 1, len(n), np.int32), np.int32(most))
    stop = np.minimum(np.searchsorted(bounds, bounds[:-1] + aim).astype(np.int32), end)
    if negatives == Negatives.swapped or len(n) < 3:  # at least two sentences, and not one left over
        stop = np.minimum(np.maximum(stop, n + 2), end)
        stop = np.where(end - stop == 1, end, stop)
    cut = n + 1 + (rng.random(len(n)) * np.maximum(stop - n - 1, 1)).astype(np.int32)
    false = rng.random(len(n)) < 0.5
    if negatives == Negatives.random:
        # A negative needs a sentence elsewhere.
        false = (false | (stop - n == 1)) & (len(n) > first_negative(cut, stop, len(n)) - n)
    following = np.where(false & (negatives == Negatives.random), cut, stop)
    following[following == end] = len(n)  # the last chunk of a document has no next one
    begins = np.zeros(len(n), bool)
    begins[text.first[text.usable(negatives)]] = True
    chunks = np.flatnonzero(follow_links(following, begins))
    return chunks, cut[chunks], stop[chunks], aim[chunks], false[chunks]


def first_negative(cut: np.ndarray, stop: np.ndarray, count: int) -> np.ndarray:
    """Return for each chunk the first later sentence that may begin a random segment. The sentence that follows the
    first segment is excluded, even if that sentence is in the next document."""
    return np.asarray(np.minimum(np.maximum(stop, cut + 1), count))


def elsewhere(
    text: SentenceText, chunks: np.ndarray, after: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first sentence of each random segment, (c,). Return it and the sentence before which the segment must
    end, (c,). `after`: (c,) of `first_negative`. Draw another document, then one of its sentences, each with
    equal probability. With at most `FEW_DOCUMENTS` others, the document would reveal the label. Then all sentences
    outside the chunk have equal probability.
    """
    own, full = text.document[chunks], np.flatnonzero(text.last - text.first)
    chance = rng.random((2, len(chunks)))
    if len(full) > FEW_DOCUMENTS + 1:
        other = (chance[0] * (len(full) - 1)).astype(np.int64)
        other = full[other + (other >= np.searchsorted(full, own))]
        start = text.first[other] + (chance[1] * (text.last[other] - text.first[other])).astype(np.int64)
        near = start == after - 1  # the sentence after the first segment, in the next document
        start[near] = text.first[full[(np.searchsorted(full, other[near]) + 1) % len(full)]]
        return start, text.last[text.document[start]]
    start = (chance[1] * (len(text.document) - (after - chunks))).astype(np.int64)
    before = start < chunks
    start = np.minimum(np.where(before, start, start + after - chunks), len(text.document) - 1)
    last = text.last[text.document[start]]
    return start, np.where(before, np.minimum(last, chunks), last)


def truncate_pairs(
    a: np.ndarray, a_size: np.ndarray, b: np.ndarray, b_size: np.ndarray, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truncate pairs to `most` tokens: drop tokens one by one from the longer segment, or the second at equal length,
    at front or end with equal probability (truncate_seq_pair, lines 418-433 of BERT's code)."""
    a_kept = np.minimum(a_size, np.maximum(most - b_size, (most + 1) // 2))
    b_kept = np.minimum(b_size, most - a_kept)
    return a + rng.binomial(a_size - a_kept, 0.5), a_kept, b + rng.binomial(b_size - b_kept, 0.5), b_kept
