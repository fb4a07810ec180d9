"""Masking by words and spans: whole units, exact budgets, and lengths drawn as the papers' own code draws them."""

from __future__ import annotations

from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from token_rows import SOURCE, TEXT, label, matrix, samples, undone
from tokenizers import Tokenizer

from pseudolabel.contracts import UserError
from pseudolabel.tasks.mask_text import MaskText
from pseudolabel.transforms.text.masks import (
    PRESETS,
    ChosenTokens,
    MaskingParams,
    MaskingPreset,
    Replace,
    Rounding,
    SpanLengths,
    Unit,
    choose,
    replace_masked,
    word_starts,
)
from pseudolabel.transforms.text.ragged import choose_k, composition, first_fit, follow_links
from pseudolabel.transforms.text.special_tokens import SpecialTokens
from pseudolabel.transforms.text.vocabulary import train_wordpiece

WIDTH, ROWS = 128, 800


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary so small that most words are several pieces."""
    path = tmp_path_factory.mktemp("tokenizer") / "bert.json"
    train_wordpiece([TEXT * 9], 100).save(str(path))
    return path


@pytest.fixture(scope="module")
def text() -> tuple[np.ndarray, np.ndarray]:
    """Rows as a tokenizer might make them: words of 1 to 5 tokens, [CLS] and [SEP] around, another [SEP] within."""
    rng = np.random.default_rng(1)
    candidates = np.ones((ROWS, WIDTH), bool)
    candidates[:, [0, -1]] = False
    candidates[np.arange(ROWS), rng.integers(1, WIDTH - 1, ROWS)] = False
    return candidates, rng.random((ROWS, WIDTH)) < 0.3


def units(candidates: np.ndarray, starts: np.ndarray) -> list[list[list[int]]]:
    """The columns of each unit of each row, put together one by one."""
    made: list[list[list[int]]] = []
    for row_of_candidates, row_of_starts in zip(candidates.tolist(), starts.tolist(), strict=True):
        row: list[list[int]] = []
        for column, (candidate, start) in enumerate(zip(row_of_candidates, row_of_starts, strict=True)):
            if candidate and (start or not row_of_candidates[column - 1]):
                row.append([column])
            elif candidate:
                row[-1].append(column)
        made.append(row)
    return made


def test_words_are_hidden_whole_and_the_budget_is_kept(text: tuple[np.ndarray, np.ndarray]) -> None:
    """google-research/bert, create_pretraining_data.py: 369-370 the budget, 379-380 what exceeds it is skipped."""
    candidates, inside = text
    chosen = choose(candidates, inside, MaskingParams(Unit.word), np.random.default_rng(0)).tokens
    for row, words in zip(chosen, units(candidates, ~inside), strict=True):
        budget = max(1, round(0.15 * sum(map(len, words))))
        assert all(row[word].all() or not row[word].any() for word in words)
        left = budget - row.sum()
        assert left >= 0
        assert all(len(word) > left for word in words if not row[word[0]]), "a word that fits is not left out"
    assert not (chosen & ~candidates).any()


def test_every_word_is_as_likely_as_any_of_its_size(text: tuple[np.ndarray, np.ndarray]) -> None:
    candidates, inside = (array[:1].repeat(20_000, 0) for array in text)
    chosen = choose(candidates, inside, MaskingParams(Unit.word), np.random.default_rng(0)).tokens
    words = units(candidates[:1], ~inside[:1])[0]
    for size in (1, 2):
        times = np.array([chosen[:, word[0]].sum() for word in words if len(word) == size])
        assert len(times) > 10
        assert ((times - times.mean()) ** 2 / times.mean()).sum() < len(times) + 5 * np.sqrt(2 * len(times))


def test_of_words_longer_than_the_budget_each_token_is_one() -> None:
    """A Chinese sentence is one word for some tokenizers; it can be hidden in part, else it never could."""
    candidates, inside = np.ones((500, 20), bool), np.ones((500, 20), bool)
    chosen = choose(candidates, inside, MaskingParams(Unit.word), np.random.default_rng(0)).tokens
    assert (chosen.sum(1) == 3).all()
    assert chosen.any(0).all()
    inside[:, [4, 5, 6]] = False  # words of 4, 1, 1 and 14 tokens: long ones, but words
    chosen = choose(candidates, inside, MaskingParams(Unit.word), np.random.default_rng(0)).tokens
    assert np.flatnonzero(chosen.any(0)).tolist() == [4, 5]


def test_by_chance_alone_a_row_is_told_something_all_the_same() -> None:
    candidates, inside = np.ones((3000, 4), bool), np.zeros((3000, 4), bool)
    candidates[0] = False
    for unit in Unit:
        chosen = choose(candidates, inside, MaskingParams(unit, bernoulli=True), np.random.default_rng(0)).tokens
        assert not chosen[0].any()
        assert chosen[1:].any(1).all()
        assert chosen.sum(0).min() > 400, "whichever"


def test_in_long_rows_every_place_is_as_likely() -> None:
    places = [
        np.flatnonzero(choose_k(np.ones((1, 65_536), bool), np.ones(1, int), np.random.default_rng(i)))
        for i in range(400)
    ]
    assert abs(np.mean(places) / 65_536 - 0.5) < 5 / np.sqrt(12 * 400)


GEOMETRIC = np.array([0.2 * 0.8 ** (i - 1) for i in range(1, 11)])  # SpanBERT's masking.py, lines 85-86
INVERSE = 1 / np.arange(1, 4)  # ALBERT's create_pretraining_data.py, lines 468-470, favor_shorter_ngram


@pytest.mark.parametrize(
    ("preset", "weights", "mean"), [(MaskingPreset.spanbert, GEOMETRIC, 3.8), (MaskingPreset.albert, INVERSE, 18 / 11)]
)
def test_spans_have_the_lengths_of_the_papers(
    preset: MaskingPreset, weights: np.ndarray, mean: float, text: tuple[np.ndarray, np.ndarray]
) -> None:
    candidates, inside = text
    made = choose(candidates, inside, PRESETS[preset], np.random.default_rng(0))
    expected, counts = weights / weights.sum(), np.zeros(len(weights) + 1)
    assert expected @ np.arange(1, len(weights) + 1) == pytest.approx(mean, abs=0.01)
    for words, spans in zip(units(candidates, ~inside), units(candidates, made.heads), strict=True):
        begin = {word[0] for word in words}
        lengths = [sum(column in begin for column in span) for span in spans]
        assert all(span[0] in begin for span in spans), "a span begins with a word"
        ends = {words[-1][-1], *(a[-1] for a, b in pairwise(words) if b[0] > a[-1] + 1)}
        for span, length in zip(spans, lengths, strict=True):
            if span[-1] not in ends and length:  # one at a document's end may be cut short
                counts[length] += 1
    assert not counts[0]
    n = counts.sum()
    # Long spans reach the end more often, so the last ones of a document are left out by place, not by length:
    share = counts[1:] / n
    assert abs(share @ np.arange(1, len(weights) + 1) - mean) < 0.08 * mean
    assert (abs(share - expected) < 0.1 * expected + 0.01).all()


@pytest.mark.parametrize("preset", [MaskingPreset.spanbert, MaskingPreset.albert])
def test_spans_are_hidden_whole_but_for_the_last(preset: MaskingPreset, text: tuple[np.ndarray, np.ndarray]) -> None:
    candidates, inside = text
    rule = PRESETS[preset]
    made = choose(candidates, inside, rule, np.random.default_rng(0))
    broken = 0
    for i, (row, words, spans) in enumerate(
        zip(made.tokens, units(candidates, ~inside), units(candidates, made.heads), strict=True)
    ):
        n = sum(map(len, words))
        budget = int(np.ceil(0.15 * n)) if rule.rounding == Rounding.up else round(0.15 * n)
        assert row.sum() <= budget, i
        assert all(row[word].all() or not row[word].any() for word in words), "words stay whole"
        for span in spans:
            hidden = row[span].tolist()
            assert hidden == sorted(hidden, reverse=True), "what is hidden of a span is its beginning"
            broken += 0 < sum(hidden) < len(hidden)
    assert 0 < broken < 1.5 * ROWS
    full = made.tokens.sum(1) == np.ceil(0.15 * candidates.sum(1)) if rule.rounding == Rounding.up else None
    assert full is None or full.mean() > 0.98, "SpanBERT's budget, ceil(0.15 n): masking.py, line 99"


def test_the_presets_are_those_of_the_papers(tokenizer_file: Path) -> None:
    def rule(**given: Any) -> MaskingParams:
        return MaskText(tokenizer=str(tokenizer_file), **given).rule

    assert rule() == rule(preset="bert") == MaskingParams(Unit.token, 0.15, Rounding.nearest, False, Replace.token)
    assert rule(preset="roberta").rounding == Rounding.chance
    spanbert = rule(preset="spanbert")
    assert spanbert == (Unit.span, 0.15, Rounding.up, False, Replace.unit, SpanLengths.geometric, 10)
    assert rule(preset="albert") == (Unit.span, 0.15, Rounding.nearest, False, Replace.token, SpanLengths.inverse, 3)
    assert rule(preset="mosaicbert")[:4] == (Unit.token, 0.3, Rounding.nearest, True)
    assert rule(preset="spanbert", unit="word", ratio=0.2, bernoulli=True, replace="token") == spanbert._replace(
        unit=Unit.word, ratio=0.2, bernoulli=True, replace=Replace.token
    )
    assert MaskText(preset="albert").options()["span_words"] == 3, "the manifest says what held"


def test_rounding_by_chance_is_right_on_average() -> None:
    """fairseq, data/mask_tokens_dataset.py: int(mask_prob * sz + np.random.rand())."""
    candidates = np.ones((5000, 30), bool)
    counts = choose(candidates, candidates, PRESETS[MaskingPreset.roberta], np.random.default_rng(0)).tokens.sum(1)
    assert set(counts.tolist()) == {4, 5}
    assert abs(counts.mean() - 4.5) < 5 * 0.5 / np.sqrt(5000)


def test_a_word_with_an_unknown_letter_is_one_word() -> None:
    """Tokens: [CLS] end-of-a-word | c a [UNK] f e | and [SEP]; the word of five is hidden whole but for [UNK]."""
    candidates = np.array([[False, True, True, True, False, True, True, True, False]])
    inside = np.array([[False, True, False, True, True, True, True, False, False]])
    starts = word_starts(candidates, inside, np.array([9]))
    assert starts.tolist() == [[False, True, True, False, False, False, False, True, False]]


@pytest.mark.parametrize("unit", [Unit.word, Unit.span])
def test_bernoulli_takes_units_by_themselves(unit: Unit, text: tuple[np.ndarray, np.ndarray]) -> None:
    candidates, inside = text
    made = choose(candidates, inside, MaskingParams(unit, bernoulli=True), np.random.default_rng(0))
    spans = units(candidates, made.heads)
    taken = [bool(row[span].all()) for row, of_row in zip(made.tokens, spans, strict=True) for span in of_row]
    assert sum(row.sum() for row in made.tokens) == sum(
        len(span) for row, of_row in zip(made.tokens, spans, strict=True) for span in of_row if row[span[0]]
    )
    assert abs(np.mean(taken) - 0.15) < 5 * np.sqrt(0.15 * 0.85 / len(taken))


def test_a_span_is_masked_changed_or_kept_as_one(text: tuple[np.ndarray, np.ndarray]) -> None:
    """SpanBERT's masking.py, span_masking, lines 255-266: `rand` is drawn anew only for replacement='word_piece'."""
    candidates, inside = text
    special = SpecialTokens(2, 3, 0, 4, 1, np.arange(5000) < 5, np.arange(5, 5000, dtype=np.int32), {})
    rng = np.random.default_rng(0)
    ids = np.where(candidates, rng.integers(5, 5000, candidates.shape), 3).astype(np.int32)
    made: ChosenTokens = choose(candidates, inside, PRESETS[MaskingPreset.spanbert], rng)
    fates: dict[Replace, list[set[str]]] = {}
    for replace in Replace:
        shown = replace_masked(ids, made, special, replace, rng)
        assert (shown[~made.tokens] == ids[~made.tokens]).all()
        fate = np.where(shown == 4, "masked", np.where(shown == ids, "kept", "changed"))
        of_row = zip(fate, made.tokens, units(candidates, made.heads), strict=True)
        hidden = [(f, [c for c in span if t[c]]) for f, t, spans in of_row for span in spans]
        fates[replace] = [set(f[columns].tolist()) for f, columns in hidden if len(columns) > 2]
    alone = [next(iter(kinds)) for kinds in fates[Replace.unit] if len(kinds) == 1]
    assert len(alone) > 0.99 * len(fates[Replace.unit]), "a random token may by chance be the one that was there"
    for kind, share in (("masked", 0.8), ("changed", 0.1), ("kept", 0.1)):
        assert abs(alone.count(kind) / len(alone) - share) < 5 * np.sqrt(share * (1 - share) / len(alone))
    assert np.mean([len(kinds) == 1 for kinds in fates[Replace.token]]) < 0.6


