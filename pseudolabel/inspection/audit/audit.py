"""Audit: guess the labels of rows from facts that need no understanding, and measure masks, rates and duplicates.

A label that a linear model or a shallow tree guesses above chance, for sources that the model was not shown, teaches a
network the same shortcut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from pseudolabel.contracts import UserError
from pseudolabel.inspection.audit.guess import MODELS, Rate, chance_of, guess, holm, require_models
from pseudolabel.inspection.audit.measures import Coverage, Measures
from pseudolabel.inspection.audit.media import items_of
from pseudolabel.inspection.audit.questions import Asker, Question, ask_all, askable
from pseudolabel.inspection.audit.tables import open_table

LEVEL = 0.01  # of the p-value, corrected for the number of questions
MIN_EFFECT = 0.02  # by which a rate must lie above chance to count
MAX_ITEMS = 40_000  # media of all rows together, at most: about two minutes
SHADES = " ▁▂▃▄▅▆▇█"


class Answer(NamedTuple):
    """How often a label was guessed from one kind of facts, and the verdict."""

    label: str
    facts: str
    model: str  # the better of the models
    rate: float
    low: float  # of the 95 % interval
    high: float
    chance: float  # share of the most frequent label
    p: float  # corrected for the number of questions (Holm)
    verdict: str  # clean, leaks, or by the method

    def __str__(self) -> str:
        return f"told by {self.facts}, {_share(self.rate)} of {_share(self.chance)}"


@dataclass
class Report:
    """What an audit found."""

    what: str
    rows: int
    sources: int
    answers: list[Answer]
    coverage: list[Coverage]
    rates: Mapping[str, float]
    duplicates: Mapping[str, int]
    not_asked: Mapping[str, str] = field(default_factory=dict)  # label -> why

    @property
    def leaks(self) -> list[Answer]:
        """Return the answers that say a label is told, the strongest of each label first."""
        return sorted((a for a in self.answers if a.verdict == "leaks"), key=lambda a: a.chance - a.rate)

    @property
    def verdict(self) -> str:
        """Return the verdict in words."""
        if not self.answers:
            return "not judged: no question could be asked"
        if not self.leaks:
            told = [f"`{a.label}` is {a}, by the method" for a in self.answers if a.verdict == "by the method"]
            return "; ".join(["clean", *told[:3]])
        best = {answer.label: answer for answer in reversed(self.leaks)}
        return "leaks: " + "; ".join(f"`{label}` is {answer}" for label, answer in best.items())

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "what": self.what,
            "verdict": self.verdict,
            "rows": self.rows,
            "sources": self.sources,
            "answers": [answer._asdict() for answer in self.answers],
            "coverage": [coverage._asdict() for coverage in self.coverage],
            "rates": dict(self.rates),
            "duplicates": dict(self.duplicates),
            "not_asked": dict(self.not_asked),
        }


def audit(what: str, rows: int = 5000, inputs: Sequence[str] = (), labels: Sequence[str] = ()) -> Report:
    """Audit about `rows` rows of a dataset, of Parquet files, or of `package.module:loader`.

    Raise `UserError` if scikit-learn is missing, or if there is nothing to audit.
    """
    require_models()
    table = open_table(what, rows, inputs, labels)
    asker, measures = Asker(table.labels, rows), Measures(table.inputs, table.labels, table.unknown_id)
    sources, seen = set[str](), 0
    for row in islice(table.rows, rows):
        items = items_of(row, table.inputs)
        asker.ask(row, items)
        measures.add(row, items)
        sources.add(str(row.get("key", measures.rows)).partition("#")[0])
        seen += sum(len(part) for parts in items.values() for part in parts)
        if seen >= MAX_ITEMS:
            break
    if not measures.rows:
        raise UserError(f"{what} has no rows", 5)
    answers = list(_answers(asker, table.by_method))
    found = (measures.coverage(), measures.rates(), measures.duplicates())
    return Report(what, measures.rows, len(sources), answers, *found, _not_asked(asker, table.labels))


def _not_asked(asker: Asker, labels: Sequence[str]) -> dict[str, str]:
    """Return for each label that no question asks for the reason."""
    reasons = {question.label: askable(answers) for question, answers in asker.questions.items()}
    asked = {question.label for question, *_ in ask_all(asker.questions)}
    why = {name: reasons.get(name, "its values are neither classes nor a mask") for name in labels}
    return {name: reason for name, reason in why.items() if name not in asked}


def _answers(asker: Asker, by_method: Mapping[str, str]) -> Iterator[Answer]:
    found: list[tuple[Question, str, Rate, float]] = []
    for question, features, labels, sources in ask_all(asker.questions):
        chance = chance_of(labels)
        found += [(question, name, guess(features, labels, sources, model), chance) for name, model in MODELS.items()]
    corrected = holm([rate.p_above(chance) for _, _, rate, chance in found])
    both = [*zip(found, corrected, strict=True)]
    for i in range(0, len(both), len(MODELS)):
        (question, model, rate, chance), p = min(both[i : i + len(MODELS)], key=lambda one: (one[1], -one[0][2].rate))
        told = p < LEVEL and rate.rate - chance >= MIN_EFFECT
        verdict = "clean" if not told else "by the method" if question.facts in by_method else "leaks"
        one, low, high, of, corrected_p = (round(number, 4) for number in (rate.rate, rate.low, rate.high, chance, p))
        yield Answer(question.label, question.facts, model, one, low, high, of, corrected_p, verdict)


# --- for people ------------------------------------------------------------------------------------------------------


def report_lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report for people."""
    yield f"{report.what}: {report.verdict}"
    yield f"{report.rows:,} rows of {report.sources:,} sources, {len(report.answers)} questions"
    if report.answers:
        wide = [max(len(getattr(a, name)) for a in report.answers) for name in ("label", "facts")]
        yield f"\n{'label'.ljust(wide[0])}  {'guessed from'.ljust(wide[1])}  rate [95 % interval]  chance  verdict"
        for a in sorted(report.answers, key=lambda a: (a.label, a.chance - a.rate)):
            interval = f"{_share(a.rate)} [{_share(a.low)} {_share(a.high)}]".ljust(20)
            cells = (a.label.ljust(wide[0]), a.facts.ljust(wide[1]), interval, _share(a.chance).ljust(6), a.verdict)
            yield "  ".join(cells)
    for name, reason in report.not_asked.items():
        yield f"`{name}` is not guessed: {reason}"
    for coverage in report.coverage:
        yield f"\n`{coverage.column}` is true in {coverage.least:.1%} to {coverage.most:.1%} of the rows, by place:"
        yield from heat_map(coverage)
    yield ""
    for name, value in report.rates.items():
        yield f"{name}: {value:.4g}"
    yield f"rows that repeat an input: {report.duplicates['exact']:,} exactly, {report.duplicates['near']:,} nearly"


def heat_map(coverage: Coverage) -> Iterator[str]:
    """Yield the lines of a map: the higher the block, the more often the place is hidden."""
    down, across = coverage.shape
    spread = max(coverage.most, 1e-9)
    for row in range(down):
        shares = coverage.shares[row * across : (row + 1) * across]
        yield "".join(SHADES[round(share / spread * (len(SHADES) - 1))] for share in shares)


def _share(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def report_json(report: Report) -> str:
    """Return the report as one line of JSON."""
    return json.dumps(report.as_dict(), ensure_ascii=False)
