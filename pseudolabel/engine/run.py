"""Run: plan the shards, fit, make the missing shards, and finish the dataset."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pseudolabel.contracts import RunOptions
from pseudolabel.engine.finish import Summary, finish_run, finished_summary
from pseudolabel.engine.parts import make_part
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import resolve_sources
from pseudolabel.engine.session import RunSession
from pseudolabel.engine.target import missing_shards, resolve_target
from pseudolabel.storage.stores import store
from pseudolabel.tasks.base.task import Task, check_is_task
from pseudolabel.writers.manifest import existing_manifest


def run(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """Make the dataset, or its missing shards. Do nothing if it is finished."""
    check_is_task(task)
    chosen, progress, started = RunOptions.of_call("run", options), progress or Progress(quiet=True), time.monotonic()
    if chosen.part:
        return make_part(task, resolve_sources(source), chosen, progress, started)
    target = resolve_target(task, source, chosen)
    if target.is_complete():  # no lock, because nothing is written
        return finished_summary(target.out, existing_manifest(target.out, target.manifest))
    with store(target.out).lock(progress.note) as ours:
        target.begin(progress)
        if lacking := missing_shards(target.out, target.scan.plan):
            with RunSession(target.task, chosen, target.scan, target.out, progress, len(lacking), ours) as session:
                session.learn()
                session.make(lacking)
        return finish_run(target.task, chosen, target.scan, target.out, target.manifest, started, progress, ours)
