"""Summaries of runs on standard output: counts, the reasons for which samples were left out, and the next command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from pseudolabel.contracts import UnusableSample, escape_controls, number_of, shorten, size_text
from pseudolabel.tasks.base.modalities import MODALITIES, modalities_of
from pseudolabel.tasks.base.task import TASKS

if TYPE_CHECKING:
    from pseudolabel.engine.finish import Summary

MAX_REASONS = 3


def print_lines(lines: Iterable[str], facts: Mapping[str, Any], as_json: bool) -> None:
    """Print the facts of a run as one JSON object, or its lines for people."""
    for line in [json.dumps(facts)] if as_json else map(escape_controls, lines):
        typer.echo(line)


def run_lines(made: Summary, source: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a run, a part or a plan. `source`: the words of the command line, for the next command."""
    from pseudolabel.storage.layout import DATA
    from pseudolabel.storage.stores import store
    from pseudolabel.storage.urls import is_url

    there, finished = quote(relative_path(made.out)), made.status.endswith("finished")
    parts = number_of(made.shards, "shards")  # files in a store are not counted: that is a request
    if finished and not is_url(made.out):
        parts = number_of(len(store(Path(made.out)).sizes(DATA)), "files")
    if made.seen or finished:
        done = {"finished": "", "already finished": "nothing to do: "}.get(made.status, f"{made.status}: ")
        samples, rows = number_of(made.seen, samples_of(made.task)), number_of(sum(made.rows.values()), "rows")
        time = f"{made.seconds:.1f} s" if made.seconds < 60 else f"{made.seconds / 60:.1f} min"
        yield f"{done}{samples} -> {rows} in {parts}, {size_text(made.bytes)}, {time}"
    if made.validation:
        asked, reached = (f"{made.validation[name]:.2%}" for name in ("asked", "reached"))
        yield f"validation: {number_of(made.rows.get('validation', 0), 'rows')}, {reached} of all; asked for {asked}"
    yield from count_line({"samples cut": made.cut, "rows missing": made.lacking}, made.ignored_suffixes)
    if finished and (made.skipped or made.filtered or made.lacking):
        yield from reason_lines(made)
    if finished:
        verify = "".join(f" --against {quote(one)}" for one in source if one != "-")
        yield f"next: pseudolabel preview {there} --open"
        yield f"      pseudolabel verify {there}{verify}"
    elif made.status.startswith("planned"):
        yield f"planned {number_of(made.shards, 'shards')}, so N is at most {made.shards:,}"
        yield f"next: the same command without the word plan, with --part 1/N to N/N; then pseudolabel finish {there}"
        yield "      or train without storing, by pseudolabel.open and pseudolabel.torch.Rows"
    else:
        if not made.seen:
            yield f"{made.status}: no shard is left for it"
        yield f"next: the other parts, then pseudolabel finish {there}"


def reason_lines(made: Summary) -> Iterator[str]:
    """Yield the most frequent reasons for which samples were left out, each with its count and one of the samples."""
    from pseudolabel.inspection.manifest_check import read_skipped
    from pseudolabel.storage.layout import SKIPPED
    from pseudolabel.storage.urls import open_location
    from pseudolabel.writers.skip_reasons import count_reasons

    where = f"{relative_path(made.out)}/{SKIPPED}"
    try:
        found = count_reasons(read_skipped(open_location(made.out) / SKIPPED))
    except (UnusableSample, OSError) as fault:  # the file is damaged, or its store fails
        yield f"{made.skipped:,} skipped, {made.filtered:,} filtered; {where}: {fault}"
        return
    for one in found[:MAX_REASONS]:
        yield shorten(f"{one.kind} {one.count:,}: {one.text} ({one.key}{' and similar' * one.varies})")
    if len(found) > MAX_REASONS:
        yield f"{number_of(len(found) - MAX_REASONS, 'more reasons')} in {where}"


def dry_run_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an estimate."""
    yield (
        f"{facts['status']}: {number_of(facts['samples'], samples_of(facts['task']))} -> "
        f"{number_of(facts['rows'], 'rows')} in {number_of(facts['shards'], 'shards')}, {size_text(facts['bytes'])}, "
        f"{facts['core_seconds']:,} s of one core"
    )
    yield from count_line({name: facts[name] for name in ("skipped", "filtered")}, facts["ignored_suffixes"])
    yield from (f"warning: {warning}" for warning in facts["warnings"])
    yield f"next: the same command without --dry-run makes {relative_path(facts['out'])}"


def count_line(counts: Mapping[str, int], ignored: Mapping[str, int]) -> Iterator[str]:
    """Yield one line with the counts that are not 0, and ignored files by suffix: `3 skipped; ignored 2 .doc`."""
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    if ignored:
        parts.append("ignored " + ", ".join(f"{count:,} {suffix}" for suffix, count in ignored.items()))
    if parts:
        yield "; ".join(parts)


def samples_of(task: str) -> str:
    """Return the name of the samples of a task, in the plural."""
    modalities = modalities_of(TASKS[task])
    return MODALITIES[modalities[0]].samples if len(modalities) == 1 else "samples"


def relative_path(path: str) -> str:
    """Return a path as a user in the current folder would type it."""
    return path.removeprefix(f"{os.getcwd()}/")
