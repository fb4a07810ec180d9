"""Parts of a dataset: plan it once, make each part in an independent process, and finish it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pseudolabel.contracts import RunOptions, UserError, some_of
from pseudolabel.engine.finish import Summary, finish_run, finished_summary, step_summary
from pseudolabel.engine.plan import Plan, load_plan, save_plan
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import Scan
from pseudolabel.engine.session import RunSession
from pseudolabel.engine.target import identity, missing_shards, resolve_target
from pseudolabel.storage.layout import LEDGER, LOCK, PLAN, RECORDS, SOURCE_COLUMNS, SUCCESS
from pseudolabel.storage.stores import store
from pseudolabel.storage.urls import is_url, open_location
from pseudolabel.tasks.base.task import Task, check_is_task
from pseudolabel.writers import source_columns
from pseudolabel.writers.dataset import Dataset
from pseudolabel.writers.manifest import (
    check_format,
    check_versions,
    existing_manifest,
    read_manifest,
    read_or_refuse,
    versions,
)
from pseudolabel.writers.output_folder import resolve_output


def plan_parts(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """List the source and fit, once. Then any machine can make parts, and `finish` completes the dataset."""
    check_is_task(task)
    chosen = RunOptions.of_call("plan_parts", options)
    progress, started = progress or Progress(quiet=True), time.monotonic()
    if chosen.part:
        raise UserError("pseudolabel plan takes no --part; give --part to the command of the task")
    target = resolve_target(task, source, chosen)
    if target.is_complete():
        return finished_summary(target.out, existing_manifest(target.out, target.manifest))
    plan = target.scan.plan
    with store(target.out).lock(progress.note) as check_lock:
        target.begin(progress)
        workers = len(plan) if target.task.observed_megabytes else 0  # another fit is quick, and needs none
        with RunSession(target.task, chosen, target.scan, target.out, progress, workers, check_lock) as session:
            session.learn()
        target.scan.source_columns.save(target.out / RECORDS / SOURCE_COLUMNS)
        save_plan(target.out / RECORDS / PLAN, plan, places=True)
    then = f"planned; run the task with --part 1/N to N/N, then pseudolabel finish {target.out}"
    return step_summary(target.task, target.out, then, plan, range(len(plan)), started)


def make_part(task: Task, sources: Sequence[Path], options: RunOptions, progress: Progress, started: float) -> Summary:
    """Make `--part I/N`: every N-th shard of the saved plan, from the I-th on. Other processes make the other parts."""
    number, count = options.share
    out = resolve_output(task.name, sources, options.out)
    task, begun_as = task.resolve(sources), read_manifest(out)
    if not begun_as:
        raise UserError(f"{out} has no plan, which --part needs; run pseudolabel plan {task.name} ... first")
    columns = source_columns.columns_of_manifest(begun_as)
    manifest = {**identity(task, begun_as["source"], columns, options), "versions": versions(task)}
    before = existing_manifest(out, manifest)
    if (out / SUCCESS).exists():
        return finished_summary(out, before)
    with store(out).lock(progress.note, options.mark) as check_lock:
        check_versions(out, before, manifest)
        plan = load_frozen_plan(out, PLAN)
        mine = range(number - 1, len(plan), count)
        if lacking := missing_shards(out, plan, mine):
            check_mounted(plan, lacking)
            carried = read_or_refuse(out / RECORDS / SOURCE_COLUMNS, source_columns.load_columns)
            found = Scan(plan, begun_as["source"]["files"], begun_as["ignored_suffixes"], carried)
            with RunSession(task, options, found, out, progress, len(lacking), check_lock) as session:
                session.make(lacking)
    return step_summary(task, out, f"part {number} of {count} made", plan, mine, started)


def missing_parts(out: Path, lacking: Sequence[int]) -> str:
    """Return the parts to run, such as "2/3, 3/3". The files of their locks tell how many parts there are."""
    marks = [name.rpartition("-of-")[2] for name in store(out).sizes(RECORDS) if name.startswith(f"{Path(LOCK).name}-")]
    count = max((int(mark) for mark in marks if mark.isdecimal()), default=0)
    named = (
        [f"{part}/{count}" for part in sorted({index % count + 1 for index in lacking})] if count else ["1/N to N/N"]
    )
    return some_of(named, 8)


def load_frozen_plan(out: Path, name: str) -> Plan:
    """Return a saved plan. Raise `UserError` if it is missing or has another source than the manifest."""
    path = out / RECORDS / name
    if not path.exists():
        raise UserError(f"{out} has no plan; run pseudolabel plan ... first, or run the command without --part")
    plan = read_or_refuse(path, load_plan)
    if plan.digest != read_manifest(out)["source"]["keys and sizes"]:
        raise UserError(f"{out} was begun again with another source after the plan; run pseudolabel plan again", code=4)
    return plan


def check_mounted(plan: Plan, shards: Sequence[int]) -> None:
    """Raise `UserError` if no file of the shards exists, for example on a node that has not mounted the source."""
    places = (extent.where.partition("\0")[0] for index in shards for extent in plan[index].extents)
    if not any(is_url(path) or not path or os.path.exists(path) for path in places):
        first = plan[shards[0]].extents[0].where.partition("\0")[0]
        raise UserError(f"no file of the source exists here, e.g. {first}; is the source mounted?", code=74)


def finish(out: Path | str, *, max_skipped: str = RunOptions.max_skipped, progress: Progress | None = None) -> Summary:
    """Complete a planned dataset. Raise `UserError` if shards are missing."""
    out, started, progress = open_location(out), time.monotonic(), progress or Progress(quiet=True)
    manifest = read_manifest(out)
    if not manifest:
        raise UserError(f"{out} was not planned; give the --out folder of pseudolabel plan")
    dataset = Dataset(out, manifest)
    if (out / SUCCESS).exists():
        return finished_summary(out, manifest)
    check_format(out, manifest)
    with store(out).lock(progress.note) as check_lock:
        plan = load_frozen_plan(out, PLAN if (out / RECORDS / PLAN).exists() else LEDGER)
        if lacking := missing_shards(out, plan):
            again = f"run the command of {dataset.manifest['task']} with --part {missing_parts(out, lacking)}"
            raise UserError(
                f"{len(lacking)} of {len(plan)} shards are not made in {out}; {again}, then finish again", code=3
            )
        about = manifest["source"]["files"], manifest["ignored_suffixes"], dataset.source_columns
        found = Scan(plan, *about, manifest.get("warnings", ()))
        options = replace(dataset.options, max_skipped=max_skipped)
        return finish_run(dataset.task, options, found, out, manifest, started, progress, check_lock)
