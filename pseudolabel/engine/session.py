"""Session: one attempt to run a plan. It fits, then makes the shards, and survives crashes of workers."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from pseudolabel.contracts import MEGABYTE, Engine, RunOptions, UserError, usable_cores
from pseudolabel.engine.jobs import Job, RunSpec
from pseudolabel.engine.make_shard import fit
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.pools import events, local
from pseudolabel.engine.pools import ray as ray_pool
from pseudolabel.engine.pools.crashes import CrashBisector, CrashLog
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import Scan, fit_sample
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import ARTEFACTS, TRACE, WORK
from pseudolabel.storage.lock import CheckLock
from pseudolabel.storage.stores import store
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers.shards import Records


class RunSession:
    """One attempt to run a plan, with a pool of workers and a folder in `_work/` that is deleted at the end."""

    def __init__(
        self, task: Task, options: RunOptions, found: Scan, out: Path, progress: Progress, most: int, ours: CheckLock
    ) -> None:
        """`most`: the largest useful number of workers. `ours`: raises `UserError` if the lock was lost."""
        self.task, self.options, self.plan, self.progress, self.ours = task, options, found.plan, progress, ours
        self.records, self.store = Records(out), store(out)
        self.crash_log = CrashLog.of(self.records.folder, options.mark)
        self.room = self.store.work_dir(WORK + options.mark)
        for left in sorted(self.room.parent.glob(f"{WORK}{options.mark or '*'}/*")):  # folders of killed runs
            self.crash_log.collect_status(left)
            shutil.rmtree(left, ignore_errors=True)  # a worker on another node may still write there
        self.store.empty(self.room.name)
        self.folder = self.room / f"{os.getpid()}-{time.time_ns()}"
        self.folder.mkdir(parents=True)
        self.spec = RunSpec(
            task, options.seed, options.copies, options.validation, out, self.folder, found.source_columns
        )
        count = min(options.workers or usable_cores(), most)
        if options.engine is Engine.RAY:
            self.pool: local.LocalPool | ray_pool.RayPool = ray_pool.RayPool(
                self.spec, count, options, found.plan[0].extents[0]
            )
        else:
            self.pool = local.LocalPool(self.spec, count, options.sample_seconds)

    def __enter__(self) -> RunSession:
        self.pool.__enter__()
        return self

    def __exit__(self, *ended: object) -> None:
        try:
            self.pool.__exit__(*ended)
        finally:
            self.progress.stop()
            if isinstance(ended[1], OSError):  # send no more requests to a store that fails
                shutil.rmtree(self.room, ignore_errors=True)
            else:
                self.store.empty(self.room.name)

    def make(self, missing: Sequence[int]) -> None:
        """Make the shards with these indices."""
        number, count = self.options.share
        mine = range(number - 1, len(self.plan), count)
        self.progress.start(sum(self.plan.weights[i] for i in mine), self.records.done(mine, self.plan.digests))
        # the last shards are usually the largest: make them first, so that workers end together; suspected ones last
        order = sorted(missing, key=lambda index: (self.crash_log.is_suspected(index), -index))
        for _ in self.drive(Job("make", self.plan[index]) for index in order):
            pass

    def learn(self) -> None:
        """Fit once and store the artefacts, which a rerun uses."""
        artefacts = self.records.folder / ARTEFACTS
        if artefacts.exists():
            return
        if not self.task.observed_megabytes:  # this fit is quick: run it while the workers start
            write_atomic(artefacts, [json.dumps(fit(self.spec), indent=1)])
            return
        self.progress.note(f"learning from at most {self.task.observed_megabytes} MB of the source")
        self.observe()
        for done in self.drive(iter([Job("fit", Shard(0, []))])):
            write_atomic(artefacts, [json.dumps(done.result, indent=1)])

    def observe(self) -> None:
        """Let the workers save arrays until `fit` has enough. `fit` ignores the surplus."""
        seen = 0

        def parts() -> Iterator[Job]:
            for part in fit_sample(self.plan, self.options):
                if seen >= self.task.observed_megabytes * MEGABYTE:
                    return
                yield Job("observe", part)

        for done in self.drive(parts()):
            seen += done.result

    def drive(self, jobs: Iterator[Job]) -> Iterator[events.Done]:
        """Run all jobs, in spite of crashes, and yield each `Done` event except those of trials."""
        search, first = CrashBisector(self.crash_log), deque[Job]()
        warned = (trial for job in jobs for trial in search.hold(job, self.crash_log.suspected_extents(job)))
        for event in self.pool.events(first, warned):
            self.ours()
            match event:
                case events.Progressed():
                    self.progress.add(event)
                    search.note_progress()
                case events.Failed():
                    raise self.failure(event)
                case events.Died():
                    self.progress.lost(event)
                    first.extendleft(reversed(search.died(event)))
                case events.Done(job=Job(trial=True)):
                    first.extendleft(search.over(event.job))
                case events.Done():
                    search.note_progress()
                    self.progress.done(event)
                    yield event

    def failure(self, event: events.Failed) -> BaseException:
        """Return the error that ends the run. Save the traceback of a bug in `_records/` for the report."""
        if isinstance(event.error, OSError | UserError):
            return event.error
        trace = self.records.folder / TRACE
        write_atomic(trace, [event.trace])
        return UserError(
            f"internal error in shard {event.job.shard.index}: {event.error}\nplease report it with {trace}", code=1
        )
