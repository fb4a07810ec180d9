"""What an audit found, for people and as JSON, and where a dataset keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, NamedTuple

from pseudolabel.contracts import UnusableSample, UserError, escape_controls
from pseudolabel.inspection.audit.measures import Coverage
from pseudolabel.inspection.html import escape_text, figure, isolate
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import AUDIT, CARD
from pseudolabel.writers.card import table_row
from pseudolabel.writers.dataset import Dataset, read_json

CLEAN, LEAKS, BY_METHOD = "clean", "leaks", "told by the method"  # verdicts on a question
HEADING = "## Audit"  # of the report in a card
NAMES = ("label", "guessed from", "rate", "95 % interval", "chance", "verdict")
SHADES = " ▁▂▃▄▅▆▇█"
NUMBER = int | float
SHAPE = {  # of `audit.json`
    **{"verdict": str, "command": str, "rows": int, "sources": int},
    "answers": [
        {
            **dict.fromkeys(("label", "facts", "verdict", "reason"), str),
            **dict.fromkeys(("rate", "low", "high", "chance"), NUMBER),
        }
    ],
    "coverage": [{"summary": str, "shape": [int], "shares": [NUMBER]}],
    **{"rates": dict, "duplicates": {"exact": int, "near": int}, "not_asked": dict, "left_out": dict},
}


class Answer(NamedTuple):
    """How often a label was guessed from one kind of facts, and the verdict."""

    label: str
    facts: str
    model: str  # the better of the models
    rate: float
    low: float  # of the 95 % interval
    high: float
    chance: float  # share of the most frequent label
    p: float  # corrected for the number of questions and models (Holm)
    verdict: str
    reason: str = ""  # why the method itself gives the label away, if the verdict is BY_METHOD

    @property
    def excess(self) -> float:
        return self.rate - self.chance

    def __str__(self) -> str:
        return f"`{self.label}` is guessed from {self.facts}: {share(self.rate)}, chance {share(self.chance)}"


@dataclass
class Report:
    """What an audit found."""

    what: str
    command: str
    rows: int
    sources: int
    answers: list[Answer]
    coverage: list[Coverage]
    rates: Mapping[str, float]
    duplicates: Mapping[str, int]
    not_asked: Mapping[str, str]  # label -> why it was not guessed
    left_out: Mapping[str, int]  # reason -> rows that were left out
    dataset: Dataset | None = None  # whose folder keeps the report; None for a table, or if its columns were chosen

    def strongest(self, verdict: str) -> list[Answer]:
        """Return the answer with this verdict and the largest effect for each label; the largest effect first."""
        best = {a.label: a for a in sorted(self.answers, key=lambda a: a.excess) if a.verdict == verdict}
        return sorted(best.values(), key=lambda a: -a.excess)

    @property
    def leaks(self) -> bool:
        return any(answer.verdict == LEAKS for answer in self.answers)

    @property
    def verdict(self) -> str:
        """Return the verdict in words."""
        if not self.answers:
            return "not judged: " + "; ".join(f"`{name}`: {why}" for name, why in self.not_asked.items())
        if self.leaks:
            return f"{LEAKS}: " + "; ".join(map(str, self.strongest(LEAKS)))
        return "; ".join([CLEAN, *(f"{one}, by the method ({one.reason})" for one in self.strongest(BY_METHOD))])

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        kept = ("command", "leaks", "rows", "sources", "rates", "duplicates", "not_asked", "left_out")
        return {
            "verdict": self.verdict,
            **{name: getattr(self, name) for name in kept},
            "answers": [a._asdict() for a in sorted(self.answers, key=lambda a: (a.label, -a.excess))],
            "coverage": [{"summary": one.summary, **one._asdict()} for one in self.coverage],
        }


def share(value: float) -> str:
    """Format a share: `.589`, `1.000`."""
    return f"{value:.3f}".replace("0.", ".", 1)


def report_lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report for people."""
    found = report.as_dict()
    yield f"{report.what}: {report.verdict}"
    yield f"{report.rows:,} rows of {report.sources:,} sources, {len(report.answers)} questions"
    if report.answers:
        table = [NAMES, *map(cells, found["answers"])]
        wide = [max(map(len, column)) for column in zip(*table, strict=True)]
        yield ""
        yield from ("  ".join(map(str.ljust, line, wide)).rstrip() for line in table)
    for coverage in report.coverage:
        yield f"\n{coverage.summary}"
        yield from heat_map(coverage)
    yield ""
    yield from notes(found)


