"""Verify: a dataset against what its run signed, and every row's label undone, beside the source if that is at hand."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pseudolabel import workers
from pseudolabel.dataset import Dataset, opened
from pseudolabel.deaths import Deaths
from pseudolabel.folder import DEATHS, RECORDS, SKIPPED, difference, versions
from pseudolabel.jobs import Job, Recipe
from pseudolabel.plan import Shard
from pseudolabel.progress import Progress
from pseudolabel.proof import prove
from pseudolabel.sample import Refused
from pseudolabel.shards import Records, digest
from pseudolabel.source import Scan, resolve
from pseudolabel.stream import Silent
from pseudolabel.tasks import Task
from pseudolabel.verdict import FIRST, Verdict


@dataclass
class Verification:
    """What `verify` found, and `--json` prints."""

    out: str
    task: str
    beside: str  # what the rows were held against
    checked: int
    true: int
    consistent: int
    false: int
    faults: list[dict[str, str]]  # the first ones: where, reason
    amiss: int  # faults that are of no row
    remark: str  # why rows may differ though nothing was done to them

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.false and not self.amiss


def verify(
    out: Path | str,
    against: Path | str | Sequence[Path | str] = (),
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Check files, then rows. A row is true where its label is proven, consistent where the row alone cannot betray it.

    With `against` each row is undone beside the source, and made again from it. With one worker all is done here.
    """
    dataset = opened(Path(out))
    sources = resolve(against) if against else []
    task = dataset.task.settled(sources) if sources else dataset.task
    verdict = Verdict()
    records = _folder(dataset, verdict)
    plan = _plan(dataset, task, sources, records, verdict)
    found = dict(_proofs(dataset, task, records, plan, workers, progress or Progress(quiet=True)))
    for index in sorted(found):
        verdict.add(found[index])
    return Verification(
        str(dataset.out),
        dataset.task.name,
        " ".join(map(str, sources)) if plan else "the rows alone",
        verdict.checked,
        verdict.true,
        verdict.consistent,
        verdict.false,
        [fault._asdict() for fault in verdict.faults[:FIRST]],
        verdict.amiss,
        _remark(dataset) if plan else "",
    )


def _remark(dataset: Dataset) -> str:
    """Rows that are made again by other packages may come out otherwise: pictures up to their codec are no fault."""
    then, now = dataset.manifest["versions"], versions()
    return "" if then == now else f"it was made by other packages: {difference('version', then, now)}"


# --- the folder ------------------------------------------------------------------------------------------------------


def _folder(dataset: Dataset, verdict: Verdict) -> dict[int, dict[str, Any]]:
    """Hold the folder against its manifest; return the records of the shards that are there."""
    out, manifest, summary = dataset.out, dataset.manifest, dataset.manifest["summary"]
    data, signed = out / "data", {file["name"] for file in manifest["shards"]}
    there = {path.name for path in data.iterdir()} if data.is_dir() else set()
    for name in sorted(signed - there):
        verdict.blame(f"data/{name}", "the manifest has it, and it is missing")
    for name in sorted(there - signed):
        verdict.blame(f"data/{name}", "it is not in the manifest: it is of another run, or no part of the dataset")
    for name, sha256 in manifest["artefacts"].items():
        if not (out / name).exists():
            verdict.blame(name, "the manifest has it, and it is missing")
        elif digest(out / name) != sha256:
            verdict.blame(name, "its sha256 is not the one in the manifest")
    records, paths = dict[int, dict[str, Any]](), Records(out)
    for index in range(summary["shards"]):
        try:
            records[index] = json.loads(paths.path(index).read_text("utf-8"))
        except (OSError, ValueError):
            verdict.blame(f"{RECORDS}/{paths.path(index).name}", "the shard's record is missing, or cannot be read")
    if len(records) == summary["shards"]:
        _counts(dataset, list(records.values()), verdict)
    return {index: record for index, record in records.items() if all(f["name"] in there for f in record["files"])}


