"""Crashes: find the samples that crash a worker. The log is on disk: the kernel may kill all processes at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.contracts import Extent, UserError
from pseudolabel.engine.jobs import Job, KnownFailures
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.pools import events
from pseudolabel.engine.pools.status import STATUS_FILES, WorkerStatus, read_status
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import CRASHES
from pseudolabel.writers.manifest import read_or_refuse

MAX_CRASHES = 4  # crashes of a job after which the run ends, if no single sample is the cause
CRASHED_RUNS = 3  # runs in a row that must die in a trial of one sample before the sample is blamed


class CrashLog:
    """The known failures, and the extent that each job was on when a run died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = read_or_refuse(path, lambda path: json.loads(path.read_text("utf-8"))) if path.exists() else {}
        self.exceptions = KnownFailures(known.get("reading", {}), known.get("labelling", {}))
        self._open: dict[str, list[tuple[bool, str, str]]] = known.get("open", {})  # job -> (trial, extent, key) by run

    @classmethod
    def of(cls, folder: Path, mark: str) -> CrashLog:
        """Load the log of a part, with the known failures of all parts. Without `mark`, merge the logs of all parts."""
        own = folder / CRASHES.format(mark)
        others = [path for path in sorted(folder.glob(CRASHES.format("*"))) if path.name != own.name]
        crash_log = cls(own)
        for noted in map(cls, others):
            both = zip(crash_log.exceptions, noted.exceptions, strict=True)
            crash_log.exceptions = KnownFailures(*({**one, **other} for one, other in both))
            crash_log._open |= {} if mark else noted._open
        if others and not mark:
            crash_log._write()
            for path in others:
                path.unlink()
        return crash_log

    def record(self, extent: str, key: str, reason: str) -> None:
        """Skip this sample from now on, with this reason. Skip the whole extent if `key` is empty."""
        reading, labelling = self.exceptions
        if key:
            labelling = {**labelling, key: reason}
        else:
            reading = {**reading, extent: reason}
        self.exceptions = KnownFailures(reading, labelling)
        self._write()

    def collect_status(self, folder: Path) -> None:
        """Record the extent and sample of each worker of a dead run, from the status files in `folder`."""
        for file in sorted(folder.glob(STATUS_FILES)):
            status = read_status(file)
            if status is not None and status.extent:
                seen = self._open.setdefault(f"{status.kind} {status.shard}", [])
                seen.append((status.trial, status.extent, status.key))
                last = seen[-CRASHED_RUNS:]
                if len(last) == CRASHED_RUNS and all(trial and [*rest] == [*last[-1][1:]] for trial, *rest in last):
                    self.record(status.extent, status.key, f"crashed {CRASHED_RUNS} runs in a row when tried alone")
        self._write()

    def suspected_extents(self, job: Job) -> list[Extent]:
        """Return the extent that the job was last on, if two runs died during the job."""
        seen = self._open.get(f"{job.kind} {job.shard.index}", [])
        if len(seen) < 2 or seen[-1][1] in self.exceptions.reading or seen[-1][2] in self.exceptions.labelling:
            return []
        return [extent for extent in job.shard.extents if extent.key == seen[-1][1]]

    def is_suspected(self, index: int) -> bool:
        """Return whether the making of a shard begins with a trial. Such shards come last: no other dies with them."""
        return len(self._open.get(f"make {index}", [])) >= 2

    def clear(self, job: Job) -> None:
        """Forget where runs died during this job, because the search is over."""
        if self._open.pop(f"{job.kind} {job.shard.index}", None):
            self._write()

    def _write(self) -> None:
        known = {**self.exceptions._asdict(), "open": self._open}
        write_atomic(self._path, [json.dumps(known, indent=1)])


class CrashBisector:
    """A search for the extent that crashes a worker. The job of the worker is held back until the search ends.

    The first trial is the extent that the worker was on. An extent is blamed after two crashes: a worker may have
    been killed from outside. If the trial passes and the job crashes again, an earlier extent is the cause: the next
    trial is all extents up to this one, and a trial that crashes is halved.
    """

    def __init__(self, crash_log: CrashLog) -> None:
        self._log = crash_log
        self._held: dict[int, Job] = {}  # shard -> its job
        self._tries: Counter[int] = Counter()  # shard -> trials that are not over
        self._killed: Counter[int] = Counter()  # shard -> crashes of its job since the last sample was blamed
        self._alone: Counter[str] = Counter()  # extent -> crashes in a trial alone
        self._unborn: Counter[int] = Counter()  # shard -> workers that died before the job began

    def hold(self, job: Job, suspects: Sequence[Extent]) -> list[Job]:
        """Hold the job back and return a trial of its suspects, or return the job if there are none."""
        job = job._replace(exceptions=self._log.exceptions)
        if not suspects:
            return [job]
        self._held[job.shard.index] = job
        self._tries[job.shard.index] = 1
        return [job._replace(shard=Shard(job.shard.index, suspects), trial=True)]

    def died(self, death: events.Died) -> list[Job]:
        """Return the jobs to run next after a worker died. Raise `UserError` after too many crashes."""
        job, status = death.job, death.status
        if status is None and job.kind != "fit":
            return self._again(death)
        if job.trial and status:
            return self._after_trial(job, status, death)
        extents, index = job.shard.extents, job.shard.index
        self._killed[index] += 1
        if self._killed[index] == MAX_CRASHES:
            on = f" on {status.key or status.extent}" if status else ""
            raise UserError(
                f"{job.kind} of shard {index} {death.reason}{on} {MAX_CRASHES} times, "
                "and no single sample is the cause\n"
                "use more memory or fewer --workers, and run the same command again to finish",
                code=1,
            )
        at = next((i for i, extent in enumerate(extents) if status and extent.key == status.extent), -1)
        return self.hold(job, extents[at : at + 1] if self._killed[index] == 1 else extents[: at + 1])

    def note_progress(self) -> None:
        """Reset the counts of workers that died before they began a job."""
        self._unborn.clear()

    def _again(self, death: events.Died) -> list[Job]:
        """Run the job again: the worker died before the job began, so the job is not the cause."""
        index = death.job.shard.index
        self._unborn[index] += 1  # per job, because a lost node ends the workers of many jobs
        if self._unborn[index] == MAX_CRASHES:
            raise UserError(
                f"worker processes die before they begin (last job: {death.reason}); is there enough memory? "
                'A script that defines its own task must call run() below `if __name__ == "__main__":`',
                code=1,
            )
        return [death.job]

    def _after_trial(self, trial: Job, status: WorkerStatus, death: events.Died) -> list[Job]:
        extents, index = trial.shard.extents, trial.shard.index
        if len(extents) > 1:
            half = len(extents) // 2
            self._tries[index] += 1
            return [trial._replace(shard=Shard(index, part)) for part in (extents[:half], extents[half:])]
        self._alone[extents[0].key] += 1
        if self._alone[extents[0].key] < 2 and not death.stuck:
            return [trial]
        self._alone[extents[0].key] = self._killed[index] = 0
        self._log.record(status.extent, status.key, death.reason)
        return self.over(trial)

    def over(self, trial: Job) -> list[Job]:
        """End a trial. After the last trial of a job, return the job that was held back."""
        index = trial.shard.index
        self._tries[index] -= 1
        if self._tries[index]:
            return []
        self._log.clear(trial)
        return [self._held.pop(index)._replace(exceptions=self._log.exceptions)]
