"""The tables of teach.py, for the terminal and for docs/teach.md.

Accuracies are means over seeds; over speakers where one after the other is held out, each the mean of its seeds. An
interval is of 95 % by Student's t. Two arms are compared seed by seed (speaker by speaker), with two standard errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from teaching.experiment import ARMS, LOADER, RANDOM, ROWS, SHUFFLED

START, END = "<!-- made by benchmarks/teach.py -->", "<!-- end -->"
HEAD = ("family", "probe", *ARMS[::-1], "rows - random", "rows - loader", "rows teach")
COPIES_HEAD = ("family", "views", "accuracy", "less than fresh by", "MB on disk", "CPU-s of a training")

Found = Mapping[str, Any]


def complete_seeds(family: Found) -> dict[str, Any]:
    """Return the family without the seeds of which an arm or a fold is missing."""
    cases, settings = family["cases"], family["settings"]
    each = len(settings["arms"]) * settings["folds"]
    whole = [seed for seed in range(settings["seeds"]) if sum(c["seed"] == seed for c in cases.values()) == each]
    return {**family, "cases": {name: case for name, case in cases.items() if case["seed"] in whole}}


def cpu_seconds(family: Found) -> float:
    """Return the CPU-seconds of a family."""
    return family["prepare_seconds"] + sum(case["seconds"] for case in family["cases"].values())


def values(family: Found, arm: str, what: str = "accuracy") -> np.ndarray:
    """Return a figure of an arm, for each seed; for each fold, where there are several."""
    cases = [case for case in family["cases"].values() if case["arm"] == arm]
    unit = "fold" if any(case["fold"] for case in cases) else "seed"
    units = sorted({case[unit] for case in cases})
    return np.array([np.mean([case[what] for case in cases if case[unit] == one]) for one in units])


def interval(found: np.ndarray) -> float:
    """Return half of the 95 % interval of the mean."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))


def difference(family: Found, one: str, other: str) -> tuple[float, float]:
    """Return the mean difference of two arms, pair by pair, and two standard errors of it."""
    apart = values(family, one) - values(family, other)
    return float(apart.mean()), float(2 * apart.std(ddof=1) / np.sqrt(len(apart)))


def decimal(value: float, sign: bool = False) -> str:
    """Return a share as `.460` or `+.022`."""
    return f"{value:{'+' if sign else ''}.3f}".replace("0.", ".", 1)


def accuracy_text(family: Found, arm: str) -> str:
    found = values(family, arm)
    return f"{decimal(found.mean())} ± {decimal(interval(found))}"


def difference_text(family: Found, one: str, other: str) -> str:
    mean, errors = difference(family, one, other)
    return f"{decimal(mean, sign=True)} ± {decimal(errors)}"


def verdict(family: Found) -> str:
    """Return a comparison of the rows with the loader in words, and whether there is a significant gain."""
    mean, errors = difference(family, ROWS, LOADER)
    against = "less than the loader" if mean < -errors else "more than the loader" if mean > errors else "as the loader"
    gain, noise = difference(family, ROWS, RANDOM)
    wrong, doubt = difference(family, ROWS, SHUFFLED)
    teaches = gain > noise and wrong > doubt
    return against if teaches else f"{against}: no significant gain"


def cells(name: str, family: Found) -> tuple[str, ...]:
    arms = (accuracy_text(family, arm) for arm in ARMS[::-1])
    return (
        name,
        family["probe"],
        *arms,
        difference_text(family, ROWS, RANDOM),
        difference_text(family, ROWS, LOADER),
        verdict(family),
    )


