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
CUT = "\ufffd"  # what decoders write for bytes that are no whole character
WHOLE_CUT = (CUT, "ï¿½", "<0xEF><0xBF><0xBD>")  # U+FFFD itself as pieces


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
        self.continues = self._continuing(pieces)
        self.added = np.zeros(len(pieces), bool)
        self.added[[*tokenizer.get_added_tokens_decoder()]] = True

    def _continuing(self, pieces: list[str]) -> np.ndarray:
        """Return (v,) bool: the piece begins inside a character. True for some pieces of byte-level vocabularies.

        Such a piece decodes to U+FFFD alone. After the byte C3 it completes a character, so no U+FFFD is written.
        """
        before = [piece for piece in ("Ã", "<0xC3>") if self.decode([piece]) == CUT]  # byte-level, byte fallback
        cut = [bool(before) and answer.startswith(CUT) for answer in self.answers]
        later = [c and not self.decode([before[0], p]).startswith(CUT) for c, p in zip(cut, pieces, strict=True)]
        return np.array(later, bool)

    def characters(self, ids: np.ndarray, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) int64: the number of the character that a token begins in; (n,) bool: that character is complete.

        Tokens with one number must be decoded together. `fresh`: (n,) bool, true where another text begins. If a text
        is a part of a row, its first or last character may be incomplete.
        """
        if not self.continues.any():
            return np.arange(len(ids)), np.ones(len(ids), bool)
        inside, apart = self.continues[ids], self.added[ids]
        fresh = fresh | apart | np.append(False, apart[:-1])[: len(ids)]
        begins = ~inside | fresh
        number, starts = np.cumsum(begins) - 1, np.flatnonzero(begins)
        whole, pieces = ~inside[starts], self.pieces[ids].tolist()
        for i in np.flatnonzero(np.append(fresh[1:], True)[: len(ids)]).tolist():
            character = pieces[starts[number[i]] : i + 1]
            whole[number[i]] &= not self.decode(character).endswith(CUT) or "".join(character).endswith(WHOLE_CUT)
        return number, whole[number]

    def read(self, ids: np.ndarray, chosen: np.ndarray, special: SpecialTokens) -> list[pa.Array]:
        """Return r texts with a blank for each chosen token, and r lists of answers. `ids`, `chosen`: (r, L).

        Tokens of one character have one blank. A character that a row cuts is left out: its tokens are no text.
        """
        import pyarrow as pa

        framing = [i for frame in (special.single, special.pair) for i in frame.tokens]
        written = ~np.isin(ids, [special.sep, special.pad, special.mask, *framing])  # [MASK] is written for blanks only
        document = np.cumsum(np.isin(ids, [special.sep, *framing]))[written.reshape(-1)]  # special tokens end documents
        (row, column), flat = np.nonzero(written), ids[written]
        fresh = np.diff(row, prepend=-1) + np.diff(column, prepend=-1) != 1
        number, whole = self.characters(flat, fresh)
        first, hidden = np.diff(number, prepend=-1) > 0, np.zeros(len(flat), bool)
        hidden[number[chosen[written]]] = True
        hidden = hidden[number]
        blank, shown = hidden & first & whole, (~hidden | first) & whole
        pieces = np.where(hidden, self.marks[flat] + "[MASK]" + self.ends[flat], self.pieces[flat])
        texts = self.texts(pieces[shown], row[shown], document[shown], len(ids))
        offsets = np.append(0, np.bincount(row[blank], minlength=len(ids)).cumsum()).astype(np.int32)
        answers, sizes = self.answers[flat[blank]], np.bincount(number)[number[blank]]
        for i in np.flatnonzero(sizes > 1).tolist():
            start = np.flatnonzero(blank)[i]
            answers[i] = self.decode(self.pieces[flat[start : start + sizes[i]]].tolist()).strip()
        return [to_strings(texts), pa.ListArray.from_arrays(offsets, to_strings(answers.tolist()))]

    def spell(self, rows: Ragged, blanks: np.ndarray) -> pa.Array:
        """Return the texts of rows, without the characters that are cut. Each id of `blanks` is written as a word."""
        row = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
        _, whole = self.characters(rows.values, np.diff(row, prepend=-1) > 0)
        ids, row = rows.values[whole], row[whole]
        words = np.array([self.space + piece.removeprefix(self.space) + self.end for piece in self.pieces], object)
        pieces = np.where(np.isin(ids, blanks), words[ids], self.pieces[ids])
        return to_strings(self.texts(pieces, row, row, len(rows.lengths)))

    def fill_masks(self, shown: np.ndarray, labels: np.ndarray, special: SpecialTokens) -> list[Span]:
        """Return the original text of (n,) ids as spans, marked "blank", "kept" or "changed" (with the token shown)."""
        asked = labels >= 0
        marks = np.select([~asked, shown == special.mask, shown == labels], ["", "blank", "kept"], "changed").tolist()
        ids = np.where(asked, labels, shown)
        number, _ = self.characters(ids, np.arange(len(ids)) == 0)
        for i in np.flatnonzero(np.diff(number) == 0)[::-1].tolist():  # a character has the mark of its first token
            marks[i], marks[i + 1] = marks[i] or marks[i + 1], ""
        cut = [CUT in answer for answer in self.answers[shown]]  # a part of a character is shown by its name
        names = np.where(cut, self.pieces[shown], self.answers[shown])
        notes = np.where(np.array(marks) == "changed", names, "").tolist()
        return [Span(*span) for span in zip(self.each(ids), marks, notes, strict=True)]

    def each(self, ids: np.ndarray) -> list[str]:
        """Return the text of each of (n,) ids, with the space before it if there is one.

        The first token of a character has the whole character, the others have "".
        """
        number, whole = self.characters(ids, np.arange(len(ids)) == 0)
        begins = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
        pieces, texts = self.pieces[ids].tolist(), [""] * len(ids)
        for start, end in pairwise([*begins, len(ids)]):
            context = begins[number[max(0, start - CONTEXT_TOKENS)]]
            before, with_it = (self.decode(pieces[context:stop]) for stop in (start, end))
            if whole[start]:
                alone = self.answers[ids[start]] if end - start == 1 else self.decode(pieces[start:end])
                texts[start] = with_it[len(before) :] if with_it.startswith(before) else str(alone)
        return texts

    def texts(self, pieces: np.ndarray, rows: np.ndarray, parts: np.ndarray, count: int) -> list[str]:
        """Return `count` texts of (n,) pieces. `rows`, `parts`: row and part of each, (n,). A part becomes a line."""
        starts = np.flatnonzero(np.diff(parts, prepend=-1)).tolist()
        texts, flat = [""] * count, pieces.tolist()
        for row, (start, end) in zip(rows[starts].tolist(), pairwise([*starts, len(flat)]), strict=True):
            texts[row] += "\n" * bool(texts[row]) + self.decode(flat[start:end])
        return texts


load_detokenizer = lru_cache(maxsize=1)(Detokenizer)
