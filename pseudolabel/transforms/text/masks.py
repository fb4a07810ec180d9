"""Masking: split a row's tokens into units, choose units, and replace their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import IGNORE_INDEX, Options, UserError
from pseudolabel.transforms.text.ragged import choose_k, first_fit, follow_links, run_starts

if TYPE_CHECKING:
    from pseudolabel.transforms.text.special_tokens import SpecialTokens

MAX_WORD_TOKENS = 16  # tokens; a longer word is probably a sentence without spaces
GEOMETRIC_P = 0.2  # p of SpanBERT's span lengths: README of facebookresearch/SpanBERT, --geometric-p


class Unit(StrEnum):
    """The unit that is masked as a whole."""

    token = "token"
    word = "word"
    span = "span"


class Rounding(StrEnum):
    """The rounding of ratio * candidates to a number of tokens."""

    nearest = "nearest"
    up = "up"
    chance = "chance"


class SpanLengths(StrEnum):
    """The distribution of the words per span: P(n) ~ 0.8^n, or P(n) ~ 1/n."""

    geometric = "geometric"
    inverse = "inverse"


class Replace(StrEnum):
    """The tokens that share one random draw: mask in 80 % of draws, change in 10 %, keep in 10 %."""

    token = "token"
    unit = "unit"


class MaskingPreset(StrEnum):
    """The model whose masking is used."""

    bert = "bert"
    roberta = "roberta"
    spanbert = "spanbert"
    albert = "albert"
    mosaicbert = "mosaicbert"


class MaskingParams(NamedTuple):
    """The parameters that a preset sets; each has an option of the same name."""

    unit: Unit = Unit.token
    ratio: float = 0.15
    rounding: Rounding = Rounding.nearest
    bernoulli: bool = False
    replace: Replace = Replace.token
    span_lengths: SpanLengths = SpanLengths.geometric
    span_words: int = 10


PRESETS = {
    MaskingPreset.bert: MaskingParams(),  # google-research/bert, create_pretraining_data.py
    MaskingPreset.roberta: MaskingParams(rounding=Rounding.chance),  # fairseq, data/mask_tokens_dataset.py
    # SpanBERT's pretraining/fairseq/data/masking.py
    MaskingPreset.spanbert: MaskingParams(Unit.span, rounding=Rounding.up, replace=Replace.unit),
    # google-research/albert, create_pretraining_data.py
    MaskingPreset.albert: MaskingParams(Unit.span, span_lengths=SpanLengths.inverse, span_words=3),
    # MosaicBERT's model card: 30 %, with the collator of Hugging Face
    MaskingPreset.mosaicbert: MaskingParams(ratio=0.3, bernoulli=True),
}


def describe_preset(rule: MaskingParams) -> str:
    """Return the parameters that differ from BERT's; for BERT, all parameters."""
    base = None if rule == MaskingParams() else MaskingParams()
    return ", ".join(f"{n.replace('_', '-')} {v}" for n, v in rule._asdict().items() if v != getattr(base, n, None))


PRESET_HELP = (
    "Model whose masking is used; other options override it. "
    + ". ".join(f"{p}: {describe_preset(r)}" for p, r in PRESETS.items())
    + "."
)


