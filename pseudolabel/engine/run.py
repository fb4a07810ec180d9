"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

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
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers.manifest import existing_manifest


def run(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """Make the dataset, or finish it, or find it finished."""
    chosen, progress, started = RunOptions(**options), progress or Progress(quiet=True), time.monotonic()
    if chosen.part:
        return make_part(task, resolve_sources(source), chosen, progress, started)
    goal = resolve_target(task, source, chosen)
    if goal.is_complete():  # no lock: nothing is made
        return finished_summary(goal.out, existing_manifest(goal.out, goal.manifest))
    with store(goal.out).locked(progress.note) as ours:
        goal.begin(progress)
        if lacking := missing_shards(goal.out, goal.found.plan):
            with RunSession(goal.task, chosen, goal.found, goal.out, progress, len(lacking), ours) as attempt:
                attempt.learn()
                attempt.make(lacking)
        return finish_run(goal.task, chosen, goal.found, goal.out, goal.manifest, started, progress, ours)
