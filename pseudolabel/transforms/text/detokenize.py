"""Detokenizer: rows of tokens -> readable texts with blanks, and the answers for the blanks."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.contracts import Span
from pseudolabel.transforms.text.packing import to_strings
from pseudolabel.transforms.text.ragged import Ragged
from pseudolabel.transforms.text.special_tokens import SpecialTokens

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer

CONTEXT_TOKENS = 4  # preceding tokens that a token is decoded with


class Detokenizer:
    """A decoder of tokens and blanks. A blank keeps the word marks of its token: "##[MASK]" in place of "##n"."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.decode = tokenizer.decoder.decode if tokenizer.decoder else " ".join
        pieces = [tokenizer.id_to_token(i) or "" for i in range(max(tokenizer.get_vocab().values()) + 1)]
        inner = getattr(tokenizer.model, "continuing_subword_prefix", None) or ""
        spaces = [mark for mark in ("Ġ", "▁") if self.decode(["a", f"{mark}b"]) == "a b" != self.decode(["a", "b"])]
        self.space, self.end = "".join(spaces), getattr(tokenizer.model, "end_of_word_suffix", None) or ""
        marks = [next((mark for mark in (inner, *spaces) if mark and piece.startswith(mark)), "") for piece in pieces]
        ends = [self.end if self.end and piece.endswith(self.end) else "" for piece in pieces]
        self.pieces, self.marks, self.ends = (np.array(part, object) for part in (pieces, marks, ends))
        self.answers = np.array([self.decode([p.removeprefix(inner)]).strip() for p in pieces], object)

    def read(self, ids: np.ndarray, chosen: np.ndarray, special: SpecialTokens) -> list[pa.Array]:
        """Return r texts with a blank for each chosen token, and r lists of answers. `ids`, `chosen`: (r, L)."""
        unwritten = [special.cls, special.sep, special.pad, special.mask]  # [MASK] is written for blanks only
        written = ~np.isin(ids, unwritten)
        pieces = np.where(chosen, self.marks[ids] + "[MASK]" + self.ends[ids], self.pieces[ids])[written]
        document = np.cumsum(ids.reshape(-1) == special.sep)[written.reshape(-1)]  # [SEP] ends documents and rows
        texts = self.texts(pieces, np.nonzero(written)[0], document, len(ids))
        return [to_strings(texts), self.fillings(ids, chosen)]

    def spell(self, rows: Ragged, blanks: np.ndarray) -> pa.Array:
        """Return the texts of rows. Each id of `blanks` is written as a word."""
        pieces, row = self.pieces[rows.values], np.repeat(np.arange(len(rows.lengths)), rows.lengths)
        pieces = np.where(np.isin(rows.values, blanks), self.space + pieces + self.end, pieces)
        return to_strings(self.texts(pieces, row, row, len(rows.lengths)))

    def fill_masks(self, shown: np.ndarray, labels: np.ndarray, special: SpecialTokens) -> list[Span]:
        """Return the original text of (n,) ids as spans, marked "blank", "kept" or "changed" (with the token shown)."""
        asked = labels >= 0
        marks = np.select([~asked, shown == special.mask, shown == labels], ["", "blank", "kept"], "changed")
        texts = self.each(np.where(asked, labels, shown))
        notes = np.where(marks == "changed", self.answers[shown], "").tolist()
        return [Span(*span) for span in zip(texts, marks.tolist(), notes, strict=True)]

    def each(self, ids: np.ndarray) -> list[str]:
        """Return the text of each of (n,) ids, with the space before it if there is one."""
        pieces, texts = self.pieces[ids].tolist(), []
        for i, answer in enumerate(self.answers[ids].tolist()):
            before, with_it = (self.decode(pieces[max(0, i - CONTEXT_TOKENS) : end]) for end in (i, i + 1))
            texts.append(with_it[len(before) :] if with_it.startswith(before) else answer)
        return texts

    def texts(self, pieces: np.ndarray, rows: np.ndarray, parts: np.ndarray, count: int) -> list[str]:
        """Return `count` texts of (n,) pieces. `rows`, `parts`: (n,), of each piece. A part becomes a line of a row."""
        starts = np.flatnonzero(np.diff(parts, prepend=-1)).tolist()
        texts, flat = [""] * count, pieces.tolist()
        for row, (start, end) in zip(rows[starts].tolist(), pairwise([*starts, len(flat)]), strict=True):
            texts[row] += "\n" * bool(texts[row]) + self.decode(flat[start:end])
        return texts

    def fillings(self, ids: np.ndarray, chosen: np.ndarray) -> pa.Array:
        """Return r lists with the words of the chosen tokens. `ids`, `chosen`: (r, L)."""
        import pyarrow as pa

        offsets = np.append(0, chosen.sum(1).cumsum()).astype(np.int32)
        return pa.ListArray.from_arrays(offsets, to_strings(self.answers[ids[chosen]].tolist()))


load_detokenizer = lru_cache(maxsize=1)(Detokenizer)