def notes(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a report says beside its answers and maps, one line each."""
    for name, reason in found["not_asked"].items():
        yield f"`{name}` is not guessed: {reason}"
    for reason, count in found["left_out"].items():
        yield f"left out, {count:,} rows: {reason}"
    for name, value in found["rates"].items():
        yield f"{name}: {value:.4g}"
    exact, near = (found["duplicates"][kind] for kind in ("exact", "near"))
    yield f"rows that repeat an input: {exact:,} exactly, {near:,} nearly"


def cells(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the values of an answer under `NAMES`."""
    interval = f"{share(answer['low'])} to {share(answer['high'])}"
    verdict = answer["verdict"] + (f": {answer['reason']}" if answer["reason"] else "")
    return answer["label"], answer["facts"], share(answer["rate"]), interval, share(answer["chance"]), verdict


def heat_map(coverage: Coverage) -> Iterator[str]:
    """Yield the lines of a map: the higher the block, the more often the place is asked for."""
    down, across = coverage.shape
    most = max(coverage.most, 1e-9)
    for row in range(down):
        shares = coverage.shares[row * across : (row + 1) * across]
        yield "".join(SHADES[round(one / most * (len(SHADES) - 1))] for one in shares)


# --- in a dataset's folder -------------------------------------------------------------------------------------------


def store_report(found: Mapping[str, Any], dataset: Dataset) -> None:
    """Write a report to the dataset's `audit.json`, and to its card as the last section, in place of such a section."""
    write_atomic(dataset.out / AUDIT, [json.dumps(found, indent=1), "\n"])
    card = dataset.out / CARD
    before = card.read_text("utf-8").partition(f"\n{HEADING}\n")[0] if card.exists() else ""
    write_atomic(card, [before, *(f"{line}\n" for line in ("", HEADING, "", *_card_lines(found)))])


def _card_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['verdict'][:1].upper()}{found['verdict'][1:]}."
    yield f"A linear model and a shallow tree saw {found['rows']:,} rows of {found['sources']:,} sources:"
    yield from ("", "```sh", found["command"], "```", "")
    if found["answers"]:
        yield from (table_row(*NAMES), "| --- " * len(NAMES) + "|")
    yield from (table_row(*cells(answer)) for answer in found["answers"])
    yield ""
    covered = (one["summary"] for one in found["coverage"])
    yield from (f"- {escape_controls(line)}" for line in (*covered, *notes(found)))


def stored_report(dataset: Dataset) -> dict[str, Any] | None:
    """Return what `audit.json` holds; None if the dataset was not audited. Raise `UserError` if it is damaged."""
    path = dataset.out / AUDIT
    try:
        return read_json(path, SHAPE) if path.exists() else None
    except UnusableSample as fault:
        raise UserError(f"{path} {fault}; run pseudolabel audit {quote(str(dataset.out))} again", 3) from None


def render_report(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a stored report as HTML."""
    yield f"<h2>Audit</h2><p>{_with_code(found['verdict'])}</p><pre>{escape_text(found['command'])}</pre>"
    yield f"<p>{found['rows']:,} rows of {found['sources']:,} sources</p>"
    if found["answers"]:
        yield f"<table><tr>{''.join(f'<th>{name}</th>' for name in NAMES)}</tr>"
    for answer in found["answers"]:
        yield f"<tr>{''.join(f'<td>{isolate(cell)}</td>' for cell in cells(answer))}</tr>"
    yield "</table>" if found["answers"] else ""
    for one in found["coverage"]:
        yield figure("heat", one["summary"], _heat_map(one["shape"], one["shares"]))
    yield f"<ul>{''.join(f'<li>{_with_code(line)}</li>' for line in notes(found))}</ul>"


def _with_code(text: str) -> str:
    """Return a line as HTML, with names in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", isolate(text))


def _heat_map(shape: Sequence[int], shares: Sequence[float]) -> str:
    """Return a map as SVG: the more opaque a square, the more often the place is asked for."""
    down, across = shape
    squares = "".join(
        f'<rect x="{at % across}" y="{at // across}" width="1" height="1" fill-opacity="{one:.3f}">'
        f"<title>{one:.1%}</title></rect>"
        for at, one in enumerate(shares)
    )
    return (
        f'<svg viewBox="0 0 {across} {down}" role="img" aria-label="how often each place is asked for">{squares}</svg>'
    )
