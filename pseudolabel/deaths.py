"""Who is known to kill a worker, and who is suspected: kept on disk, for where the kernel takes the whole container."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pseudolabel import workers
from pseudolabel.jobs import Job
from pseudolabel.plan import Shard
from pseudolabel.sample import Extent
from pseudolabel.shards import write_whole


class Deaths:
    """Exceptions: keys with the reason they are skipped for. Open: what each shard was on when a run died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.exceptions: dict[str, str] = known.get("exceptions", {})  # key -> reason
        self._open: dict[str, list[list[str]]] = known.get("open", {})  # shard -> [kind, extent, key] per dead run
        self._counts: Counter[tuple[str, int]] = Counter()

    def count(self, job: Job) -> int:
        """How often this job has killed its worker in this run, this time included."""
        self._counts[job.kind, job.shard.index] += 1
        return self._counts[job.kind, job.shard.index]

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

    def suspect(self, shard: Shard) -> Extent | None:
        """The extent a shard was last on, if it was open in two runs that died."""
        seen = self._open.get(str(shard.index), [])
        if len(seen) < 2 or seen[-1][2] in self.exceptions:
            return None
        return next((extent for extent in shard.extents if extent.key == seen[-1][1]), None)

    def acquit(self, shard: Shard) -> None:
        """The suspect lived through it alone."""
        if self._open.pop(str(shard.index), None):
            self._write()

    def _write(self) -> None:
        write_whole(self._path, json.dumps({"exceptions": self.exceptions, "open": self._open}, indent=1))
