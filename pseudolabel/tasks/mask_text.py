"""Masked language modelling: predict masked tokens from their context (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pseudolabel.contracts import IGNORE_INDEX, Column, MarkedText, Piece
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.text import PackedTask, PackedText, first_faults, list_to_array
from pseudolabel.transforms.text.detokenize import Detokenizer
from pseudolabel.transforms.text.masks import MaskingOptions, Unit, choose, masking_faults, replace_masked
from pseudolabel.transforms.text.packing import Packing, to_lists
from pseudolabel.transforms.text.ragged import equal_rows
from pseudolabel.transforms.text.special_tokens import SpecialTokens, framing_faults
from pseudolabel.transforms.text.tokenize import Tokens

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class MaskText(MaskingOptions, PackedTask):
    """Mask some tokens, words or spans of words of a text; the labels are the original tokens.

    `labels[i]` is the original token at position i if it is to be predicted, else -100. Of the tokens to predict, 80 %
    are shown as [MASK], 10 % as a random token and 10 % unchanged. By default, a row with n tokens that are not special
    has max(1, round(ratio * n)) tokens to predict. Differences from google-research/bert's create_pretraining_data.py:
    a row is a piece of the stream of documents, not a pair of sentences; the number of tokens to predict has no
    maximum; n excludes [CLS] and [SEP]; special tokens are never masked or drawn as random tokens. Words are the
    pre-tokens of the tokenizer. For a tokenizer that does not split text at spaces, such as Llama's, a word begins at
    the tokenizer's symbol for a space. Without `--tokenizer`, a cased WordPiece vocabulary like BERT's is learned,
    with every preset: white space separates words and has no token. RoBERTa needs a byte-level BPE.
    """

    name: ClassVar[str] = "mask-text"
    description = Description(
        paper="Devlin et al. 2019, https://arxiv.org/abs/1810.04805",
        invalidating_augmentations=("masking again, as DataCollatorForLanguageModeling does",),
    )

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), **self.rule._asdict()}

    def columns(self) -> Sequence[Column]:
        return [
            Column("input_ids", "list<int32>", "input", "Token ids of a text as the tokenizer frames it, some masked."),
            Column("labels", "list<int32>", "label", "The original token if it is to be predicted, else -100."),
            Column("attention_mask", "list<int8>", "input", "1 for tokens, 0 for padding."),
            Column("text", "string", "input", "The row as text, with [MASK] for each token to predict."),
            Column("answers", "list<string>", "label", "The text of each [MASK] in `text`, in order."),
        ][: 5 if self.as_text else 3]

    def packing(self, tokens: Tokens, special: SpecialTokens) -> Packing:
        return Packing(tokens, special.sep, (self.length - special.single.size,))

    def whole_words(self) -> bool:
        return self.rule.unit != Unit.token

    def label(self, text: PackedText, rng: np.random.Generator) -> list[pa.Array]:
        special, (rows, width) = text.special, text.ids.shape
        frame, before = special.single, len(special.single.front)
        ids = equal_rows(text.ids).frame(self.length, special.pad, frame.front, frame.back)
        inside = np.pad(text.inside, ((0, 0), (before, self.length - width - before)))
        attention = np.tile((np.arange(self.length) < width + frame.size).astype(np.int8), (rows, 1))
        chosen = choose(~special.table[ids], inside, self.rule, rng)
        labels = np.where(chosen.tokens, ids, np.int32(IGNORE_INDEX))
        shown = replace_masked(ids, chosen, special, self.rule.replace, rng)
        read = text.detokenizer.read(ids, chosen.tokens, special) if text.detokenizer else []
        return [*map(to_lists, (shown, labels, attention)), *read]

    def check_rows(
        self, rows: pa.RecordBatch, source: np.ndarray | None, special: SpecialTokens
    ) -> Sequence[str | None]:
        """Fill in the labels. Check that rows are framed texts, equal the source, and mask only text."""
        shown, labels, attention = (
            list_to_array(rows, n, self.length) for n in ("input_ids", "labels", "attention_mask")
        )
        filled = np.where(labels != IGNORE_INDEX, labels, shown)
        tests = [*masking_faults(shown, labels, special), *framing_faults(filled, attention, special, special.single)]
        if source is not None:
            before = len(special.single.front)
            other = (filled[:, before : before + source.shape[1]] != source).any(1)
            tests.append((other, "with the labels filled in, the row differs from the source"))
        return first_faults(*tests)

    def draw(self, row: Row, special: SpecialTokens, detokenizer: Detokenizer) -> Iterable[Piece]:
        """Yield the text with its masks filled in."""
        text = slice(len(special.single.front), sum(row["attention_mask"]) - len(special.single.back))
        shown, labels = (np.array(row[name][text]) for name in ("input_ids", "labels"))
        yield MarkedText("", detokenizer.fill_masks(shown, labels, special))
