"""What a pool of workers tells the engine: progress, done, died, failed; and the status a worker leaves in its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pseudolabel.engine.jobs import Heartbeat, Job, RunSpec

PULSE_SECONDS = 0.5  # seconds between two reports of progress


class WorkerStatus(NamedTuple):
    """What a worker is on, as it stands in its file: enough to find the culprit after a power cut."""

    tick: int
    kind: str
    trial: bool
    shard: int
    extent: str  # "": between samples, where no clock runs
    key: str  # "": the extent is being read


class Progressed(NamedTuple):
    job: Job
    samples: int
    skipped: int
    weight: int


class Done(NamedTuple):
    job: Job
    result: Any


class Died(NamedTuple):
    """The worker is gone; `status` is what it was on, `reason` how it went."""

    job: Job
    status: WorkerStatus | None
    reason: str
    stuck: bool


class Failed(NamedTuple):
    """The job raised: a bug, or the storage, never bad input."""

    job: Job
    error: BaseException
    trace: str


Event = Progressed | Done | Died | Failed
Work = Callable[[RunSpec, Job, Heartbeat], Any]  # does one job; a function of a module, for workers import it


def read_status(file: Path) -> WorkerStatus | None:
    """The status a worker left in its file, if it came to write one."""
    try:
        return WorkerStatus(*json.loads(file.read_bytes().partition(b"\n")[0]))
    except (FileNotFoundError, ValueError):
        return None
