"""Span corruption: predict the spans cut out of a text (T5, UL2), or the whole text from the rest (BART)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from typer import Option

from pseudolabel.contracts import IGNORE_INDEX, Column, MarkedText, Piece, Span, UnusableSample, UserError
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.text import PackedTask, PackedText
from pseudolabel.transforms.text.detokenize import Detokenizer
from pseudolabel.transforms.text.masks import word_starts
from pseudolabel.transforms.text.packing import Packing, to_lists
from pseudolabel.transforms.text.ragged import Ragged, equal_rows
from pseudolabel.transforms.text.span_corruption import (
    PRESET_HELP,
    PRESETS,
    CorruptedParts,
    CorruptionPreset,
    CorruptionPresetName,
    Denoiser,
    infill,
    matches_text,
    noise_counts,
    noise_spans,
    readable_spans,
    restore_text,
    target_spans,
    text_and_label_lengths,
    with_sentinels,
)
from pseudolabel.transforms.text.special_tokens import ROLES, Frame, SpecialTokens, find_sentinels
from pseudolabel.transforms.text.tokenize import Tokens

if TYPE_CHECKING:
    import pyarrow as pa

MIN_SENTINELS = 100  # added to a tokenizer without sentinels, as in T5; more if a row needs more


def sentinel(number: int) -> str:
    """Return the name of a sentinel token, as in T5's tokenizer."""
    return f"<extra_id_{number}>"


def _notes(task: CorruptSpans, artefacts: Path) -> Sequence[str]:
    from tokenizers import Tokenizer

    given = Tokenizer.from_str(task.tokenizer_files[0]).get_vocab() if task.tokenizer else {}
    size = max(Tokenizer.from_file(str(artefacts / "tokenizer.json")).get_vocab().values()) + 1
    added = task.lacking_tokens(given)[::-1]
    names = ", ".join(dict.fromkeys([*added[:2], "...", *added[-2:]] if len(added) > 4 else added))
    saved = f"added to the tokenizer, saved as tokenizer.json; the model needs vocab_size {size}"
    return [f"{len(added)} special tokens ({names}) were {saved}"] if added else []


