"""Span corruption: tell the spans that were cut out of a text (T5, UL2), or the whole text from what is left (BART)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import IGNORE_INDEX, Column, MarkedText, Piece, Span, UnusableSample, UserError
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.text import PackedTask, PackedText, guess_among_tokens
from pseudolabel.transforms.text.detokenize import Detokenizer
from pseudolabel.transforms.text.masks import word_starts
from pseudolabel.transforms.text.packing import Packing, to_lists
from pseudolabel.transforms.text.ragged import Ragged, equal_rows
from pseudolabel.transforms.text.span_corruption import (
    CorruptedParts,
    infill,
    matches_text,
    noise_counts,
    noise_spans,
    restore_text,
    target_spans,
    text_and_label_lengths,
    with_sentinels,
)
from pseudolabel.transforms.text.tokenize import Tokens
from pseudolabel.transforms.text.vocabulary import ROLES, SpecialTokens

if TYPE_CHECKING:
    import pyarrow as pa

MIN_SENTINELS = 100  # a tokenizer that lacks them gets as many as T5's has, or more if a row needs them


class CorruptionPresetName(StrEnum):
    """Whose corruption."""

    t5 = "t5"
    ul2_r = "ul2-r"
    ul2_s = "ul2-s"
    ul2_x = "ul2-x"
    bart = "bart"


class Denoiser(NamedTuple):
    """How much is cut out."""

    density: float  # share of the tokens; for bart, of the words
    mean: float  # tokens of a span; for bart, words; inf: one span, which ends the text


class CorruptionPreset(NamedTuple):
    """What a preset stands for."""

    denoisers: tuple[Denoiser, ...]  # for the rows in turn
    mode: str = ""  # the token that begins each input and says which denoisers these are


PRESETS = {
    CorruptionPresetName.t5: CorruptionPreset(
        (Denoiser(0.15, 3),)
    ),  # Raffel et al. 2020, 3.1.4; t5/models/gin/objectives/span_3_15_u_u.gin
    CorruptionPresetName.ul2_r: CorruptionPreset(
        (Denoiser(0.15, 3), Denoiser(0.15, 8)), "[R]"
    ),  # Tay et al. 2022, tables of 3.1.2 and 4
    CorruptionPresetName.ul2_s: CorruptionPreset((Denoiser(0.25, math.inf),), "[S]"),
    CorruptionPresetName.ul2_x: CorruptionPreset(
        (Denoiser(0.5, 3), Denoiser(0.5, 8), Denoiser(0.15, 64), Denoiser(0.5, 64)), "[X]"
    ),
    CorruptionPresetName.bart: CorruptionPreset(
        (Denoiser(0.3, 3),)
    ),  # Lewis et al. 2020, 2.2 and 4.1: text infilling alone
}


def sentinel(number: int) -> str:
    """The name of a sentinel, as T5's tokenizer has them."""
    return f"<extra_id_{number}>"


def describe_preset(preset: CorruptionPreset) -> str:
    """Return a preset in words."""
    spans = " or ".join(f"{100 * density:g} % in spans of {mean:g}" for density, mean in preset.denoisers)
    return spans.replace("spans of inf", "one span at the end") + (f", after {preset.mode}" if preset.mode else "")


PRESET_HELP = "Whose corruption. " + ". ".join(f"{name}: {describe_preset(preset)}" for name, preset in PRESETS.items())
PRESET_HELP += " words, each shown as one mask."


def _notes(task: CorruptSpans, artefacts: Path) -> Sequence[str]:
    from tokenizers import Tokenizer

    given = Tokenizer.from_str(task.tokenizer_json).get_vocab() if task.tokenizer else {}
    size = max(Tokenizer.from_file(str(artefacts / "tokenizer.json")).get_vocab().values()) + 1
    added = [token for token in task.extra_tokens()[::-1] if token not in given]
    names = ", ".join(dict.fromkeys([*added[:2], "...", *added[-2:]] if len(added) > 4 else added))
    saved = f"added to the tokenizer, which is saved as tokenizer.json; a model for it has vocab_size {size}"
    return [f"{len(added)} special tokens ({names}) were {saved}"] if added else []


