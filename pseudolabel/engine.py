"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pseudolabel import rays, workers
from pseudolabel.card import write_card
from pseudolabel.deaths import Deaths, Search
from pseudolabel.folder import (
    ARTEFACTS,
    CARD,
    DEATHS,
    RECORDS,
    SKIPPED,
    SUCCESS,
    TRACE,
    WORK,
    clear,
    locked,
    place,
    same_versions,
    standing,
    versions,
    write_manifest,
)
from pseudolabel.jobs import Job, Recipe, fit
from pseudolabel.options import Engine, RunOptions, share_or_count
from pseudolabel.plan import MEGABYTE, Shard
from pseudolabel.progress import Progress
from pseudolabel.sample import Refused
from pseudolabel.shards import Records, sync, write_whole
from pseudolabel.source import Scan, resolve, shown
from pseudolabel.tasks.base import Task


@dataclass
class Summary:
    """What a run says at its end, and `--json` prints."""

    out: str
    task: str
    status: str  # "finished", or "already finished"
    seen: int = 0
    used: int = 0
    skipped: int = 0
    filtered: int = 0
    cut: int = 0
    lacking: int = 0
    ignored: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0
    report: dict[str, float] = field(default_factory=dict)  # what the task tells of its labels


def run(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """Make the dataset, or finish it, or find it finished."""
    chosen = RunOptions(**options)
    started, progress = time.monotonic(), progress or Progress(quiet=True)
    sources = resolve(source)
    out = place(task.name, sources, chosen.out)
    task = task.settled(sources)
    scan = Scan(task, sources, chosen)
    manifest = {"pseudolabel": 1, **identity(task, scan, chosen), "fields": asdict(task), "versions": versions()}
    if (out / SUCCESS).exists() and not chosen.overwrite and not missing(out, scan):  # no lock: nothing is made
        before = standing(out, manifest)["summary"]
        return Summary(**{**before, "out": str(out), "status": "already finished", "report": dict(task.report(out))})
    with locked(out):
        if chosen.overwrite:
            clear(out)
        before = standing(out, manifest)
        if before:
            same_versions(out, before, manifest)
        (out / SUCCESS).unlink(missing_ok=True)
        write_manifest(out, manifest)
        (out / "data").mkdir(exist_ok=True)
        if lacking := missing(out, scan):
            Run(task, chosen, scan, out, progress).make(lacking)
        for remark in task.remarks(out):
            progress.note(remark)
        summary = finish(task, chosen, scan, out, manifest, started)
    return replace(summary, report=dict(task.report(out)))


def missing(out: Path, scan: Scan) -> list[int]:
    """The shards that are not there, or not whole."""
    records = Records(out)
    return [i for i in range(len(scan.plan)) if records.done(i) is None]


def identity(task: Task, scan: Scan, options: RunOptions) -> dict[str, Any]:
    """What makes it this dataset and no other: not the workers, nor dates, nor where the source lies."""
    source = {"files": scan.files, "bytes": scan.plan.weight, "keys and sizes": scan.plan.digest}
    chosen = {
        name: getattr(options, name) for name in ("seed", "shard_size", "copies", "limit", "validation", "in_order")
    }
    return json.loads(json.dumps({"task": task.name, "options": dict(task.options()), **chosen, "source": source}))  # type: ignore[no-any-return]


# --- the work --------------------------------------------------------------------------------------------------------


class Run:
    """One attempt at the missing shards, with a folder of its own below `_work/`."""

    def __init__(self, task: Task, options: RunOptions, scan: Scan, out: Path, progress: Progress) -> None:
        self.task, self.options, self.scan, self.out, self.progress = task, options, scan, out, progress
        self.records = Records(out)
        self.deaths = Deaths(out / RECORDS / DEATHS)
        for left in sorted((out / WORK).glob("*")):  # of runs that were killed: we hold the lock
            self.deaths.harvest(left)
            shutil.rmtree(left)
        self.folder = out / WORK / f"{os.getpid()}-{time.time_ns()}"
        self.folder.mkdir(parents=True)
        self.recipe = Recipe(task, options.seed, options.copies, options.validation, out, self.folder)

    def make(self, missing: Sequence[int]) -> None:
        """Learn, then make the missing shards. However it ends, nothing half made is left behind."""
        count = min(self.options.workers or workers.cores(), len(missing))
        try:
            with self.pool(count) as pool:
                self.learn(pool)
                self.progress.start(self.scan.plan.weight, [self.records.done(i) for i in range(len(self.scan.plan))])
                # the largest shards first, so that at the end no worker is left alone with one; the suspected ones last
                order = sorted(missing, key=lambda index: (self.deaths.suspected("make", index), -index))
                for _ in self.drive(pool, (Job("make", self.scan.plan[index]) for index in order)):
                    pass
        finally:
            self.progress.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(self.out / WORK, ignore_errors=True)

    def pool(self, count: int) -> workers.Pool | rays.Pool:
        """The processes of this machine, or of a Ray cluster."""
        if self.options.engine is Engine.RAY:
            return rays.Pool(self.recipe, self.options, self.scan.sources, count)
        return workers.Pool(self.recipe, count, self.options.sample_seconds)

    def learn(self, pool: workers.Pool | rays.Pool) -> None:
        """Fit once; what was learned stays with the dataset, and a rerun finds it."""
        artefacts = self.records.folder / ARTEFACTS
        if artefacts.exists():
            return
        if not self.task.learns():  # a matter of moments, while the workers start
            write_whole(artefacts, [json.dumps(fit(self.recipe), indent=1)])
            return
        self.progress.note(f"learning from at most {self.task.observed_megabytes} MB of the source")
        self.observe(pool)
        for done in self.drive(pool, iter([Job("fit", Shard(0, []))])):
            write_whole(artefacts, [json.dumps(done.result, indent=1)])

    def observe(self, pool: workers.Pool | rays.Pool) -> None:
        """Let the workers note what `fit` needs, until it is enough; what is too much by then, `fit` leaves."""
        seen = 0

        def parts() -> Iterator[Job]:
            for part in shown(self.scan, self.options):
                if seen >= self.task.observed_megabytes * MEGABYTE:
                    return
                yield Job("observe", part)

        for done in self.drive(pool, parts()):
            seen += done.result

    def drive(self, pool: workers.Pool | rays.Pool, jobs: Iterator[Job]) -> Iterator[workers.Done]:
        """Run jobs to their end, through deaths, and yield each that is done."""
        search, first = Search(self.deaths), deque[Job]()
        warned = (trial for job in jobs for trial in search.hold(job, self.deaths.suspect(job)))
        for event in pool.events(first, warned):
            match event:
                case workers.Progress():
                    self.progress.add(event)
                    search.goes_on()
                case workers.Failed():
                    raise self.failure(event)
                case workers.Died():
                    self.progress.lost(event)
                    first.extendleft(reversed(search.died(event)))
                case workers.Done(job=Job(trial=True)):
                    first.extendleft(search.over(event.job))
                case workers.Done():
                    search.goes_on()
                    self.progress.done(event)
                    yield event

    def failure(self, event: workers.Failed) -> BaseException:
        """The error to end with; the trace of a bug is kept beside the dataset for the report."""
        if isinstance(event.error, OSError | Refused):
            return event.error
        trace = self.records.folder / TRACE
        trace.write_text(event.trace, "utf-8")
        return Refused(
            f"internal error in shard {event.job.shard.index}: {event.error}\nplease report it with {trace}", code=1
        )


# --- the end ---------------------------------------------------------------------------------------------------------


def finish(task: Task, options: RunOptions, scan: Scan, out: Path, manifest: dict[str, Any], started: float) -> Summary:
    """Assemble what the records say, check it, and sign: `_SUCCESS` comes last."""
    records, total, rows = Records(out), Counter[str](), Counter[str]()
    shards, size = [], 0
    for index in range(len(scan.plan)):
        record = records.done(index)
        assert record is not None, f"shard {index} was reported done and is not there"
        total.update({name: record[name] for name in ("seen", "used", "skipped", "filtered", "cut", "lacking")})
        for file in record["files"]:
            rows[file["split"]] += file["rows"]
            size += file["bytes"]
            shards.append(file)
    summary = Summary(
        str(out), task.name, "finished", **total, ignored=scan.ignored, rows=dict(rows),
        shards=len(scan.plan), bytes=size, seconds=round(time.monotonic() - started, 1),
        report={},  # told anew by each run, as it asks
    )  # fmt: skip
    write_whole(out / SKIPPED, records.skipped(len(scan.plan)))
    reading, labelling = Deaths(records.folder / DEATHS).exceptions
    exceptions = {**reading, **labelling}
    artefacts = json.loads((records.folder / ARTEFACTS).read_text("utf-8"))
    manifest = {
        **manifest,
        "artefacts": artefacts,
        "remarks": list(task.remarks(out)),
        "exceptions": exceptions,
        "summary": asdict(summary),
        "shards": shards,
    }
    for folder in (records.data, records.folder):
        sync(folder)
    write_manifest(out, manifest)
    judge(summary, options, out)
    write_card(out / CARD, task, manifest)
    write_whole(out / SUCCESS, [])
    return summary


def judge(summary: Summary, options: RunOptions, out: Path) -> None:
    """Refuse to sign what lost samples, has too few of them, or no row."""
    if summary.seen != summary.used + summary.skipped + summary.filtered:
        raise Refused(f"{out}: {summary.seen} samples seen do not equal those used, skipped and filtered", code=3)
    limit, share = share_or_count(options.max_skipped)
    if summary.skipped > (limit * summary.seen if share else limit):
        raise Refused(
            f"{summary.skipped} of {summary.seen} samples are unusable, above --max-skipped {options.max_skipped}\n"
            f"see {out / SKIPPED}; run again with a larger --max-skipped, or mend them and run with --overwrite",
            code=3,
        )
    if not sum(summary.rows.values()):
        raise Refused(f"no row could be made of {summary.seen} samples; see {out / SKIPPED}", code=3)
