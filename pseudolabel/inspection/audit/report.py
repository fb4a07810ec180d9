"""What an audit found, for people and as JSON, and where a dataset keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, NamedTuple

from pseudolabel.contracts import UnusableSample, UserError
from pseudolabel.inspection.audit.measures import Coverage
from pseudolabel.inspection.html import escape_text, figure, isolate
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import AUDIT, CARD
from pseudolabel.writers.card import add_audit
from pseudolabel.writers.dataset import Dataset, read_json

CLEAN, LEAKS, BY_METHOD = "clean", "leaks", "told by the method"  # verdicts on a question
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
        return {
            "verdict": self.verdict,
            "command": self.command,
            "leaks": self.leaks,
            "rows": self.rows,
            "sources": self.sources,
            "answers": [answer._asdict() for answer in sorted_answers(self.answers)],
            "coverage": [{"summary": one.summary, **one._asdict()} for one in self.coverage],
            "rates": dict(self.rates),
            "duplicates": dict(self.duplicates),
            "not_asked": dict(self.not_asked),
            "left_out": dict(self.left_out),
        }


def sorted_answers(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers by label, the largest effect first."""
    return sorted(answers, key=lambda answer: (answer.label, -answer.excess))


def share(value: float) -> str:
    """Format a share: `.589`, `1.000`."""
    return f"{value:.3f}".replace("0.", ".", 1)


def report_lines(report: Report) -> Iterator[str]:
    """Yield the lines of a report for people."""
    yield f"{report.what}: {report.verdict}"
    yield f"{report.rows:,} rows of {report.sources:,} sources, {len(report.answers)} questions"
    for reason, count in report.left_out.items():
        yield f"left out, {count:,} rows: {reason}"
    if report.answers:
        wide = [max(12, *(len(getattr(a, name)) for a in report.answers)) for name in ("label", "facts")]
        yield f"\n{'label'.ljust(wide[0])}  {'guessed from'.ljust(wide[1])}  rate [95 % interval]  chance  verdict"
        for a in sorted_answers(report.answers):
            interval = f"{share(a.rate)} [{share(a.low)} {share(a.high)}]".ljust(20)
            verdict = a.verdict + (f": {a.reason}" if a.reason else "")
            yield "  ".join(
                (a.label.ljust(wide[0]), a.facts.ljust(wide[1]), interval, share(a.chance).ljust(6), verdict)
            )
    for name, reason in report.not_asked.items():
        yield f"`{name}` is not guessed: {reason}"
    for coverage in report.coverage:
        yield f"\n{coverage.summary}"
        yield from heat_map(coverage)
    yield ""
    for name, value in report.rates.items():
        yield f"{name}: {value:.4g}"
    yield f"rows that repeat an input: {report.duplicates['exact']:,} exactly, {report.duplicates['near']:,} nearly"


def heat_map(coverage: Coverage) -> Iterator[str]:
    """Yield the lines of a map: the higher the block, the more often the place is asked for."""
    down, across = coverage.shape
    most = max(coverage.most, 1e-9)
    for row in range(down):
        shares = coverage.shares[row * across : (row + 1) * across]
        yield "".join(SHADES[round(one / most * (len(SHADES) - 1))] for one in shares)


# --- in a dataset's folder -------------------------------------------------------------------------------------------


def store_report(found: Mapping[str, Any], dataset: Dataset) -> None:
    """Write a report to the dataset's `audit.json`, and to its card."""
    write_atomic(dataset.out / AUDIT, [json.dumps(found, indent=1), "\n"])
    add_audit(dataset.out / CARD, found)


def stored_report(dataset: Dataset) -> dict[str, Any] | None:
    """Return what `audit.json` holds; None if the dataset was not audited. Raise `UserError` if it is damaged."""
    path = dataset.out / AUDIT
    try:
        return read_json(path, SHAPE) if path.exists() else None
    except UnusableSample as fault:
        raise UserError(f"{path} {fault}; run pseudolabel audit {quote(str(dataset.out))} again", 3) from None


def render_report(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a stored report as HTML."""
    verdict = re.sub("`([^`]+)`", r"<code>\1</code>", isolate(found["verdict"]))
    yield f"<h2>Audit</h2><p>{verdict}</p><pre>{escape_text(found['command'])}</pre>"
    yield f"<p>{found['rows']:,} rows of {found['sources']:,} sources</p>"
    if found["answers"]:
        names = ("label", "guessed from", "rate", "95 % interval", "chance", "verdict")
        yield f"<table><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    for a in found["answers"]:
        interval = f"{share(a['low'])} to {share(a['high'])}"
        verdict = a["verdict"] + (f": {a['reason']}" if a["reason"] else "")
        cells = (a["label"], a["facts"], share(a["rate"]), interval, share(a["chance"]), verdict)
        yield f"<tr>{''.join(f'<td>{isolate(cell)}</td>' for cell in cells)}</tr>"
    yield "</table>" if found["answers"] else ""
    for one in found["coverage"]:
        yield figure("heat", one["summary"], _heat_map(one["shape"], one["shares"]))
    lines = [f"{name} is not guessed: {reason}" for name, reason in found["not_asked"].items()]
    lines += [f"left out, {count:,} rows: {reason}" for reason, count in found["left_out"].items()]
    lines += [f"{name}: {value:.4g}" for name, value in found["rates"].items()]
    exact, near = (found["duplicates"][kind] for kind in ("exact", "near"))
    lines.append(f"rows that repeat an input: {exact:,} exactly, {near:,} nearly")
    yield f"<ul>{''.join(f'<li>{isolate(line)}</li>' for line in lines)}</ul>"


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
