"""Local pool: worker processes that may crash. A crash loses only the job of its worker, and the cause is known.

If one worker is killed, `ProcessPoolExecutor` fails as a whole and `multiprocessing.Pool` waits for ever. So each
worker here has its own pipe, which closes when the worker dies, and a status file with the work that it is on.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pseudolabel.contracts import UserError
from pseudolabel.engine.jobs import HOST, Job, RunSpec
from pseudolabel.engine.make_shard import run_job
from pseudolabel.engine.pools.events import PULSE_SECONDS, Died, Done, Event, Failed, Progressed, Work
from pseudolabel.engine.pools.processes import start_process
from pseudolabel.engine.pools.status import StatusFile, read_status

OUT_OF_MEMORY = 137  # exit code of a worker after a MemoryError


# --- inside a worker -------------------------------------------------------------------------------------------------


class _Report:
    def __init__(self, pipe: Connection, file: Path) -> None:
        self._pipe, self._status = pipe, StatusFile(file)
        self._counts, self._sent = [0, 0, 0], time.monotonic()
        self.begin, self.on = self._status.begin, self._status.write

    def count(self, samples: int, skipped: int, weight: int) -> None:
        counts = self._counts
        counts[0] += samples
        counts[1] += skipped
        counts[2] += weight
        if time.monotonic() - self._sent > PULSE_SECONDS:
            self._pipe.send(("progress", counts))
            self._counts, self._sent = [0, 0, 0], time.monotonic()


def _serve(pipe: Connection, spec: RunSpec, work: Work, status: Path, log: Path) -> None:
    """Run jobs from the pipe in a worker and send back results, until the pipe closes."""
    noise = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(noise, 1)  # native libraries print their warnings here, not on the user's terminal
    os.dup2(noise, 2)
    if type(spec.task).__module__.startswith("pseudolabel."):  # another's task may convert to pandas
        _keep_pandas_out()
    report = _Report(pipe, status)
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        report.begin(job)
        try:
            answer: tuple[Any, ...] = ("done", work(spec, job, report))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # as if the kernel had killed the worker
        except Exception as error:  # sent to the parent, which ends the run
            answer = ("failed", _sendable(error), traceback.format_exc())
        report.on("", "")
        pipe.send(answer)


def _keep_pandas_out() -> None:
    """Let pyarrow look for pandas once and find none.

    Else, if pandas is installed, the first conversion of a list imports it: 0.3 s and 50 MB in each worker.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    pa.array([])
    sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder of modules that stops the search for pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _sendable(error: Exception) -> Exception:
    """Return a copy that can be pickled. The parent needs the type of `UserError` and `OSError`; others become text."""
    if isinstance(error, UserError):
        return UserError(str(error), error.code)
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror or os.strerror(error.errno), error.filename)
    return RuntimeError(f"{type(error).__name__}: {error}")


# --- in the parent ---------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    file: Path
    job: Job | None = None
    tick: int = -1
    since: float = 0.0
    stuck: bool = False


class LocalPool:
    """A pool of `count` worker processes. `events` runs jobs from a queue to which the caller may add jobs."""

    def __init__(self, spec: RunSpec, count: int, sample_seconds: float, work: Work = run_job) -> None:
        self._recipe, self._sample_seconds, self._work = spec, sample_seconds, work
        self._made, self._count = 0, count
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalPool:
        while len(self._workers) < self._count:  # start all at once: the others import modules while one fits
            self._spawn()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()

    def events(self, first: deque[Job], then: Iterator[Job]) -> Iterator[Event]:
        """Run all jobs, those of `first` before those of `then`, and yield their events.

        A job whose worker died is not retried here: after `Died` the caller adds the next jobs to `first`.
        """
        while True:
            while sum(worker.job is not None for worker in self._workers) < self._count:
                job = first.popleft() if first else next(then, None)
                if job is None:
                    break
                self._send(job)
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            if not busy:
                return
            for pipe in wait(list(busy), timeout=PULSE_SECONDS):
                yield self._receive(busy[pipe])  # type: ignore[index]
            for worker in self._workers:
                self._watch(worker)

    def _send(self, job: Job) -> None:
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._spawn()
        worker.job, worker.tick, worker.since = job, -1, time.monotonic()
        try:
            worker.pipe.send(job)
        except OSError:  # the worker died while idle; `_receive` reports this as `Died`
            worker.file.unlink(missing_ok=True)

    def _spawn(self) -> _Worker:
        file = self._recipe.work / f"worker-{HOST}-{os.getpid()}-{self._made}.status"
        name, log = f"pseudolabel-{self._made}", self._recipe.work / "noise.log"
        process, pipe = start_process(name, _serve, self._recipe, self._work, file, log)
        self._made += 1
        self._workers.append(_Worker(process, pipe, file))
        return self._workers[-1]

    def _receive(self, worker: _Worker) -> Event:
        job = worker.job
        assert job is not None
        try:
            what, *rest = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._reap(worker, job)
        if what == "progress":
            return Progressed(job, *rest[0])
        worker.job = None
        return Done(job, rest[0]) if what == "done" else Failed(job, *rest)

    def _reap(self, worker: _Worker, job: Job) -> Died:
        worker.process.join()
        self._workers.remove(worker)
        status = read_status(worker.file)
        worker.file.unlink(missing_ok=True)
        shutil.rmtree(self._recipe.work / f"staging-{HOST}-{worker.process.pid}", ignore_errors=True)
        code = worker.process.exitcode or 0
        reason = f"killed its worker ({_signal(-code)})" if code < 0 else f"ended its worker (exit code {code})"
        if code == OUT_OF_MEMORY:
            reason = "ran out of memory"
        if worker.stuck:
            reason = f"took longer than {self._sample_seconds:g} s (--sample-seconds)"
        return Died(job, status if status and status.extent else None, reason, worker.stuck)

    def _watch(self, worker: _Worker) -> None:
        """Kill a worker that reads or labels one sample for more than `--sample-seconds`."""
        status = read_status(worker.file) if worker.job is not None else None
        if status is None or not status.extent or status.tick != worker.tick:
            worker.tick, worker.since = (status.tick if status else -1), time.monotonic()
        elif time.monotonic() - worker.since > self._sample_seconds:
            worker.stuck = True
            worker.process.kill()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