def _counts(dataset: Dataset, records: Sequence[dict[str, Any]], verdict: Verdict) -> None:
    """Are all samples accounted for, and is every one left out in the list?"""
    summary, total, rows = dataset.manifest["summary"], Counter[str](), Counter[str]()
    for record in records:
        total.update({name: record[name] for name in ("seen", "used", "skipped", "filtered", "lacking")})
        rows.update({file["split"]: file["rows"] for file in record["files"]})
    if [file for record in records for file in record["files"]] != list(dataset.manifest["shards"]):
        verdict.blame(RECORDS, "the shards' records do not say what the manifest says of their files")
    if total["seen"] != total["used"] + total["skipped"] + total["filtered"]:
        verdict.blame(RECORDS, "samples seen are not those used, skipped and filtered")
    wrong = [name for name in total if total[name] != summary[name]] + ["rows"] * (rows != summary["rows"])
    if wrong:
        verdict.blame(RECORDS, f"the shards' records do not add up to the summary: {', '.join(wrong)}")
    left_out, lines = Counter[str](), dataset.out / SKIPPED
    if not lines.exists():
        verdict.blame(SKIPPED, "it is missing")
        return
    with lines.open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            left_out.update({line["kind"]: line["samples"], "lacking": line.get("rows", 0)})
    for name in ("skipped", "filtered", "lacking"):
        if left_out[name] != summary[name]:
            verdict.blame(SKIPPED, f"it lists {left_out[name]} {name}, the manifest counts {summary[name]}")


# --- the source ------------------------------------------------------------------------------------------------------


def _plan(
    dataset: Dataset, task: Task, sources: Sequence[Path], records: dict[int, dict[str, Any]], verdict: Verdict
) -> Scan | None:
    """The source as it was planned. Where files changed their sizes, it is cut as it was then, by count."""
    if not sources:
        return None
    before, summary = dataset.manifest["source"], dataset.manifest["summary"]
    scan = Scan(task, sources, dataset.options)
    if scan.plan.digest == before["keys and sizes"]:
        return scan
    now, then = f"{scan.files:,} files of {scan.plan.weight:,} bytes", f"{before['files']:,} of {before['bytes']:,}"
    verdict.blame("the source", f"its files or their sizes are not as they were: {now}, then {then}")
    if len(records) < summary["shards"]:
        return None
    counts = [record["extents"] for record in records.values()]
    scan = Scan(task, sources, dataset.options, counts)
    same = len(counts) == 1 or [len(shard.extents) for shard in scan.plan] == counts
    return scan if same else None  # a file more or less would move all that comes after it to other shards


# --- the work --------------------------------------------------------------------------------------------------------


def _proofs(
    dataset: Dataset, task: Task, records: dict[int, dict[str, Any]], scan: Scan | None, count: int, progress: Progress
) -> Iterator[tuple[int, Verdict]]:
    """The verdict on each shard, by workers, or here if there is to be one."""
    exceptions = Deaths(dataset.out / RECORDS / DEATHS).exceptions
    weights = {
        index: record["weight"] if scan else sum(file["bytes"] for file in record["files"])
        for index, record in records.items()
    }
    jobs = (Job("check", scan.plan[index] if scan else Shard(index, ()), exceptions) for index in records)
    options = dataset.options
    with tempfile.TemporaryDirectory() as work:
        recipe = Recipe(task, options.seed, options.copies, options.validation, dataset.out, Path(work))
        progress.start(sum(weights.values()))
        try:
            pool = workers.Pool(recipe, min(count or workers.cores(), len(records)), options.sample_seconds, prove)
            for index, verdict in _here(recipe, jobs) if count == 1 else _there(pool, jobs, progress):
                progress.settle(index, weights[index], verdict.checked, verdict.false)
                yield index, verdict
        finally:
            progress.stop()


def _here(recipe: Recipe, jobs: Iterator[Job]) -> Iterator[tuple[int, Verdict]]:
    for job in jobs:
        yield job.shard.index, prove(recipe, job, Silent())


def _there(pool: workers.Pool, jobs: Iterator[Job], progress: Progress) -> Iterator[tuple[int, Verdict]]:
    with pool:
        for event in pool.events(deque(), jobs):
            match event:
                case workers.Progress():
                    progress.add(event)
                case workers.Failed():
                    if isinstance(event.error, OSError | Refused):
                        raise event.error
                    raise Refused(f"internal error in shard {event.job.shard.index}: {event.error}\n{event.trace}", 1)
                case workers.Died():
                    lost = Verdict()
                    what = event.status.key or event.status.extent if event.status else "its worker"
                    lost.blame(f"shard {event.job.shard.index}", f"could not be checked: {what} {event.reason}")
                    yield event.job.shard.index, lost
                case workers.Done():
                    yield event.job.shard.index, event.result