@dataclass(frozen=True)
class MaskingOptions(Options):
    """Options of masking. A preset sets all parameters; an option that is given overrides its preset."""

    preset: Annotated[MaskingPreset, Option(help=PRESET_HELP)] = MaskingPreset.bert
    unit: Annotated[Unit | None, Option(help="Unit that is masked as a whole.")] = None
    ratio: Annotated[float | None, Option(help="Share of a row's tokens to predict.")] = None
    rounding: Annotated[Rounding | None, Option(help="Rounding of the token count; chance: random up or down.")] = None
    bernoulli: Annotated[bool | None, Option(help="Choose units independently, so their number varies.")] = None
    replace: Annotated[Replace | None, Option(help="Draw mask, change or keep for each token or for each unit.")] = None
    span_lengths: Annotated[SpanLengths | None, Option(help="Distribution of n words per span: 0.8^n, or 1/n.")] = None
    span_words: Annotated[int | None, Option(min=1, max=100, help="Maximum words per span.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rule.ratio <= 1:
            raise UserError(f"--ratio {self.ratio} is out of range; give a number above 0 and up to 1, such as 0.15")

    @cached_property
    def rule(self) -> MaskingParams:
        """Return the parameters: the options that are given, else those of the preset."""
        return PRESETS[self.preset]._replace(**self.given(MaskingParams._fields))


# --- choosing --------------------------------------------------------------------------------------------------------


class ChosenTokens(NamedTuple):
    """The tokens that get a label, and the units that share a random draw."""

    tokens: np.ndarray  # (r, L) bool
    heads: np.ndarray  # (r, L) bool: the first token of each unit


def choose(candidates: np.ndarray, inside: np.ndarray, rule: MaskingParams, rng: np.random.Generator) -> ChosenTokens:
    """Choose the tokens to label from the (r, L) bool `candidates`. `inside`: (r, L) bool, true where a word continues.

    Units are taken in random order until `budget` tokens are chosen. Words stay whole: a word that does not fit is
    skipped, and later words may fit (google-research/bert, create_pretraining_data.py, lines 374-380). In a span, the
    first words that fit are taken (google-research/albert, create_pretraining_data.py, lines 506-514). SpanBERT's code
    draws spans that may overlap, until it has enough, and cuts the last one anywhere. Here spans are adjacent and never
    overlap, with any preset. If each span begins with a word that does not fit, none is chosen. With `bernoulli`, a row
    without a selected unit gets the unit with the smallest draw.
    """
    wanted, tokens = budget(candidates.sum(1), rule, rng), np.zeros_like(candidates)
    if rule.unit == Unit.token and not rule.bernoulli:
        return ChosenTokens(choose_k(candidates, wanted, rng), candidates)
    begins = candidates if rule.unit == Unit.token else word_starts(candidates, inside, wanted)
    heads = span_starts(begins, candidates, rule, rng) if rule.unit == Unit.span else begins
    size, unit = word_sizes(begins, candidates), np.cumsum(heads[begins]) - 1  # of each word
    counts, number = begins.sum(1), np.count_nonzero(heads)
    if rule.bernoulli:  # as in the Hugging Face collator, but every row has a unit
        chance = rng.random(number)[unit]
        lowest = np.minimum.reduceat(np.append(chance, 1), np.cumsum(counts) - counts)
        taken = chance <= np.repeat(np.maximum(rule.ratio, lowest), counts)
    else:
        order = rng.integers(0, 1 << 48, number, np.uint64)[unit]
        taken = fitting(size, heads[begins], order, counts, wanted)
    tokens[candidates] = np.repeat(taken, size)
    return ChosenTokens(tokens, heads)


def budget(candidates: np.ndarray, rule: MaskingParams, rng: np.random.Generator) -> np.ndarray:
    """Return (r,) int64: how many tokens to label, at least one. `candidates`: (r,) int, candidates per row."""
    share = rule.ratio * candidates
    if rule.rounding == Rounding.nearest:
        number = np.rint(share)
    elif rule.rounding == Rounding.up:
        number = np.ceil(share)
    else:
        number = np.floor(share + rng.random(len(candidates)))
    return np.maximum(1, number).astype(np.int64)


def word_starts(candidates: np.ndarray, inside: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the first token of each word: (r, L) bool, (r, L) bool, (r,) int -> (r, L) bool.

    A word longer than `most` tokens can never be masked, for example a Chinese sentence for some tokenizers. If it is
    also longer than `MAX_WORD_TOKENS`, or the row has no shorter word, each of its tokens is a word. A word with [UNK]
    inside is one word; one that continues from the row before begins at its first candidate.
    """
    words = np.cumsum(~inside, dtype=np.int32).reshape(inside.shape) + np.arange(len(inside), dtype=np.int32)[:, None]
    begins = candidates.copy()
    begins[candidates] = np.diff(words[candidates], prepend=-1) != 0
    size, counts = word_sizes(begins, candidates), begins.sum(1)
    long = size > np.repeat(most, counts)
    if long.any():
        short = np.add.reduceat(np.append(~long, False), np.cumsum(counts) - counts, dtype=int) * (counts > 0)
        begins[candidates] |= np.repeat(long & ((size > MAX_WORD_TOKENS) | np.repeat(short == 0, counts)), size)
    return begins


def word_sizes(begins: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return the number of tokens of each word: (r, L) bool, (r, L) bool -> (w,) int64."""
    first = begins[candidates]
    return np.diff(np.flatnonzero(first), append=len(first))


def span_starts(
    begins: np.ndarray, candidates: np.ndarray, rule: MaskingParams, rng: np.random.Generator
) -> np.ndarray:
    """Return the first token of each span of a document's words: (r, L) bool, (r, L) bool -> (r, L) bool.

    Every word draws a span length. The first span begins at the first word, each later span where the one before ends.
    """
    first = run_starts(candidates)[begins]
    ends = np.append(np.flatnonzero(first), len(first))[np.cumsum(first)]
    n = np.arange(1, rule.span_words + 1)
    weights = (1 - GEOMETRIC_P) ** n if rule.span_lengths == SpanLengths.geometric else 1 / n
    chance, following = rng.random(len(first)), np.arange(1, len(first) + 1)
    for more in np.cumsum(weights / weights.sum())[:-1]:
        following += chance >= more
    heads = np.zeros_like(begins)
    heads[begins] = follow_links(np.minimum(following, ends), first)
    return heads


def fitting(size: np.ndarray, heads: np.ndarray, order: np.ndarray, counts: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return (w,) bool: words that fit into their row's `room`, taken by `order`. A unit's words are in text order.

    `size`: (w,) int tokens. `heads`: (w,) bool, first of a unit. `order`: (w,) uint64 < 2^48. `counts`: (r,) int words.
    """
    there = np.arange(counts.max(initial=0)) < counts[:, None]
    ranks, taken = np.full(there.shape, 1 << 48, np.uint64), np.zeros_like(there)
    sized, begins = np.zeros(there.shape, np.int64), np.ones_like(there)
    ranks[there], sized[there], begins[there] = order, size, heads
    turns = np.argsort(ranks, axis=1, kind="stable")
    sized, begins = np.take_along_axis(sized, turns, 1), np.take_along_axis(begins, turns, 1)
    np.put_along_axis(taken, turns, first_fit(sized, begins, room), 1)
    return taken[there]


# --- replacing -------------------------------------------------------------------------------------------------------


def replace_masked(
    ids: np.ndarray, chosen: ChosenTokens, special: SpecialTokens, replace: Replace, rng: np.random.Generator
) -> np.ndarray:
    """Return (r, L) ids in which 80 % of the chosen become [MASK], 10 % become a random token, and 10 % stay."""
    shown, at = ids.reshape(-1).copy(), np.flatnonzero(chosen.tokens)
    fate = rng.random(len(at))
    if replace == Replace.unit:
        units = np.cumsum(chosen.heads)[at]
        fate = fate[np.cumsum(np.diff(units, prepend=units[:1]) != 0)]
    random = special.pool[rng.integers(0, max(1, len(special.pool)), len(at))]
    shown[at] = np.select([fate < 0.8, fate < 0.9], [np.int32(special.mask), random], shown[at])
    return shown.reshape(ids.shape)


# --- checking --------------------------------------------------------------------------------------------------------


def masking_faults(shown: np.ndarray, labels: np.ndarray, special: SpecialTokens) -> list[tuple[np.ndarray, str]]:
    """Return for each fault the rows that have it, (r,) bool, and the reason. `shown`, `labels`: (r, L) ids."""
    asked = labels != IGNORE_INDEX
    return [
        ((asked & ~special.is_text(labels)).any(1), "`labels` has an id that is not text"),
        ((asked & (shown != special.mask) & ~special.is_text(shown)).any(1), "labelled input is neither mask nor text"),
        (~asked.any(1), "`labels` has no token"),
    ]