@dataclass(frozen=True)
class CorruptSpans(PackedTask):
    """Cut spans out of a text; the labels are the spans.

    `input_ids` is the text with a sentinel in place of each span: <extra_id_0>, <extra_id_1> and so on. `labels` is
    each sentinel followed by its span. Both end with the end-of-sequence token. Documents are joined without a
    separator, as in T5's reduce_concat_tokens. [UNK] can be cut out as well. A text starts with a kept part and ends
    with a span. With `--preset bart`, one mask token replaces each span, and `labels` is the whole text. The spans of
    bart have Poisson-distributed numbers of words; a span of 0 words adds a mask. Unlike in fairseq's
    denoising_dataset.py, spans never overlap. Therefore the share of words cut out is `--density` (rounded up), and a
    span of 0 words lies between words. `ul2-s` follows a table of the UL2 paper: the last quarter is one span. The
    paper's code draws the start of the span at random, without sentinel. Without `--tokenizer`, a cased
    WordPiece vocabulary like BERT's is learned, with every preset: white space separates words and has no token, so
    spaces and line ends are lost. T5 needs a Unigram tokenizer (SentencePiece), BART a byte-level BPE.
    """

    name: ClassVar[str] = "corrupt-spans"
    description = Description(
        paper="Raffel et al. 2020, https://arxiv.org/abs/1910.10683",
        invalidating_augmentations=("corrupting again, as a T5 or BART collator does",),
        notes=_notes,
    )

    preset: Annotated[CorruptionPresetName, Option(help=PRESET_HELP)] = CorruptionPresetName.t5
    length: Annotated[int, Option(min=4, max=65_536, help="Tokens per input.")] = 512
    density: Annotated[float | None, Option(help="Share of the text to cut out. [the preset's]")] = None
    mean_span: Annotated[float | None, Option(min=1, max=math.inf, help="Mean length of a span. [the preset's]")] = None
    mode_token: Annotated[str | None, Option(help="Token at the start of each input. [the preset's]")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for density, mean in self.recipe.denoisers:
            if not 0 < density <= 0.95:
                raise UserError(f"--density {density} is out of range; give more than 0 and up to 0.95, such as 0.15")
            if not (1 <= mean <= 1000 or (mean == math.inf and not self.infilling)):
                raise UserError(f"--mean-span {mean} is out of range; give 1 to 1000, or inf (not with bart)")
        if self.length < 4 + bool(self.recipe.mode):
            raise UserError(f"--length {self.length} leaves no room for text; give 5 or more, such as 512")
        taken = [name for names in ROLES.values() for name in names]
        if self.recipe.mode in taken or self.recipe.mode.startswith("<extra_id_"):
            raise UserError(f"--mode-token {self.recipe.mode} names another special token; give a new one, as [X]")

    @cached_property
    def recipe(self) -> CorruptionPreset:
        """Return the settings in force: given options, else those of the preset."""
        recipe = PRESETS[self.preset]
        denoisers = (
            Denoiser(
                density if self.density is None else self.density, mean if self.mean_span is None else self.mean_span
            )
            for density, mean in recipe.denoisers
        )
        return CorruptionPreset(
            tuple(dict.fromkeys(denoisers)), recipe.mode if self.mode_token is None else self.mode_token
        )

    @property
    def infilling(self) -> bool:
        return self.preset == CorruptionPresetName.bart

    @cached_property
    def lengths(self) -> tuple[tuple[int, ...], int]:
        """Return the text tokens per row of each denoiser, and the number of label tokens. Not meaningful for bart."""
        made = [
            text_and_label_lengths(self.length, *denoiser, 1 + bool(self.recipe.mode))
            for denoiser in self.recipe.denoisers
        ]
        return tuple(text for text, _ in made), max(labels for _, labels in made)

    def columns(self) -> Sequence[Column]:
        shown = "a mask token" if self.infilling else "a sentinel"
        asked = "The text" if self.infilling else "Each sentinel followed by its span"
        return [
            Column("input_ids", "list<int32>", "input", f"Token ids of the text, with {shown} in place of each span."),
            Column("attention_mask", "list<int8>", "input", "1 for tokens, 0 for padding."),
            Column("labels", "list<int32>", "label", f"{asked}, as token ids to predict; -100 for padding."),
            Column("text", "string", "input", "The input as text."),
            Column("target", "string", "label", "The labels as text."),
        ][: 5 if self.as_text else 3]

    def needs(self) -> tuple[str, ...]:
        return super().needs() if self.infilling else ("sep", "pad")

    def extra_tokens(self) -> list[str]:
        """Return the mode token and the sentinels. Missing tokens are added to the tokenizer in this order."""
        counts = [
            noise_counts(n, *denoiser)[1] for n, denoiser in zip(self.lengths[0], self.recipe.denoisers, strict=True)
        ]
        sentinels = [sentinel(i) for i in reversed(range(max(MIN_SENTINELS, *counts)))]
        return [*filter(None, [self.recipe.mode]), *([] if self.infilling else sentinels)]

    def lacking_tokens(self, vocabulary: Mapping[str, int]) -> list[str]:
        """Return the mode token and the sentinels that a vocabulary lacks."""
        there = vocabulary.keys() | find_sentinels(vocabulary).keys()
        return [token for token in self.extra_tokens() if token not in there]

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Save the tokenizer, with missing sentinels and the mode token added, all as special tokens."""
        super().fit(seen, artefacts, rng)
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(artefacts / "tokenizer.json"))
        special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
        mode = self.recipe.mode
        if mode not in special and tokenizer.token_to_id(mode) is not None:
            raise UserError(f"--mode-token {mode} is a word of the tokenizer; give a new name, such as [X]")
        if lacking := self.lacking_tokens(tokenizer.get_vocab()):
            tokenizer.add_special_tokens(lacking)
            ids = tokenizer.get_vocab()
            if len(set(ids.values())) < len(ids):
                raise UserError("the tokenizer's ids have gaps, so no token can be added; give another tokenizer")
            tokenizer.save(str(artefacts / "tokenizer.json"))

    def literal(self) -> bool:
        return False  # a sentinel's name in the source is text; otherwise the text could not be restored

    def whole_words(self) -> bool:
        return self.infilling

    def packing(self, tokens: Tokens, special: SpecialTokens) -> Packing:
        room = self.length - bool(self.recipe.mode) - special.single.size
        return Packing(tokens, None, (room,) if self.infilling else self.lengths[0])

    def frame(self, special: SpecialTokens) -> Frame:
        """Return the special tokens of the labels, and of the inputs after the mode token."""
        return special.single if self.infilling else Frame((), (), (special.sep,))

    def label(self, text: PackedText, rng: np.random.Generator) -> list[pa.Array]:
        special, mode = text.special, self.recipe.mode
        text = text._replace(ids=special.plain(text.ids))
        inputs, labels, read = self.infill(text, rng) if self.infilling else self.cut(text, rng)
        frame = self.frame(special)
        front = ([special.added[mode]] if mode else []) + [*frame.front]
        shown = inputs.frame(self.length, special.pad, front, frame.back)
        attention = np.arange(self.length) < (inputs.lengths + len(front) + len(frame.back))[:, None]
        width = self.length - bool(mode) if self.infilling else self.lengths[1]
        asked = labels.frame(width, IGNORE_INDEX, frame.front, frame.back)
        return [*map(to_lists, (shown, attention.astype(np.int8), asked)), *read]

    def cut(self, text: PackedText, rng: np.random.Generator) -> tuple[Ragged, Ragged, list[pa.Array]]:
        """Return the inputs, the labels, and with `--as-text` both as text."""
        (rows, width), denoiser = text.ids.shape, self.recipe.denoisers[text.turn]
        noise = noise_spans(rows, width, *denoiser, rng)
        count, read = noise_counts(width, *denoiser)[1], []
        sentinels = np.array([text.special.added[sentinel(i)] for i in range(count)])
        if text.detokenizer:
            characters, _ = text.detokenizer.characters(text.ids.reshape(-1), np.arange(text.ids.size) % width == 0)
            readable = readable_spans(text.ids, noise, sentinels, characters)
            read = [text.detokenizer.spell(part, sentinels) for part in readable]
        return with_sentinels(text.ids, noise, sentinels), target_spans(text.ids, noise, sentinels), read

    def infill(self, text: PackedText, rng: np.random.Generator) -> tuple[Ragged, Ragged, list[pa.Array]]:
        """Return the inputs, the whole texts as labels, and with `--as-text` both as text."""
        (rows, width), (density, mean) = text.ids.shape, self.recipe.denoisers[text.turn]
        begins = word_starts(np.ones_like(text.inside), text.inside, np.full(rows, density * width))
        mask, labels = text.special.mask, equal_rows(text.ids)
        inputs = infill(text.ids, begins, density, mean, mask, rng)
        spell = text.detokenizer.spell if text.detokenizer else None
        return inputs, labels, [spell(part, np.array([mask])) for part in (inputs, labels)] if spell else []

    def check_rows(
        self, rows: pa.RecordBatch, source: np.ndarray | None, special: SpecialTokens
    ) -> Sequence[str | None]:
        """Put the spans back and compare the text with the source."""
        text = [None] * len(rows) if source is None else special.plain(source)
        return [
            self._undo(self.split_spans(row, special), said) for row, said in zip(rows.to_pylist(), text, strict=True)
        ]

    def _undo(self, parts: CorruptedParts, source: np.ndarray | None) -> str | None:
        if self.infilling:
            text = parts.cut[0] if matches_text(parts.kept, parts.cut[0]) else None
            fault = "`labels` are not `input_ids` with the masks filled in"
        else:
            text, fault = restore_text(parts), "`labels` and `input_ids` have different sentinels"
        if text is None:
            return fault
        return None if source is None or np.array_equal(text, source) else "the restored text differs from the source"

    def split_spans(self, row: Row, special: SpecialTokens) -> CorruptedParts:
        """Drop the mode, start and end tokens; split before sentinels or masks. Raise `UnusableSample` if malformed."""
        ids, labels, size = np.array(row["input_ids"]), np.array(row["labels"]), sum(row["attention_mask"])
        asked, frame, mode = np.count_nonzero(labels != IGNORE_INDEX), self.frame(special), bool(self.recipe.mode)
        if min(ids.min(), labels[labels != IGNORE_INDEX].min(initial=0)) < 0 or max(ids.max(), labels.max()) >= len(
            special.table
        ):
            raise UnusableSample("the row has ids outside the vocabulary")
        first, end, last = mode + len(frame.front), size - len(frame.back), asked - len(frame.back)
        if (*ids[end:size], *labels[last:asked]) != 2 * frame.back:
            raise UnusableSample("`input_ids` or `labels` does not end with the tokens that end a text")
        shown, told = ids[first:end], labels[len(frame.front) : last]
        if self.infilling:
            return CorruptedParts(np.split(shown, np.flatnonzero(shown == special.mask)), [told])
        sentinels = [special.added[name] for name in self.extra_tokens() if name != self.recipe.mode]
        return CorruptedParts(*(np.split(part, np.flatnonzero(np.isin(part, sentinels))) for part in (shown, told)))

    def draw(self, row: Row, special: SpecialTokens, detokenizer: Detokenizer) -> Iterable[Piece]:
        """Yield the text with its spans in place; with bart, the text with its masks, and the whole text."""
        kept, cut = self.split_spans(row, special)
        parts = [(kept[0], "")]
        for hole, rest in zip([part[:1] for part in kept[1:]] if self.infilling else cut[1:], kept[1:], strict=True):
            parts += [(hole, "blank"), (rest[1:], "")]
        texts = iter(detokenizer.each(np.concatenate([part for part, _ in parts])))
        yield MarkedText("the text", [Span("".join(islice(texts, len(part))), mark) for part, mark in parts])
        if self.infilling:
            yield MarkedText("the target", [Span("".join(detokenizer.each(cut[0])))])
