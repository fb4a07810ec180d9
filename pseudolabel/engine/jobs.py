"""Jobs: the specification of a run, the jobs that go to workers, and the heartbeat that workers report to."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pseudolabel.contracts import Chance, Column, arrow_schema, chance_for
from pseudolabel.engine.plan import Shard
from pseudolabel.storage.stores import Store, store
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers.output_folder import local_artefacts
from pseudolabel.writers.source_columns import NO_COLUMNS, SourceColumns

if TYPE_CHECKING:
    import pyarrow as pa

HOST = platform.node()  # in names with a process id, because several nodes share a folder


@dataclass(frozen=True)
class RunSpec:
    """The specification that all jobs of a run share. With the extents of a shard, it determines the shard's bytes."""

    task: Task
    seed: int
    copies: int
    validation: float
    out: Path
    work: Path  # local folder of this run, for files that are not committed yet
    source_columns: SourceColumns = NO_COLUMNS

    @property
    def store(self) -> Store:
        """Return the store of the output folder."""
        return store(self.out)

    @property
    def observed_folder(self) -> str:
        """Return the folder in the store for the arrays that `fit` sees."""
        return f"{self.work.parent.name}/{self.work.name}"

    def staging(self) -> Path:
        """Return the folder of this process in `work`. Create it if it is missing."""
        folder = self.work / f"staging-{HOST}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def artefacts(self) -> Path:
        """Return the local folder with the artefacts of `fit`."""
        return local_artefacts(self.out, self.work)

    def chance(self, split: str) -> Chance:
        """Return (key, copy) -> random number generator. Splits have different ones, also for a key that they share."""
        return chance_for(self.seed, self.task.name if split == "train" else f"{self.task.name} {split}")

    def schema(self, shard: int) -> pa.Schema:
        """Return the schema of a shard's files. Its metadata: task, seed, shard and invalidating augmentations."""
        facts = {
            "task": self.task.name,
            "seed": self.seed,
            "shard": shard,
            "unsafe": list(self.task.description.invalidating_augmentations),
        }
        return arrow_schema(self.columns, facts)

    @property
    def columns(self) -> list[Column]:
        """Return the columns of a row: those of the task and the source columns."""
        return self.source_columns.schema(self.task)


class KnownFailures(NamedTuple):
    """The extents and samples that crashed or blocked a worker, each with the reason for its skip."""

    reading: Mapping[str, str] = {}  # extent key -> reason not to read it
    labelling: Mapping[str, str] = {}  # sample key -> reason not to label it


class Job(NamedTuple):
    """One unit of work. A trial does the same work but stores nothing; it only shows whether the worker crashes."""

    kind: Literal["observe", "fit", "make", "check"]
    shard: Shard
    exceptions: KnownFailures = KnownFailures()
    trial: bool = False


class Heartbeat(Protocol):
    """A receiver of a job's progress reports."""

    def on(self, extent: str, key: str) -> None:
        """Report that the job now labels this sample or, if `key` is empty, reads this extent."""

    def count(self, samples: int, skipped: int, weight: int) -> None:
        """Add to the counts of samples seen, of samples skipped or filtered, and of bytes read."""


class NoHeartbeat:
    """A heartbeat that ignores all reports."""

    def on(self, extent: str, key: str) -> None: ...
    def count(self, samples: int, skipped: int, weight: int) -> None: ...
