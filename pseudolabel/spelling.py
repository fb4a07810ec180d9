"""Spelling: rows of tokens as a person reads them, with blanks and what fills them."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.packing import strings
from pseudolabel.vocabulary import Special

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer


class Spelling:
    """How tokens are written, and their blanks: the decoder joins "is", "##[MASK]" as it would "is", "##n"."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.decode = tokenizer.decoder.decode if tokenizer.decoder else " ".join
        pieces = [tokenizer.id_to_token(i) or "" for i in range(max(tokenizer.get_vocab().values()) + 1)]
        inner = getattr(tokenizer.model, "continuing_subword_prefix", None) or ""
        marks = [next((mark for mark in (inner, "Ġ", "▁") if mark and piece.startswith(mark)), "") for piece in pieces]
        self.pieces = np.array(pieces, object)
        self.blanks = np.array([mark + "[MASK]" for mark in marks], object)
        self.answers = np.array([self.decode([p.removeprefix(inner)]).strip() for p in pieces], object)

    def read(self, ids: np.ndarray, chosen: np.ndarray, special: Special) -> list[pa.Array]:
        """(r, L) ids, (r, L) bool -> the texts with their blanks, and the lists of what fills them."""
        import pyarrow as pa

        unwritten = [special.cls, special.sep, special.pad, special.mask]  # all [MASK]s are blanks, none the text's own
        written = ~np.isin(ids, unwritten)
        words = np.where(chosen, self.blanks[ids], self.pieces[ids])[written].tolist()
        document = np.cumsum(ids.reshape(-1) == special.sep)[written.reshape(-1)]  # a row ends with [SEP], too
        starts = np.flatnonzero(np.diff(document, prepend=-1))
        rows, texts = np.nonzero(written)[0][starts].tolist(), [""] * len(ids)
        for row, (start, end) in zip(rows, pairwise([*starts.tolist(), len(words)]), strict=True):
            texts[row] += "\n" * bool(texts[row]) + self.decode(words[start:end])
        offsets = np.append(0, chosen.sum(1).cumsum()).astype(np.int32)
        return [strings(texts), pa.ListArray.from_arrays(offsets, strings(self.answers[ids[chosen]].tolist()))]


spelling = lru_cache(maxsize=1)(Spelling)