@pytest.mark.parametrize("preset", list(MaskingPreset))
@pytest.mark.parametrize("unit", [None, Unit.word])
def test_every_preset_on_real_rows(
    preset: MaskingPreset, unit: Unit | None, tokenizer_file: Path, tmp_path: Path
) -> None:
    source = samples(*SOURCE)
    plain = label(MaskText(tokenizer=str(tokenizer_file), length=64), source, tmp_path)
    table = label(MaskText(tokenizer=str(tokenizer_file), length=64, preset=preset, unit=unit), source, tmp_path)
    labels, before = matrix(table, "labels"), undone(table)
    assert (before == undone(plain)).all(), "undoing gives the text, however it was masked"
    assert (labels[labels != -100] > 4).all()
    assert ((labels != -100).any(1) | ((before > 4).sum(1) == 0)).all()
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    if unit == Unit.word:
        pieces = np.array([tokenizer.id_to_token(i).startswith("##") for i in range(tokenizer.get_vocab_size())])
        goes_on = pieces[before[:, 1:]] & (before[:, :-1] > 4)
        apart = (labels[:, 1:] != -100) ^ (labels[:, :-1] != -100)
        assert goes_on.sum() > 200
        assert not (goes_on & apart).any(), "no word is hidden in part"


def test_the_help_says_what_each_preset_sets() -> None:
    from typer.testing import CliRunner

    from pseudolabel.cli.program import app

    said = " ".join(CliRunner().invoke(app, ["mask-text", "--help"], terminal_width=200).output.split())
    for words in ("spanbert: unit span, rounding up, replace unit", "mosaicbert: ratio 0.3, bernoulli True"):
        assert words in said
    assert "albert: unit span, span-lengths inverse, span-words 3" in said


