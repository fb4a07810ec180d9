"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pseudolabel.contracts import RunOptions
from pseudolabel.engine.finish import Summary, finished, sign
from pseudolabel.engine.parts import make_part
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import resolve
from pseudolabel.engine.session import Attempt
from pseudolabel.engine.target import missing, wanted
from pseudolabel.storage.stores import store
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers.manifest import standing


def run(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """Make the dataset, or finish it, or find it finished."""
    chosen, progress, started = RunOptions(**options), progress or Progress(quiet=True), time.monotonic()
    if chosen.part:
        return make_part(task, resolve(source), chosen, progress, started)
    goal = wanted(task, source, chosen)
    if goal.there():  # no lock: nothing is made
        return finished(goal.out, standing(goal.out, goal.manifest))
    with store(goal.out).locked(progress.note) as ours:
        goal.begin(progress)
        if lacking := missing(goal.out, goal.found.plan):
            with Attempt(goal.task, chosen, goal.found, goal.out, progress, len(lacking), ours) as attempt:
                attempt.learn()
                attempt.make(lacking)
        return sign(goal.task, chosen, goal.found, goal.out, goal.manifest, started, progress, ours)
