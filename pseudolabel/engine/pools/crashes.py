"""Who is known to kill a worker, and who is suspected: kept on disk, for where the kernel takes the whole container."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.contracts import Extent, UserError
from pseudolabel.engine.jobs import Job, KnownFailures
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.pools import events
from pseudolabel.storage.files import write_atomic
from pseudolabel.writers.manifest import read_or_refuse

MAX_CRASHES = 4  # a job that killed so many workers, though no sample of it kills alone, ends the run
CRASHED_RUNS = 3  # so many runs in a row must have died while they tried one sample alone, before it is to blame


class CrashLog:
    """The exceptions, and what each shard was on when a run died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = read_or_refuse(path, lambda path: json.loads(path.read_text("utf-8"))) if path.exists() else {}
        self.exceptions = KnownFailures(known.get("reading", {}), known.get("labelling", {}))
        self._open: dict[str, list[tuple[bool, str, str]]] = known.get("open", {})  # job -> (trial, extent, key) by run

    @classmethod
    def of(cls, folder: Path, mark: str) -> CrashLog:
        """Those of one part, which knows all exceptions; without a mark those of all parts, whose files go."""
        own = folder / f"deaths{mark}.json"
        crash_log, others = cls(own), [path for path in sorted(folder.glob("deaths*.json")) if path.name != own.name]
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
        """From now on this sample is skipped, with that reason; the whole extent if it died before it gave one."""
        reading, labelling = self.exceptions
        if key:
            labelling = {**labelling, key: reason}
        else:
            reading = {**reading, extent: reason}
        self.exceptions = KnownFailures(reading, labelling)
        self._write()

    def collect_status(self, folder: Path) -> None:
        """Note what the workers of a dead run were on."""
        for file in sorted(folder.glob("worker-*.json")):
            status = events.read_status(file)
            if status is not None and status.extent:
                seen = self._open.setdefault(f"{status.kind} {status.shard}", [])
                seen.append((status.trial, status.extent, status.key))
                last = seen[-CRASHED_RUNS:]
                if len(last) == CRASHED_RUNS and all(trial and [*rest] == [*last[-1][1:]] for trial, *rest in last):
                    self.record(
                        status.extent, status.key, f"ended {CRASHED_RUNS} runs in a row while it was tried alone"
                    )
        self._write()

    def suspected_extents(self, job: Job) -> list[Extent]:
        """The extent the job was last on, if it was open in two runs that died."""
        seen = self._open.get(f"{job.kind} {job.shard.index}", [])
        if len(seen) < 2 or seen[-1][1] in self.exceptions.reading or seen[-1][2] in self.exceptions.labelling:
            return []
        return [extent for extent in job.shard.extents if extent.key == seen[-1][1]]

    def is_suspected(self, kind: str, index: int) -> bool:
        """Whether the job will begin by a try: such ones come last, so that nothing else dies with them."""
        return len(self._open.get(f"{kind} {index}", [])) >= 2

    def clear(self, job: Job) -> None:
        """What the job was on when runs died has been searched."""
        if self._open.pop(f"{job.kind} {job.shard.index}", None):
            self._write()

    def _write(self) -> None:
        known = {**self.exceptions._asdict(), "open": self._open}
        write_atomic(self._path, [json.dumps(known, indent=1)])


class CrashBisector:
    """Jobs whose worker died, held back until it is known which of their samples kills alone.

    First the sample the worker was on is tried alone, twice, for the worker may have been killed from outside. If it
    lives and the job dies again, the killer was taken in before that: all extents up to it are tried together, and
    halved as long as they kill.
    """

    def __init__(self, crash_log: CrashLog) -> None:
        self._deaths = crash_log
        self._held: dict[int, Job] = {}  # by shard
        self._tries: Counter[int] = Counter()  # of the job that is held, how many are not over
        self._killed: Counter[int] = Counter()  # how often a job did, since a sample of it was last found out
        self._alone: Counter[str] = Counter()  # how often an extent killed alone
        self._unborn: Counter[int] = Counter()  # how often a job's worker died before it began

    def hold(self, job: Job, suspects: Sequence[Extent]) -> list[Job]:
        """The job's tries, which go before it; or the job itself, if nobody is suspected."""
        job = job._replace(exceptions=self._deaths.exceptions)
        if not suspects:
            return [job]
        self._held[job.shard.index] = job
        self._tries[job.shard.index] = 1
        return [job._replace(shard=Shard(job.shard.index, suspects), trial=True)]

    def died(self, death: events.Died) -> list[Job]:
        """What to do next, now that a job's worker died."""
        job, status = death.job, death.status
        if status is None and job.kind != "fit":
            return self._again(death)
        if job.trial and status:
            return self._tried(job, status, death)
        extents, index = job.shard.extents, job.shard.index
        self._killed[index] += 1
        if self._killed[index] == MAX_CRASHES:
            on = f" on {status.key or status.extent}" if status else ""
            raise UserError(
                f"{job.kind} of shard {index} {death.reason}{on} {MAX_CRASHES} times, "
                "and no sample of it does so alone\n"
                "give it more memory, or fewer --workers, and run the same command again to finish",
                code=1,
            )
        at = next((i for i, extent in enumerate(extents) if status and extent.key == status.extent), -1)
        return self.hold(job, extents[at : at + 1] if self._killed[index] == 1 else extents[: at + 1])

    def note_progress(self) -> None:
        """A worker has done something."""
        self._unborn.clear()

    def _again(self, death: events.Died) -> list[Job]:
        """A worker that died before it began says nothing of the job."""
        index = death.job.shard.index
        self._unborn[index] += 1  # of each job: a node that is lost takes the workers of many with it
        if self._unborn[index] == MAX_CRASHES:
            raise UserError(
                f"worker processes die before they begin (the last {death.reason}); is there memory for them? "
                'In a script, call run() below `if __name__ == "__main__":`',
                code=1,
            )
        return [death.job]

    def _tried(self, trial: Job, status: events.WorkerStatus, death: events.Died) -> list[Job]:
        extents, index = trial.shard.extents, trial.shard.index
        if len(extents) > 1:
            half = len(extents) // 2
            self._tries[index] += 1
            return [trial._replace(shard=Shard(index, part)) for part in (extents[:half], extents[half:])]
        self._alone[extents[0].key] += 1
        if self._alone[extents[0].key] < 2 and not death.stuck:
            return [trial]
        self._alone[extents[0].key] = self._killed[index] = 0
        self._deaths.record(status.extent, status.key, death.reason)
        return self.over(trial)

    def over(self, trial: Job) -> list[Job]:
        """A try has ended: the job it was made for is next, if it was the last."""
        index = trial.shard.index
        self._tries[index] -= 1
        if self._tries[index]:
            return []
        self._deaths.clear(trial)
        return [self._held.pop(index)._replace(exceptions=self._deaths.exceptions)]
