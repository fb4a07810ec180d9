"""Events that a pool sends to the engine: progressed, done, died, failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pseudolabel.engine.jobs import Heartbeat, Job, RunSpec
from pseudolabel.engine.pools.status import WorkerStatus

PULSE_SECONDS = 0.5  # seconds between two progress reports


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
