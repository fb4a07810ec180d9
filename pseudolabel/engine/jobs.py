"""The spec of a run's shards, and the jobs that are done by it: what travels to a worker, and what it tells."""

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

HOST = platform.node()  # in names that hold a process id: those of several nodes meet in one folder


@dataclass(frozen=True)
class RunSpec:
    """What all jobs of a run share, and all that the bytes of a shard depend on beside its extents."""

    task: Task
    seed: int
    copies: int
    validation: float
    out: Path
    work: Path  # this run's own local folder, from where files are committed to `out`; named so in there, too
    source_columns: SourceColumns = NO_COLUMNS

    @property
    def store(self) -> Store:
        """Where all that is made goes."""
        return store(self.out)

    @property
    def observed_folder(self) -> str:
        """The folder in the store for what `fit` is to see."""
        return f"{self.work.parent.name}/{self.work.name}"

    def staging(self) -> Path:
        """This process's own folder in `work`."""
        folder = self.work / f"staging-{HOST}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def artefacts(self) -> Path:
        """The local folder that holds what `fit` saved."""
        return local_artefacts(self.out, self.work)

    def chance(self, split: str) -> Chance:
        """The chance of a split: the same block of text may lie in both, with its key."""
        return chance_for(self.seed, self.task.name if split == "train" else f"{self.task.name} {split}")

    def schema(self, shard: int) -> pa.Schema:
        """Of a shard's files, with what they say of themselves."""
        facts = {
            "task": self.task.name,
            "seed": self.seed,
            "shard": shard,
            "unsafe": list(self.task.description.invalidating_augmentations),
        }
        return arrow_schema(self.columns, facts)

    @property
    def columns(self) -> list[Column]:
        """Those of a row: the task's, and what is kept of the source."""
        return self.source_columns.schema(self.task)


class KnownFailures(NamedTuple):
    """What is known to kill or to stick, with the reason it is skipped for."""

    reading: Mapping[str, str] = {}  # extents that are not to be read
    labelling: Mapping[str, str] = {}  # samples that are not to be labelled


class Job(NamedTuple):
    """One unit of work. A trial does the same and keeps nothing: does it kill?"""

    kind: Literal["observe", "fit", "make", "check"]
    shard: Shard
    exceptions: KnownFailures = KnownFailures()
    trial: bool = False


class Heartbeat(Protocol):
    """How a job tells the outside where it is."""

    def on(self, extent: str, key: str) -> None:
        """From now on at work on this sample, or, without a key, reading this extent."""

    def count(self, samples: int, skipped: int, weight: int) -> None:
        """So many more samples seen, of which skipped, and bytes read."""


class NoHeartbeat:
    """A heartbeat that nobody listens to."""

    def on(self, extent: str, key: str) -> None: ...
    def count(self, samples: int, skipped: int, weight: int) -> None: ...
