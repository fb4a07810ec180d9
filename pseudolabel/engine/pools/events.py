"""Events that a pool sends to the engine (progressed, done, died, failed), and the status that a worker writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pseudolabel.engine.jobs import Heartbeat, Job, RunSpec

PULSE_SECONDS = 0.5  # seconds between two progress reports


class WorkerStatus(NamedTuple):
    """The work that a worker is on, in its status file. The file remains if the kernel kills all processes."""

    tick: int
    kind: str
    trial: bool
    shard: int
    extent: str  # "": the worker reads no extent; no time limit
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
    """The worker died. `status`: the work it was on. `reason`: how it died."""

    job: Job
    status: WorkerStatus | None
    reason: str
    stuck: bool


class Failed(NamedTuple):
    """The job raised an exception: a bug or a storage failure, never bad input."""

    job: Job
    error: BaseException
    trace: str


Event = Progressed | Done | Died | Failed
Work = Callable[[RunSpec, Job, Heartbeat], Any]  # does one job; a module-level function, so that workers can import it


def read_status(file: Path) -> WorkerStatus | None:
    """Return the status in a worker's file, or None if the worker wrote none."""
    try:
        return WorkerStatus(*json.loads(file.read_bytes().partition(b"\n")[0]))
    except (FileNotFoundError, ValueError):
        return None