@dataclass(frozen=True)
class CorruptSpans(PackedTask):
    """Cut spans out of a text; the label is what they were.

    `input_ids` is the text with a sentinel for each span, <extra_id_0>, <extra_id_1> and so on; `labels` is each
    sentinel followed by its span; both end with the end-of-sequence token. Documents follow each other without a sign,
    as in T5's reduce_concat_tokens, and [UNK] counts as text. The text begins with what is kept and ends with a span.
    With `--preset bart` every span is one mask token, spans are Poisson numbers of words, of none as well (a mask that
    stands for nothing), and `labels` is the whole text. Unlike fairseq's denoising_dataset.py: spans never overlap, so
    that their share is exact, and one of no words lies between words. Unlike the code printed with UL2, which draws
    where the prefix ends and has no sentinel, `ul2-s` is as the paper's table has it: the last quarter is one span.
    """

    name: ClassVar[str] = "corrupt-spans"
    description = Description(
        paper="Raffel et al. 2020, https://arxiv.org/abs/1910.10683",
        invalidating_augmentations=("corrupting again, as a T5 or BART collator does",),
        notes=_notes,
        chance_level=guess_among_tokens,
    )

    preset: Annotated[CorruptionPresetName, Option(help=PRESET_HELP)] = CorruptionPresetName.t5
    length: Annotated[int, Option(min=4, max=65_536, help="Tokens in a row's input.")] = 512
    density: Annotated[float | None, Option(help="Share of the text that is cut out. [the preset's]")] = None
    mean_span: Annotated[float | None, Option(min=1, max=math.inf, help="Mean length of a span. [the preset's]")] = None
    mode_token: Annotated[str | None, Option(help="A token to begin each input with. [the preset's]")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for density, mean in self.recipe.denoisers:
            if not 0 < density <= 0.95:
                raise UserError(f"--density {density} is no share to cut out; type one above 0 and up to 0.95, as 0.15")
            if not (1 <= mean <= 1000 or (mean == math.inf and not self.infilling)):
                raise UserError(f"--mean-span {mean} is no length of a span; type 1 to 1000, or inf for one span")
        if self.length < 4 + bool(self.recipe.mode):
            raise UserError(f"--length {self.length} has no room for text; type 5 or more, such as 512")
        taken = [name for names in ROLES.values() for name in names]
        if self.recipe.mode in taken or self.recipe.mode.startswith("<extra_id_"):
            raise UserError(f"--mode-token {self.recipe.mode} has another meaning; type one of your own, such as [X]")

    @cached_property
    def recipe(self) -> CorruptionPreset:
        """What holds: the options that are given, else those of the preset."""
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
        """Tokens of text in a row, for each denoiser, and of the labels."""
        if self.infilling:
            return (self.length - 2 - bool(self.recipe.mode),), self.length - bool(self.recipe.mode)
        made = [
            text_and_label_lengths(self.length, *denoiser, 1 + bool(self.recipe.mode))
            for denoiser in self.recipe.denoisers
        ]
        return tuple(text for text, _ in made), max(labels for _, labels in made)

    def columns(self) -> Sequence[Column]:
        shown = "a mask token" if self.infilling else "a sentinel"
        asked = "The text" if self.infilling else "Each sentinel followed by its span"
        return [
            Column("input_ids", "list<int32>", "input", f"Token ids: the text with {shown} for each span cut out."),
            Column("attention_mask", "list<int8>", "input", "1 for tokens, 0 for padding."),
            Column("labels", "list<int32>", "label", f"{asked}, to be told token by token; -100 for padding."),
            Column("text", "string", "input", "The input as a person reads it."),
            Column("target", "string", "label", "What is to be told as a person reads it."),
        ][: 5 if self.as_text else 3]

    def needs(self) -> tuple[str, ...]:
        return super().needs() if self.infilling else ("sep", "pad")

    def extra_tokens(self) -> list[str]:
        """The tokens the rows are made with, in the order of their ids where they must be added."""
        counts = [
            noise_counts(n, *denoiser)[1] for n, denoiser in zip(self.lengths[0], self.recipe.denoisers, strict=True)
        ]
        sentinels = [sentinel(i) for i in reversed(range(max(MIN_SENTINELS, *counts)))]
        return [*filter(None, [self.recipe.mode]), *([] if self.infilling else sentinels)]

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Save the tokenizer, with the sentinels it lacks; those it has are special from now on."""
        super().fit(seen, artefacts, rng)
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(artefacts / "tokenizer.json"))
        special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
        mode = self.recipe.mode
        if mode not in special and tokenizer.token_to_id(mode) is not None:
            raise UserError(f"--mode-token {mode} is a word of the tokenizer's; type one that is none, such as [X]")
        if lacking := [token for token in self.extra_tokens() if token not in special]:
            tokenizer.add_special_tokens(lacking)
            ids = tokenizer.get_vocab()
            if len(set(ids.values())) < len(ids):
                raise UserError(
                    "the tokenizer's ids have gaps, so that none can be added; give one whose ids have none"
                )
            tokenizer.save(str(artefacts / "tokenizer.json"))

    def literal(self) -> bool:
        return False  # a sentinel's name in the source is text, or the rows could not be undone

    def whole_words(self) -> bool:
        return self.infilling

    def packing(self, tokens: Tokens, special: SpecialTokens) -> Packing:
        return Packing(tokens, None, self.lengths[0])

    def label(self, text: PackedText, rng: np.random.Generator) -> list[pa.Array]:
        special, mode = text.special, self.recipe.mode
        text = text._replace(ids=special.plain(text.ids))
        inputs, labels, blanks = self.infill(text, rng) if self.infilling else self.cut(text, rng)
        start = [special.cls] if self.infilling else []
        front = [special.added[mode], *start] if mode else start
        shown = inputs.frame(self.length, special.pad, front, special.sep)
        attention = np.arange(self.length) < (inputs.lengths + len(front) + 1)[:, None]
        asked = labels.frame(self.lengths[1], IGNORE_INDEX, start, special.sep)
        read = [text.spelling.spell(part, blanks) for part in (inputs, labels)] if text.spelling else []
        return [*map(to_lists, (shown, attention.astype(np.int8), asked)), *read]

    def cut(self, text: PackedText, rng: np.random.Generator) -> tuple[Ragged, Ragged, np.ndarray]:
        """What is left, what is told, and the ids of the sentinels in both."""
        (rows, width), denoiser = text.ids.shape, self.recipe.denoisers[text.turn]
        noise = noise_spans(rows, width, *denoiser, rng)
        count = noise_counts(width, *denoiser)[1]
        sentinels = np.array([text.special.added[sentinel(i)] for i in range(count)])
        return with_sentinels(text.ids, noise, sentinels), target_spans(text.ids, noise, sentinels), sentinels

    def infill(self, text: PackedText, rng: np.random.Generator) -> tuple[Ragged, Ragged, np.ndarray]:
        """What is left, the whole text, and the id of the masks in what is left."""
        (rows, width), (density, mean) = text.ids.shape, self.recipe.denoisers[text.turn]
        begins = word_starts(np.ones_like(text.inside), text.inside, np.full(rows, density * width))
        mask = text.special.mask
        return infill(text.ids, begins, density, mean, mask, rng), equal_rows(text.ids), np.array([mask])

    def check_rows(
        self, rows: pa.RecordBatch, source: np.ndarray | None, special: SpecialTokens
    ) -> Sequence[str | None]:
        """Put back what was cut out: is it a text, and the source's?"""
        text = [None] * len(rows) if source is None else special.plain(source)
        return [
            self._undo(self.split_spans(row, special), said) for row, said in zip(rows.to_pylist(), text, strict=True)
        ]

    def _undo(self, parts: CorruptedParts, source: np.ndarray | None) -> str | None:
        if self.infilling:
            text = parts.cut[0] if matches_text(parts.kept, parts.cut[0]) else None
            fault = "`labels` are not `input_ids` with the blanks filled"
        else:
            text, fault = restore_text(parts), "`labels` do not have the sentinels of `input_ids`"
        if text is None:
            return fault
        return None if source is None or np.array_equal(text, source) else "filled in, it is not what the source says"

    def split_spans(self, row: Row, special: SpecialTokens) -> CorruptedParts:
        """A row without its frame, cut before each sentinel, or mask."""
        ids, labels, size = np.array(row["input_ids"]), np.array(row["labels"]), sum(row["attention_mask"])
        asked, front = np.count_nonzero(labels != IGNORE_INDEX), bool(self.recipe.mode) + self.infilling
        if min(ids.min(), labels[labels != IGNORE_INDEX].min(initial=0)) < 0 or max(ids.max(), labels.max()) >= len(
            special.table
        ):
            raise UnusableSample("it has ids that are none of the vocabulary")
        if ids[size - 1] != special.sep or labels[asked - 1] != special.sep:
            raise UnusableSample("its input or its labels do not end with the end-of-sequence token")
        shown, told = ids[front : size - 1], labels[self.infilling : asked - 1]
        if self.infilling:
            return CorruptedParts(np.split(shown, np.flatnonzero(shown == special.mask)), [told])
        sentinels = [special.added[name] for name in self.extra_tokens() if name != self.recipe.mode]
        return CorruptedParts(*(np.split(part, np.flatnonzero(np.isin(part, sentinels))) for part in (shown, told)))

    def draw(self, row: Row, special: SpecialTokens, spelling: Detokenizer) -> Iterable[Piece]:
        """The text with what was cut out of it in its place; with bart, what is left of it, and the whole."""
        kept, cut = self.split_spans(row, special)
        parts = [(kept[0], "")]
        for hole, rest in zip([part[:1] for part in kept[1:]] if self.infilling else cut[1:], kept[1:], strict=True):
            parts += [(hole, "blank"), (rest[1:], "")]
        texts = iter(spelling.each(np.concatenate([part for part, _ in parts])))
        yield MarkedText("the text", [Span("".join(islice(texts, len(part))), mark) for part, mark in parts])
        if self.infilling:
            yield MarkedText("what is asked for", [Span("".join(spelling.each(cut[0])))])