def copies_rows(name: str, family: Found) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of copies: fixed views, then fresh ones."""
    each = family["facts"]["megabytes_per_copy"]
    fixed = {copies_in(arm, family): arm for arm in family["settings"]["arms"] if copies_in(arm, family)}
    for count, arm in sorted(fixed.items()):
        seconds = f"{values(family, arm, 'training_seconds').mean():.0f}"
        less = difference_text(family, LOADER, arm)
        yield (
            name,
            f"{count} copies" if count > 1 else "1 copy",
            accuracy_text(family, arm),
            less,
            f"{count * each:.1f}",
            seconds,
        )
    seconds = f"{values(family, LOADER, 'training_seconds').mean():.0f}"
    yield name, "fresh", accuracy_text(family, LOADER), "", "0", seconds


def copies_in(arm: str, family: Found) -> int:
    """Return how many copies an arm reads; 0 if it is not of the table of copies."""
    if arm == ROWS:
        return int(family["facts"]["copies"])
    return int(arm.split()[0]) if arm.endswith(("copy", "copies")) else 0


def more_rows(name: str, family: Found) -> Iterator[str]:
    """Yield a line for each arm that no table has."""
    for arm in family["settings"]["arms"]:
        if arm not in ARMS and not copies_in(arm, family):
            against = "; ".join(
                f"{difference_text(family, arm, other)} against {other}" for other in (ROWS, RANDOM, LOADER)
            )
            yield f"- {name}, {arm}: {accuracy_text(family, arm)}; {against}."


def codes_rows(family: Found) -> Iterator[str]:
    """Yield what is predicted from the codes of mask-audio: digits of speakers that the linear model was not fitted on,
    and who speaks; and what two speakers share."""
    digits = dict[str, np.ndarray]()
    for arm, folds in family["facts"].get("codes", {}).items():
        speakers = sorted({speaker for fold in folds for speaker in fold["digit"]})
        digit = [np.mean([fold["digit"][one] for fold in folds if one in fold["digit"]]) for one in speakers]
        digits[arm] = np.array(digit)
        who, overlap = (float(np.mean([fold[what] for fold in folds])) for what in ("speaker", "overlap"))
        by = ", ".join(f"{one} {decimal(value)}" for one, value in zip(speakers, digit, strict=True))
        yield (
            f"- codes of {arm}: digit of an unseen speaker {decimal(float(np.mean(digit)))} ({by}); who speaks "
            f"{decimal(who)}; two speakers have {decimal(overlap)} of their codes in common."
        )
    if len(digits) == 2:
        before, after = digits.values()
        errors = 2 * (after - before).std(ddof=1) / np.sqrt(len(before))
        yield f"- difference of the digits: {decimal(float((after - before).mean()), True)} ± {decimal(float(errors))}."


def losses(family: Found, arm: str) -> str:
    first, last = (values(family, arm, what).mean() for what in ("first_loss", "last_loss"))
    return f"{first:.2f} to {last:.2f}"


def lines(found: Mapping[str, Found]) -> Iterator[list[tuple[str, ...]]]:
    """Yield the two tables, heads first."""
    yield [HEAD, *(cells(name, family) for name, family in found.items())]
    several = {name: family for name, family in found.items() if "1 copy" in family["settings"]["arms"]}
    yield [COPIES_HEAD, *(row for name, family in several.items() for row in copies_rows(name, family))]
    head = ("family", "steps x batch", *(f"loss of {arm}" for arm in (ROWS, LOADER, SHUFFLED)), "CPU-s")
    budgets = []
    for name, family in found.items():
        settings, made = family["settings"], (losses(family, arm) for arm in (ROWS, LOADER, SHUFFLED))
        budgets.append((name, f"{settings['steps']} x {settings['batch']}", *made, f"{cpu_seconds(family):.0f}"))
    yield [head, *budgets]


def summary(found: Mapping[str, Found]) -> Iterator[str]:
    """Yield the lines for the terminal."""
    for table in lines(found):
        wide = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        yield from (
            "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in table
        )
        yield ""
    for name, family in found.items():
        yield from (*more_rows(name, family), *codes_rows(family))
    yield f"CPU time: {sum(map(cpu_seconds, found.values())) / 60:.0f} minutes"


def publish(found: Mapping[str, Found], first: Sequence[str], page: Path) -> None:
    """Write the tables between the markers of a page."""
    tables = []
    for table in lines(found):
        rows = [f"| {' | '.join(row)} |" for row in table]
        tables.append("\n".join([rows[0], f"| {' | '.join('---' for _ in table[0])} |", *rows[1:]]))
    more = "\n".join(line for name, family in found.items() for line in (*more_rows(name, family), *codes_rows(family)))
    commands = "\n".join(f"    {family['command']}" for family in found.values())
    packages = ", ".join(f"{name} {number}" for name, number in next(iter(found.values()))["versions"].items())
    minutes = sum(map(cpu_seconds, found.values())) / 60
    parts = [
        "## Which task first",
        "\n".join(first),
        "## Results",
        tables[0],
        *([more] if more else []),
        "## How many copies",
        tables[1],
        "## Budgets and losses",
        tables[2],
        f"CPU time: {minutes:.0f} minutes (about {minutes / 2:.0f} on two idle cores). Versions: {packages}.",
        "The rows were made by:",
        commands,
    ]
    text = page.read_text("utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    made = "\n\n".join(parts)
    page.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", "utf-8")
