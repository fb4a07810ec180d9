"""Who is known to kill a worker, and who is suspected: kept on disk, for where the kernel takes the whole container."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pseudolabel import workers
from pseudolabel.jobs import Job
from pseudolabel.plan import Shard
from pseudolabel.sample import Extent, Refused
from pseudolabel.shards import write_whole

MOST = 4  # a job that killed so many workers, though no sample of it kills alone, ends the run


class Deaths:
    """Exceptions: keys with the reason they are skipped for. Open: what each shard was on when a run died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.exceptions: dict[str, str] = known.get("exceptions", {})  # key -> reason
        self._open: dict[str, list[list[str]]] = known.get("open", {})  # shard -> [kind, extent, key] per dead run

    def convict(self, key: str, reason: str) -> None:
        """From now on this sample is skipped, with that reason."""
        self.exceptions = {**self.exceptions, key: reason}
        self._write()

    def harvest(self, folder: Path) -> None:
        """Note what the workers of a dead run were on."""
        for file in sorted(folder.glob("worker-*.json")):
            status = workers.read_status(file)
            if status is not None and status.extent and status.kind in ("make", "try"):
                self._open.setdefault(str(status.shard), []).append([status.kind, status.extent, status.key])
        for seen in self._open.values():
            alone = [key for kind, _, key in seen if kind == "try"]
            for key in {key for key in alone if alone.count(key) >= 2}:
                self.exceptions[key] = "ended two runs when it was alone"
        self._write()

    def suspect(self, job: Job) -> list[Extent]:
        """The extent a shard was last on, if it was open in two runs that died."""
        seen = self._open.get(str(job.shard.index), []) if job.kind == "make" else []
        if len(seen) < 2 or seen[-1][2] in self.exceptions:
            return []
        return [extent for extent in job.shard.extents if extent.key == seen[-1][1]]

    def acquit(self, index: int) -> None:
        """What the shard was on when runs died has been searched."""
        if self._open.pop(str(index), None):
            self._write()

    def _write(self) -> None:
        write_whole(self._path, json.dumps({"exceptions": self.exceptions, "open": self._open}, indent=1))


class Search:
    """Jobs whose worker died, held back until it is known which of their samples kills alone.

    First the sample the worker was on is tried alone. If it lives and the job dies again, the killer was taken in
    before that: all extents up to it are tried together, and halved as long as they kill.
    """

    def __init__(self, deaths: Deaths) -> None:
        self._deaths = deaths
        self._held: dict[int, Job] = {}  # by shard, with how many of its tries are not over
        self._tries: Counter[int] = Counter()
        self._killed: Counter[int] = Counter()  # how often a job did, since a sample of it was last found out

    def hold(self, job: Job, suspects: Sequence[Extent]) -> list[Job]:
        """The job's tries, which go before it; or the job itself, if nobody is suspected."""
        job = job._replace(exceptions=self._deaths.exceptions)
        if not suspects:
            return [job]
        self._held[job.shard.index] = job
        self._tries[job.shard.index] += 1
        return [Job("try", Shard(job.shard.index, suspects), self._deaths.exceptions)]

    def died(self, death: workers.Died) -> list[Job]:
        """What to do next, now that a job's worker died."""
        job, status = death.job, death.status
        extents, index = job.shard.extents, job.shard.index
        if job.kind == "try" and len(extents) == 1:
            self._deaths.convict(status.key if status else extents[0].key, death.reason)
            self._killed[index] = 0
            return self.over(job)
        if job.kind == "try":
            half = len(extents) // 2
            self._tries[index] += 1
            return [
                Job("try", Shard(index, part), self._deaths.exceptions) for part in (extents[:half], extents[half:])
            ]
        self._killed[index] += 1
        if self._killed[index] == MOST:
            on = f"on {status.key} " if status else ""
            raise Refused(
                f"shard {index} {death.reason} {on}{MOST} times, and none of its samples does so alone\n"
                "give it more memory, or fewer --workers, and run the same command again to finish",
                code=1,
            )
        at = next((i for i, extent in enumerate(extents) if status and extent.key == status.extent), -1)
        return self.hold(job, extents[at : at + 1] if self._killed[index] == 1 else extents[: at + 1])

    def over(self, trial: Job) -> list[Job]:
        """A try has ended: the job it was made for is next, if it was the last."""
        index = trial.shard.index
        self._tries[index] -= 1
        if self._tries[index]:
            return []
        self._deaths.acquit(index)
        return [self._held.pop(index)._replace(exceptions=self._deaths.exceptions)]
