"""The results as a table and a chart: `python benchmarks/report.py` writes docs/speed.md and docs/speed.svg again."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from inputs import Input
from jobs import Row, key_of
from measure import spread

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
UNITS = {
    "photographs": "{:,} photographs",
    "phone": "{:,} photographs of a phone",
    "novels": "{:,} MB of novels",
    "speech": "{:,} minutes of speech",
    "films": "{:,} videos of 2 s",
}
LEFT, BAR, LINE, STRIP = 300, 440, 22, 14  # pixels of the chart: of labels, of the longest bar, of a line, of a bar


def summary(wanted: list[Row], runs: dict[str, Any]) -> list[dict[str, Any]]:
    """An entry for each row, number of workers and competitor: seconds, and how many times as fast the task is."""
    entries = []
    for row, workers in [(one, workers) for one in wanted for workers in one.workers]:
        ours = figures(runs, key_of(row.task, row.options, row.source, workers), "")
        if ours:
            ours = {"task": row.task, "input": described(row.source), "workers": workers, **ours}
            rivals = [(f"{row.task} by {peer.name}", peer.options, row.input_of(peer), peer.name) for peer in row.peers]
            rivals += [(f"{row.task} before", row.options, row.source, "before")]
            beside = [compared(ours, row.source, runs, workers, *rival) for rival in rivals]
            entries += [one for one in beside if one] or [ours]
    return entries


def figures(runs: dict[str, Any], key: str, prefix: str) -> dict[str, Any]:
    """Seconds of a command's runs; empty where there are none."""
    if key not in runs or not runs[key]["wall"]:
        return {}
    return {f"{prefix}{clock}": spread(runs[key][clock]) for clock in ("wall", "cpu")}


def compared(
    ours: dict[str, Any],
    size: Input,
    runs: dict[str, Any],
    workers: int,
    name: str,
    options: tuple[str, ...],
    source: Input,
    title: str,
) -> dict[str, Any]:
    """Our entry with that of a rival, by rate; empty where the rival did not run."""
    theirs = figures(runs, key_of(name, options, source, workers), "peer_")
    if not theirs:
        return {}
    seconds = theirs["peer_wall"]["median"] * size.size / source.size
    ratio = round(seconds / ours["wall"]["median"], 2)
    return {**ours, "peer": title, "peer_input": described(source), **theirs, "times_as_fast": ratio}


def described(source: Input) -> str:
    """`77 MB of novels`"""
    return UNITS[source.kind].format(source.size)


def table(entries: list[dict[str, Any]]) -> str:
    """In Markdown: seconds are medians, with the least and the most."""
    lines = ["| task | input | workers | seconds | CPU-s | compared with | seconds | CPU-s | times as fast |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for one in entries:
        words = [
            f"`{one['task']}`",
            one["input"],
            str(one["workers"]),
            said(one["wall"]),
            f"{one['cpu']['median']:.1f}",
        ]
        if "peer" in one:
            peer = one["peer"] + (f", {one['peer_input']}" if one["peer_input"] != one["input"] else "")
            words += [peer, said(one["peer_wall"]), f"{one['peer_cpu']['median']:.1f}", f"{one['times_as_fast']:.2f}"]
        else:
            words += [""] * 4
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def said(seconds: dict[str, float]) -> str:
    """`4.6 (4.5 to 4.9)`"""
    return f"{seconds['median']:.1f} ({seconds['min']:.1f} to {seconds['max']:.1f})"


def chart(entries: list[dict[str, Any]]) -> str:
    """An SVG of bars, for light and dark: how many times as fast as a peer, and as the floor, with two workers."""
    two = [one for one in entries if one["workers"] == 2 and "peer" in one and one["peer"] != "before"]
    groups = {
        "Times as fast as the same work by other libraries": [one for one in two if one["peer"] != "OpenCV loop"],
        "Beside a loop that only decodes, resizes and encodes as many pixels (dashed: as fast as it)": [
            one for one in two if one["peer"] == "OpenCV loop"
        ],
    }
    parts, y = [], 0
    for title, members in groups.items():
        if not members:
            continue
        y += LINE + 8
        parts.append(f'<text class="title" x="0" y="{y}">{escape(title)}</text>')
        most = max(1.0, *(one["times_as_fast"] for one in members))
        once = LEFT + BAR / most  # as fast as the other
        for one in members:
            y += LINE
            width = BAR * one["times_as_fast"] / most
            label = f"{one['task']}, {one['input']}"
            value = f"{one['times_as_fast']:.2g}" + (f" {one['peer']}" if one["peer"] != "OpenCV loop" else "")
            parts.append(f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y - STRIP + 2}" width="{width:.1f}" height="{STRIP}" rx="2"/>')
            parts.append(f'<text class="value" x="{max(LEFT + width, once) + 6:.1f}" y="{y}">{escape(value)}</text>')
        parts.append(f'<line x1="{once:.1f}" x2="{once:.1f}" y1="{y - LINE * len(members) + 6}" y2="{y + 6}"/>')
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.value{fill:#59636e}rect{fill:#2f81c7}"
        "line{stroke:#c0392b;stroke-dasharray:3 3}@media(prefers-color-scheme:dark){text{fill:#e6edf3}"
        ".value{fill:#9198a1}rect{fill:#58a6ff}line{stroke:#ff7b72}}"
    )
    size = f'width="{LEFT + BAR + 190}" height="{math.ceil(y + 16)}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><style>{style}</style>', *parts, "</svg>\n"]
    )


def circumstances(results: dict[str, Any]) -> str:
    """When, how often, on what and with which packages."""
    facts, counts = results["machine"], sorted({len(run["wall"]) for run in results["runs"].values()})
    runs = f"{' or '.join(map(str, counts))} runs"
    packages = ", ".join(
        f"{name} {number}" for name, number in {**facts["packages_of_peers"], **facts["packages"]}.items()
    )
    cores = f"{facts['cores']} cores of {facts['processor']}, load {facts['load_at_start']:g} at the start"
    return f"{facts['date']}, {runs} of each command, {cores}, Python {facts['python']}; {packages}."


def publish(results: dict[str, Any]) -> None:
    """Write the table between the marks of docs/speed.md, and the chart beside it."""
    page = DOCS / "speed.md"
    head, _, rest = page.read_text("utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    content = f"{BEGIN}\n\n{table(results['rows'])}\n\n{circumstances(results)}\n\n{END}"
    page.write_text(head + content + tail, "utf-8")
    (DOCS / "speed.svg").write_text(chart(results["rows"]), "utf-8")


if __name__ == "__main__":
    publish(json.loads((HERE / "results.json").read_text()))
