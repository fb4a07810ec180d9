"""Span corruption: cut random spans out of a text, build inputs and labels, and restore the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pseudolabel.transforms.text.ragged import Ragged, choose_k, composition, run_starts


class CorruptionPresetName(StrEnum):
    """A published way to corrupt text; the value of `--preset`."""

    t5 = "t5"
    ul2_r = "ul2-r"
    ul2_s = "ul2-s"
    ul2_x = "ul2-x"
    bart = "bart"


class Denoiser(NamedTuple):
    """The amount of text that is cut out of a row."""

    density: float  # share of the tokens that is cut out; for bart, of the words
    mean: float  # mean tokens per span; for bart, words; inf: one span at the end of the text


class CorruptionPreset(NamedTuple):
    """The settings of a preset."""

    denoisers: tuple[Denoiser, ...]  # rows use them in turn
    mode: str = ""  # token at the start of each input; tells the model which denoisers are used


PRESETS = {
    # Raffel et al. 2020, section 3.1.4; t5/models/gin/objectives/span_3_15_u_u.gin
    CorruptionPresetName.t5: CorruptionPreset((Denoiser(0.15, 3),)),
    # Tay et al. 2022, tables of sections 3.1.2 and 4
    CorruptionPresetName.ul2_r: CorruptionPreset((Denoiser(0.15, 3), Denoiser(0.15, 8)), "[R]"),
    CorruptionPresetName.ul2_s: CorruptionPreset((Denoiser(0.25, math.inf),), "[S]"),
    CorruptionPresetName.ul2_x: CorruptionPreset(
        (Denoiser(0.5, 3), Denoiser(0.5, 8), Denoiser(0.15, 64), Denoiser(0.5, 64)), "[X]"
    ),
    # Lewis et al. 2020, sections 2.2 and 4.1: text infilling alone
    CorruptionPresetName.bart: CorruptionPreset((Denoiser(0.3, 3),)),
}


def describe_preset(preset: CorruptionPreset) -> str:
    """Return a preset in words."""
    spans = " or ".join(f"{100 * density:g} % in spans of {mean:g}" for density, mean in preset.denoisers)
    return spans.replace("spans of inf", "one span at the end") + (f", prefix {preset.mode}" if preset.mode else "")


PRESET_HELP = "Published preset. " + ". ".join(f"{name}: {describe_preset(preset)}" for name, preset in PRESETS.items())
PRESET_HELP += " words, each replaced by one mask. Other presets count tokens. Span lengths are means."


# --- spans ---------------------------------------------------------------------------------------------------------


def noise_counts(length: int, density: float, mean: float) -> tuple[int, int]:
    """Return how many of `length` tokens are cut out, and in how many spans: T5's random_spans_noise_mask."""
    noise = min(max(round(length * density), 1), max(length - 1, 1))
    return noise, min(max(round(noise / mean), 1), noise, max(length - noise, 1))


def text_and_label_lengths(inputs: int, density: float, mean: float, extra: int) -> tuple[int, int]:
    """Return how many text tokens give `inputs - extra` tokens, and how many labels: T5's random_spans_helper."""

    def inputs_of(text: int) -> int:
        noise, spans = noise_counts(text, density, mean)
        return text - noise + spans + extra

    near = (inputs - extra) / (1 - density + density / mean)
    text = max(inputs - extra, int(0.99 * near) - 10)
    while inputs_of(text + 1) <= inputs:
        text += 1
    if density == 0.5 and sum(noise_counts(text, density, mean)) + 1 > inputs:
        text -= 1
    return text, sum(noise_counts(text, density, mean)) + 1


def noise_spans(rows: int, length: int, density: float, mean: float, rng: np.random.Generator) -> np.ndarray:
    """Return (rows, length) bool, true where cut. Kept and cut spans alternate; all divisions are equally likely."""
    noise, spans = noise_counts(length, density, mean)
    if noise == length:
        return np.ones((rows, length), bool)
    parts = [composition(rows, total, spans, rng) for total in (noise, length - noise)]
    edges = np.cumsum(np.stack(parts[::-1], 2).reshape(rows, 2 * spans), 1)[:, :-1]
    noisy = np.zeros((rows, length), bool)
    np.put_along_axis(noisy, edges, True, 1)
    np.logical_xor.accumulate(noisy, 1, out=noisy)
    return noisy