@pytest.mark.parametrize("bad", [{"unit": "phrase"}, {"preset": "gpt"}, {"span_words": 0}, {"ratio": 0.0}])
def test_bad_values_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(bad)).replace("_", "-")):
        MaskText(**bad)


# --- what masking stands on ------------------------------------------------------------------------------------------


def test_first_fit_is_the_loop_it_stands_for() -> None:
    rng = np.random.default_rng(0)
    sizes, room = rng.integers(0, 6, (500, 40)), rng.integers(0, 60, 500)
    heads = rng.random(sizes.shape) < 0.4
    for groups in (np.ones_like(heads), heads):
        for row, begins, left, taken in zip(sizes, groups, room, first_fit(sizes, groups, room), strict=True):
            broken = False
            for size, begin, fits in zip(row, begins, taken, strict=True):
                broken = (broken and not begin) or size > left
                assert fits == (size > 0 and not broken)
                left = left - size * fits


def test_reached_is_the_walk_it_stands_for() -> None:
    rng = np.random.default_rng(0)
    following = np.minimum(np.arange(3000) + rng.integers(1, 9, 3000), 3000)
    first = np.isin(np.arange(3000), [0, 700, 2999])
    walked = set()
    for at in (0, 700, 2999):
        while at < 3000:
            walked.add(at)
            at = int(following[at])
    assert set(np.flatnonzero(follow_links(following, first)).tolist()) == walked
    assert follow_links(np.empty(0, np.int64), np.empty(0, bool)).shape == (0,)


def test_draws_and_compositions_are_all_alike_likely() -> None:
    rng, rows = np.random.default_rng(0), 30_000
    chosen = choose_k(np.tile([True, False, True, True, True], (rows, 1)), np.full(rows, 2), rng)
    for masks, kinds in ((chosen, 6), (composition(rows, 6, 3, rng), 10)):
        times = [len(list(same)) for _, same in groupby(sorted(map(tuple, masks.tolist())))]
        assert len(times) == kinds
        assert max(abs(n - rows / kinds) for n in times) < 5 * np.sqrt(rows / kinds)
    assert (composition(4, 3, 3, rng) == 1).all()
    assert (composition(4, 1, 1, rng) == 1).all()
    assert not choose_k(np.ones((3, 4), bool), np.zeros(3, int), rng).any()
