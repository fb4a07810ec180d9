"""Text features: hashed TF-IDF and its largest singular directions (latent semantic analysis, Deerwester 1990)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.readers.text.blocks import Block

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HASH_BUCKETS = 1 << 16  # buckets for hashed terms
DIMENSIONS = 128  # numbers per document
POWER_ITERATIONS = 4  # multiplications by A' A in the randomised SVD; the singular values of text have a long tail
EXTRA_DIRECTIONS = 16  # directions that the randomised SVD finds and drops


@cache
def term_pattern() -> re.Pattern[str]:
    """Return the pattern of a term: a word, or one character of a script that is written without spaces.

    A word may contain marks: accents, vowel signs, and U+200C and U+200D between them.
    """
    marks = "\u200c\u200d" + "".join(chr(i) for i in range(0x300, 0xFFFF) if unicodedata.category(chr(i))[0] == "M")
    letters = rf"[^\W_]+(?:[{marks}]+[^\W_]*)*"
    single = r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    return re.compile(rf"{single}[{marks}]*|{letters}(?:['’]{letters})?")


class Buckets(dict[str, int]):
    """A cache of the bucket of each term, by CRC-32, which is the same in every process."""

    def __missing__(self, term: str) -> int:
        self[term] = bucket = crc32(term.encode()) % HASH_BUCKETS
        return bucket


def terms(block: Block) -> np.ndarray:
    """Return the m terms of d documents, in lower case and NFC, as (1 + m, 2) int32: document and bucket of each term.

    The first row is (d, 0), because the last documents may have no terms.
    Pairs of adjacent words are not terms: on short texts they add noise and four times the buckets.
    """
    buckets = Buckets()
    texts = (unicodedata.normalize("NFC", text.decode().lower()) for text in block.texts())
    found = [[buckets[term] for term in term_pattern().findall(text)] for text in texts]
    owners = np.repeat(np.arange(len(found)), [len(one) for one in found])
    return np.vstack([(len(found), 0), np.stack([owners, np.concatenate([np.empty(0), *found])], 1)]).astype(np.int32)


class Topics(NamedTuple):
    """Fitted weights and directions of terms."""

    term_buckets: np.ndarray  # (t,) int32, ascending: the buckets seen in the fit
    term_weights: np.ndarray  # (t,) float32: ln((1 + documents) / (1 + documents with the term)) + 1
    term_directions: np.ndarray  # (t, DIMENSIONS or fewer) float32

    def features(self, found: np.ndarray) -> np.ndarray:
        """Return (d, DIMENSIONS or fewer) float32 for the result of `terms`; NaN for a document without known terms."""
        documents, pairs = int(found[0, 0]), found[1:]
        at = np.searchsorted(self.term_buckets, pairs[:, 1]).clip(max=len(self.term_buckets) - 1)
        known = self.term_buckets[at] == pairs[:, 1]
        weighted = tf_idf(np.stack([pairs[known, 0], at[known]], 1), documents, self.term_weights)
        features = np.asarray(weighted @ self.term_directions, np.float32)
        features[np.diff(weighted.indptr) == 0] = np.nan
        return features


def tf_idf(pairs: np.ndarray, documents: int, weights: np.ndarray) -> csr_array:
    """Return sparse (documents, t) float32: (1 + ln count) * weight, each document scaled to length 1."""
    from scipy.sparse import csr_array

    counts = csr_array((np.ones(len(pairs), np.float32), pairs.T), shape=(documents, len(weights)))
    counts.sum_duplicates()
    counts.data = (1 + np.log(counts.data)) * weights[counts.indices]
    squares = counts.multiply(counts).sum(1)
    rows = np.repeat(np.sqrt(squares), np.diff(counts.indptr))
    counts.data = (counts.data / rows).astype(np.float32)
    return counts


def fit_topics(parts: Sequence[np.ndarray], rng: np.random.Generator) -> Topics:
    """Fit weights and directions to results of `terms`. Directions: by the randomised SVD of Halko, Martinsson & Tropp
    2011 (algorithms 4.4 and 5.1). Raise `UserError` if there are no terms."""
    begins = np.cumsum([0, *(part[0, 0] for part in parts)])
    total = int(begins[-1])
    moved = [part[1:] + np.array([begin, 0], np.int32) for part, begin in zip(parts, begins, strict=False)]
    pairs = np.concatenate(moved)
    if not len(pairs):
        raise UserError("no words to learn from in the documents read; give other documents", 3)
    buckets, at = np.unique(pairs[:, 1], return_inverse=True)
    pairs = np.stack([pairs[:, 0], at.ravel().astype(np.int32)], 1)
    spread = np.bincount(np.unique(pairs[:, 0].astype(np.int64) * len(buckets) + pairs[:, 1]) % len(buckets))
    weights = (np.log((1 + total) / (1 + spread)) + 1).astype(np.float32)
    matrix = tf_idf(pairs, total, weights)
    size = min(DIMENSIONS, len(buckets), total)
    basis = rng.normal(size=(len(buckets), min(size + EXTRA_DIRECTIONS, len(buckets)))).astype(np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, _, right = np.linalg.svd(matrix @ basis, full_matrices=False)
    return Topics(buckets.astype(np.int32), weights, np.asarray(basis @ right[:size].T, np.float32))