def with_sentinels(ids: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> Ragged:
    """Return (r, n) ids with the (s,) sentinels in place of the s spans of each row. `noise`: (r, n) bool."""
    shown, first = ids.copy(), run_starts(noise)
    shown[first] = np.tile(sentinels, len(ids))
    keep = ~noise | first
    return Ragged(shown[keep], keep.sum(1))


def target_spans(ids: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> Ragged:
    """Return the s spans of each row of (r, n) ids, each after its sentinel. `noise`: (r, n) bool."""
    first = np.flatnonzero(run_starts(noise)[noise])
    return Ragged(np.insert(ids[noise], first, np.tile(sentinels, len(ids))), noise.sum(1) + len(sentinels))


def readable_spans(
    ids: np.ndarray, noise: np.ndarray, sentinels: np.ndarray, characters: np.ndarray
) -> tuple[Ragged, Ragged]:
    """Return what `with_sentinels` and `target_spans` return, except that no character is divided.

    `characters`: (r * n,) int, ascending: the number of the character of each token. If a span has a
    token of a character, the first such span gets the whole character. A sentinel inside the character moves behind it.
    """
    (rows, length), cut, place = ids.shape, noise.reshape(-1), np.flatnonzero(run_starts(noise))
    starts = np.append(np.flatnonzero(np.diff(characters, prepend=-1)), len(cut))
    before = np.append(0, np.cumsum(cut))
    own = characters[place]
    place = np.where(before[place] > before[starts[own]], starts[own + 1], starts[own])  # of each sentinel
    cut = (before[starts[1:]] > before[starts[:-1]])[characters]
    made = []
    for part in (~cut, cut):
        # Sentinels come before the token at their place. Their row is that of their span.
        order = np.argsort(np.append(2 * place, 2 * np.flatnonzero(part) + 1), kind="stable")
        values = np.append(np.tile(sentinels, rows), ids.reshape(-1)[part])[order]
        made.append(Ragged(values, part.reshape(rows, length).sum(1) + len(sentinels)))
    return made[0], made[1]


def infill(
    ids: np.ndarray, begins: np.ndarray, density: float, mean: float, mask: int, rng: np.random.Generator
) -> Ragged:
    """Return (r, n) ids with one mask for each span of words. `begins`: (r, n) bool, first tokens of words.

    As in add_whole_word_mask of fairseq's denoising_dataset.py, span lengths are Poisson numbers, drawn until their sum
    is ceil(density * words); the last one is cut to fit. Spans are in random places between words, which keep their
    order. A span of no words is left out if it would make the input longer than the text.
    """
    count = begins.sum(1)
    wanted = np.ceil(density * count).astype(np.int64)
    size = rng.poisson(mean, (len(ids), wanted.max(initial=0) + 1))
    size[:, -1] = wanted
    before = np.cumsum(size, 1) - size
    spans, size = before < wanted[:, None], np.minimum(size, wanted[:, None] - before)
    empty = spans & (size == 0)
    spans &= ~empty | (np.cumsum(empty, 1) <= (wanted - (spans & ~empty).sum(1))[:, None])

    # The output consists of items: words, and masks for spans. `is_mask` has the items of all rows, concatenated.
    items = count - wanted + spans.sum(1)
    there = np.arange(items.max(initial=0)) < items[:, None]
    is_mask = choose_k(there, spans.sum(1), rng)[there]
    words_of = np.ones(len(is_mask), np.int64)
    words_of[is_mask] = size[spans]
    hidden = np.repeat(is_mask, words_of)  # one per word
    tokens_of = np.ones(len(is_mask), np.int64)
    tokens_of[~is_mask] = np.bincount(np.cumsum(begins) - 1)[~hidden]
    out = np.full(tokens_of.sum(), mask, np.int32)
    out[~np.repeat(is_mask, tokens_of)] = ids.reshape(-1)[~hidden[np.cumsum(begins) - 1]]
    totals = np.append(0, np.cumsum(tokens_of))[np.append(0, np.cumsum(items))]
    return Ragged(out, np.diff(totals))


# --- restoring -------------------------------------------------------------------------------------------------------


class CorruptedParts(NamedTuple):
    """Kept and cut parts of a text. All but the first begin with a sentinel. For bart, `cut` is the whole text."""

    kept: list[np.ndarray]
    cut: list[np.ndarray]


def restore_text(parts: CorruptedParts) -> np.ndarray | None:
    """Return the text with its spans put back. Return None if the sentinels of kept and cut parts differ."""
    kept, cut = parts
    if [part[:1].tolist() for part in kept[1:]] != [part[:1].tolist() for part in cut[1:]] or len(cut[0]):
        return None
    pairs = zip(cut[1:], kept[1:], strict=True)
    return np.concatenate([kept[0], *(part[1:] for pair in pairs for part in pair)])


def matches_text(parts: Sequence[np.ndarray], text: np.ndarray) -> bool:
    """Return whether the kept parts are in `text`, in order. All parts but the first begin with a mask."""
    first, *rest = parts[0], *(part[1:] for part in parts[1:])
    if not rest or not np.array_equal(text[: len(first)], first):
        return np.array_equal(text, first)
    at = len(first)
    for part in filter(len, rest[:-1]):
        places = sliding_window_view(text[at:], len(part)) if len(part) <= len(text) - at else part[:0]
        found = np.flatnonzero((places == part).all(-1)) if len(places) else places
        if not len(found):
            return False
        at += int(found[0]) + len(part)
    return len(text) - len(rest[-1]) >= at and np.array_equal(text[len(text) - len(rest[-1]) :], rest[-1])
