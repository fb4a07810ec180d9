"""The table of the referee, for the terminal and for docs/referee.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pseudolabel.inspection.audit.report import share

START, END = "<!-- made by benchmarks/referee.py -->", "<!-- end -->"
HEAD = ("task", "rows by", "source", "rows", "verdict", "best guessed from", "rate [95 %]", "chance", "measured")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one row of the table."""
    best, guess = row["strongest"], ("-", "-", "-")
    if best:
        interval = f"{share(best['rate'])} [{share(best['low'])} {share(best['high'])}]"
        guess = (best["facts"], interval, share(best["chance"]))
    source = row["source"].replace("_", " ")
    return row["task"], row["by"], source, f"{row['rows']:,}", row["verdict"], *guess, measured(row)


def measured(row: Mapping[str, Any]) -> str:
    """Return the rates in words: coverage of masks, replaced tokens, padding."""
    found = []
    for coverage in row["coverage"]:
        shares, name = coverage["shares"], coverage["column"]
        spread = row["rates"].get(f"{name}: share, deviation", 0)
        found.append(f"{row['rates'][f'{name}: share']:.1%} of places" + (f" ± {spread:.1%}" if spread else ""))
        found.append(f"by place {min(shares):.1%} to {max(shares):.1%}")
    kinds = [
        row["rates"].get(f"asked tokens: {kind}") for kind in ("as the mask token", "as another token", "unchanged")
    ]
    if None not in kinds:
        found.append("mask/other/same " + " / ".join(f"{100 * kind:.1f}" for kind in kinds))
    return "; ".join(found)


def markdown(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| {' | '.join(HEAD)} |"
    yield f"| {' | '.join('---' for _ in HEAD)} |"
    for row in result["rows"]:
        mark = "**" if row["verdict"] == "leaks" else ""
        found = list(cells(row))
        found[4] = f"{mark}{found[4]}{mark}"
        yield f"| {' | '.join(found)} |"


def claims(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the measurements of published code in addition to the audit."""
    for name, cases in result["claims"].items():
        yield f"- {name}:"
        for case, figures in cases.items():
            yield f"  - {case}: {'; '.join(f'{what} {figure(what, value)}' for what, value in figures.items())}"


def figure(what: str, value: float) -> str:
    if "share" in what:
        return f"{value:.1%}"
    return ("no", "yes")[int(value)] if "behind" in what else f"{value:,.0f}"


def summary(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for the terminal."""
    table = [HEAD, *map(cells, result["rows"])]
    wide = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip()
    yield from claims(result)
    yield from (f"left out: {name}: {why}" for name, why in result["left_out"].items())
    yield f"time {result['seconds']} s, CPU time {result['cpu_seconds']} s"


def publish(result: Mapping[str, Any], page: Path) -> None:
    """Write the tables between the markers of a page."""
    packages = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    commands = [f"    {command}" for command in dict.fromkeys(row["command"] for row in result["rows"])]
    seconds = f"Time: {result['seconds'] / 60:.0f} minutes; CPU time: {result['cpu_seconds'] / 60:.0f} minutes."
    lost = [f"Left out: {name}: {why}." for name, why in result["left_out"].items()]
    parts = [
        [*markdown(result)],
        ["Measured in addition to the audit:", "", *claims(result)],
        [*lost, f"{seconds} Versions: {packages}."],
        [
            "The commands, to be run in the folder `benchmarks`:",
            "",
            *commands,
        ],
    ]
    made = "\n\n".join("\n".join(part) for part in parts)
    text = page.read_text("utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    page.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", "utf-8")
