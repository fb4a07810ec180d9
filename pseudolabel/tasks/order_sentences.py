"""Sentence order: predict whether the second segment follows the first (BERT), or whether they are swapped (ALBERT)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import IGNORE_INDEX, Chance, Column, Fact, MarkedText, Piece, Sample, Skipped, UserError
from pseudolabel.tasks.base.task import Description, Labeler, Row, Rows
from pseudolabel.tasks.base.text import BATCH_TOKENS, TokenTask, asking_rows, first_faults, list_to_array
from pseudolabel.transforms.text.detokenize import Detokenizer, load_detokenizer
from pseudolabel.transforms.text.masks import (
    MaskingOptions,
    MaskingParams,
    Unit,
    choose,
    masking_faults,
    replace_masked,
)
from pseudolabel.transforms.text.packing import group_blocks, row_keys, to_lists
from pseudolabel.transforms.text.sentence_pairs import (
    DocumentProgress,
    Negatives,
    SentencePairs,
    make_pairs,
    read_sentences,
)
from pseudolabel.transforms.text.special_tokens import Frame, SpecialTokens, framing_faults
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens

if TYPE_CHECKING:
    import pyarrow as pa

ORDER_MEANING = "Whether the second segment precedes the first in the source."
NEXT_MEANING = "Whether the second segment is from another place."
PAIR_COLUMNS = {
    Negatives.swapped: Column("sentence_order_label", "class", "label", ORDER_MEANING, ("in order", "swapped")),
    Negatives.random: Column("next_sentence_label", "class", "label", NEXT_MEANING, ("next", "random")),
}
SWAPPED_TELLS = {
    "edges": "the first and last words of a segment hint at its place in the text"
}  # at chance in random text
RANDOM_BLOCK_FACTOR = 16  # x MIN_BLOCK_BYTES = 4 MB of text per group, from which random segments are drawn
LABELS_COLUMN = Column("labels", "list<int32>", "label", "The original token if it is to be predicted, else -100.")
TEXT_COLUMN = Column("text", "string", "input", "The two segments as text, one per line.")
ANSWERS_COLUMN = Column("answers", "list<string>", "label", "The text of each [MASK] in `text`, in order.")


@dataclass(frozen=True)
class OrderSentences(MaskingOptions, TokenTask):
    """Pair two segments of text; the label is whether they are swapped, or whether the second is from another place.

    A row is a pair as the tokenizer frames it, `[CLS] first [SEP] second [SEP]` for BERT. With `--negatives swapped`
    (ALBERT), `sentence_order_label` is 1 if the second segment precedes the first in the source. With `--negatives
    random` (BERT), `next_sentence_label` is 1 if the second segment is from another place. Segments are whole
    sentences; if they are too long for a row, tokens are dropped at either end. Unlike google-research/albert's
    create_pretraining_data.py, `swapped` makes no row of one sentence, so every label is correct. With `random`, the
    second segment of a negative pair is from another document of the same 4 MB of text; if the 4 MB have few documents,
    as with books, from any other place in the 4 MB. By the published rule, the lengths of segments and the dropped
    tokens hint at the label: in random text, a guess from both is right in 56 % of rows, also with ALBERT's code; a
    constant guess is right in 51 %. Without `--tokenizer`, a cased WordPiece vocabulary like BERT's is learned: white
    space separates words and has no token. ALBERT's own tokenizer is a Unigram model (SentencePiece).
    """

    name: ClassVar[str] = "order-sentences"
    description = Description(
        paper="Lan et al. 2020, https://arxiv.org/abs/1909.11942; Devlin et al. 2019",
        invalidating_augmentations=("dropping or swapping segments", "masking again where --mask was given"),
        known_shortcuts=lambda task: SWAPPED_TELLS if task.negatives == Negatives.swapped else {},
    )

    negatives: Annotated[
        Negatives, Option(help="How to make negative pairs: swap the segments, or draw the second at random.")
    ] = Negatives.swapped
    mask: Annotated[bool, Option(help="Also mask tokens, with the method and options of mask-text.")] = False
    sentence_per_line: Annotated[bool, Option(help="Treat each line as one sentence.")] = False
    short_share: Annotated[float, Option(min=0, max=1, help="Share of rows with a random shorter target length.")] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [*self.given(MaskingParams._fields)]
        if given and not self.mask:
            raise UserError(f"--{given[0].replace('_', '-')} sets how tokens are masked, but --mask is off; add --mask")
        if self.tokenizer and not self.given_tokens.pair.between:
            remedy = "give --sep-token, to frame rows as [CLS] a [SEP] b [SEP]"
            raise UserError(f"the template of --tokenizer for two texts puts no token between them; {remedy}")
        if self.length < 5:
            raise UserError(f"--length {self.length} leaves no room for two segments; give 5 or more, such as 128")

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), **(self.rule._asdict() if self.mask else {})}

    def columns(self) -> Sequence[Column]:
        return [
            Column("input_ids", "list<int32>", "input", "Token ids of both segments, framed as a pair."),
            Column("token_type_ids", "list<int8>", "input", "The tokenizer's token types; 0 for padding."),
            Column("attention_mask", "list<int8>", "input", "1 for tokens, 0 for padding."),
            PAIR_COLUMNS[self.negatives],
            *([LABELS_COLUMN] if self.mask else []),
            *([TEXT_COLUMN] if self.as_text else []),
            *([ANSWERS_COLUMN] if self.as_text and self.mask else []),
        ]

    def needs(self) -> tuple[str, ...]:
        return super().needs() if self.mask else ("cls", "sep", "pad")

    def frame(self, special: SpecialTokens) -> Frame:
        return special.pair

    def labeler(self, artefacts: Path) -> Labeler:
        return SentenceOrderLabeler(
            self, *self.load_tokenizer(artefacts, self.mask and self.rule.unit != Unit.token, literal=False)
        )


class SentenceOrderLabeler(NamedTuple):
    """The labeler of order-sentences. It makes pairs of segments from groups of blocks of documents."""

    task: OrderSentences
    tokens: Tokens
    special: SpecialTokens
    detokenizer: Detokenizer | None

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        task, told = self.task, DocumentProgress(("", 0), 0)
        size = max(1, BATCH_TOKENS // task.length)
        for group in group_blocks(samples, RANDOM_BLOCK_FACTOR if task.negatives == Negatives.random else 1):
            text, told = read_sentences(group, self.tokens, task.sentence_per_line, told)
            ids = text.ids & ~CONTINUES_WORD
            is_text, lacking = self.special.is_text(ids), list(text.lacking(task.negatives))
            yield from lacking
            used = sum(sample.count for sample in group) - len(lacking)
            for copy in range(copies):
                rng = chance(group[-1].key, copy)
                pairs = make_pairs(text, task.negatives, task.length - self.special.pair.size, task.short_share, rng)
                counts = (0, 0) if copy else self.special.count_tokens(self.special.plain(ids))
                for i in range(0, len(pairs.label), size):
                    some = SentencePairs(*(part[i : i + size] for part in pairs))
                    keys = row_keys(text.files, text.names, text.begin, some.chunk)
                    framed = frame_pairs(text.ids, some, task.length, self.special)
                    batch = task.batch(keys, copy, self._columns(framed, some.label, rng))
                    source = partial(_select, framed[0], some)
                    yield from asking_rows(Rows(batch, used, (framed[0], some), *counts), some.known(is_text), source)
                    used, counts = 0, (0, 0)

    def check_rows(self, rows: pa.RecordBatch, source: tuple[np.ndarray, SentencePairs] | None) -> Sequence[str | None]:
        """Check that rows are framed pairs and equal the source, in the order that the label states."""
        task, special, frame = self.task, self.special, self.special.pair
        names = ("input_ids", "token_type_ids", "attention_mask")
        shown, types, attention = (list_to_array(rows, name, task.length) for name in names)
        labels = list_to_array(rows, "labels", task.length) if task.mask else np.full_like(shown, IGNORE_INDEX)
        filled = np.where(labels != IGNORE_INDEX, labels, shown)
        second, size = frame.second_text(filled), attention.sum(1, dtype=np.int64)
        a_size = second - len(frame.between) - len(frame.front)
        parts = frame.parts(a_size, size - frame.size - a_size, task.length)
        between = np.take_along_axis(filled, second[:, None] - len(frame.between) + np.arange(len(frame.between)), 1)
        tests = [
            *(masking_faults(shown, labels, special) if task.mask else []),
            *framing_faults(filled, attention, special, frame),
            ((between != frame.between).any(1), "the tokens between the segments are not the tokenizer's"),
            ((types != frame.type_ids[parts]).any(1), "`token_type_ids` are not those of the tokenizer for a pair"),
        ]
        if source is not None:
            said, pairs = source
            follows = pairs.a + pairs.a_size <= pairs.b
            false = rows.column(PAIR_COLUMNS[task.negatives].name).to_numpy() > 0
            tests.append(((filled != said).any(1), "the row differs from the source"))
            wrong = false == follows if task.negatives == Negatives.swapped else ~false & ~follows
            tests.append((wrong, "the segments are not in the order that the label states"))
        return first_faults(*tests)

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the two segments and the label."""
        ids, frame = np.array(row["input_ids"]), self.special.pair
        labels = np.array(row.get("labels", np.full_like(ids, IGNORE_INDEX)))
        detokenizer = load_detokenizer(self.tokens.tokenizer)
        filled = np.where(labels != IGNORE_INDEX, labels, ids)
        second, end = int(frame.second_text(filled[None])[0]), sum(row["attention_mask"]) - len(frame.back)
        first = slice(len(frame.front), second - len(frame.between))
        for name, part in (("first", first), ("second", slice(second, end))):
            yield MarkedText(f"{name} segment", detokenizer.fill_masks(ids[part], labels[part], self.special))
        column = PAIR_COLUMNS[self.task.negatives]
        yield Fact(column.name, column.names[row[column.name]])

    def _columns(self, made: tuple[np.ndarray, ...], swapped: np.ndarray, rng: np.random.Generator) -> list[pa.Array]:
        import pyarrow as pa

        task, special = self.task, self.special
        ids, inside, types, attention = made
        label, chosen = pa.array(swapped.astype(np.int64)), np.zeros(ids.shape, bool)
        columns = [to_lists(types), to_lists(attention), label]
        shown = ids
        if task.mask:
            made = choose(~special.table[ids], inside, task.rule, rng)
            shown, chosen = replace_masked(ids, made, special, task.rule.replace, rng), made.tokens
            columns.append(to_lists(np.where(chosen, ids, np.int32(IGNORE_INDEX))))
        written = self.detokenizer.read(ids, chosen, special) if self.detokenizer else []
        return [to_lists(shown), *columns, *written[: 1 + task.mask]]


def _select(ids: np.ndarray, pairs: SentencePairs, which: np.ndarray) -> tuple[np.ndarray, SentencePairs]:
    return ids[which], SentencePairs(*(part[which] for part in pairs))


def frame_pairs(
    stream: np.ndarray, pairs: SentencePairs, length: int, special: SpecialTokens
) -> tuple[np.ndarray, ...]:
    """Return `(c, length)` ids as the tokenizer frames pairs, bool "continues a word", int8 types, int8 attention."""
    frame, columns = special.pair, np.arange(length)
    parts, (first, second) = frame.parts(pairs.a_size, pairs.b_size, length), frame.texts
    in_a = parts == first
    written = in_a | (parts == second)
    places = columns + np.where(in_a, pairs.a[:, None] - first, (pairs.b - pairs.a_size - second + 1)[:, None])
    text = stream[places[written]]
    ids, inside = frame.ids(special.pad)[parts], np.zeros_like(written)
    ids[written], inside[written] = special.plain(text & ~CONTINUES_WORD), (text & CONTINUES_WORD) != 0
    return ids, inside, frame.type_ids[parts], (parts < len(frame.types)).astype(np.int8)
