"""Ray pool: one Ray task per job, on the nodes of a Ray cluster.

On its node a task passes the job to a worker process of a `LocalPool`, as a local run does, and yields its events. So
the key of a sample that crashes or never returns is known, and Ray's own process survives. Ray retries nothing: only
`crashes.CrashBisector` decides what to do after a crash.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pseudolabel.contracts import Extent, RunOptions, UserError, one_line
from pseudolabel.engine.jobs import HOST, Job, RunSpec
from pseudolabel.engine.pools import local
from pseudolabel.engine.pools.events import PULSE_SECONDS, Died, Event, Failed, Progressed
from pseudolabel.engine.pools.processes import defined_in_main
from pseudolabel.engine.pools.status import STATUS_FILES, WorkerStatus, read_status
from pseudolabel.storage.urls import is_url
from pseudolabel.writers.manifest import first_difference, versions

OBJECT_STORE_BYTES = 100 << 20  # bytes of the object store of a local Ray; no payload goes through it
LINGER_SECONDS = "15"  # seconds until a local Ray ends after its head was killed; Ray's default is 60
QUIET_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


class NodeSpec(NamedTuple):
    """The run as each node gets it, with the paths and packages that the node must have."""

    spec: RunSpec
    seen: Sequence[Path]  # paths that exist on the driver
    versions: dict[str, str | None]
    sample_seconds: float


# --- on a node -------------------------------------------------------------------------------------------------------

_pool: tuple[Path, local.LocalPool] | None = None  # (work folder, pool) of this process, for all tasks of a run


def serve(place: NodeSpec, job: Job) -> Iterator[tuple[type, Sequence[Any]]]:
    """Do one job in a worker process of this node. Yield its events without the job, which may be large."""
    for event in _open_pool(place).events(deque([job]), iter(())):
        yield type(event), event[1:]


def _open_pool(place: NodeSpec) -> local.LocalPool:
    """Return the pool of this process, with one worker. For a new run, check the node and make a new pool."""
    global _pool
    if _pool is None or _pool[0] != place.spec.work:
        if _pool is not None:
            _pool[1].__exit__()
        check_node(place)
        place.spec.work.mkdir(parents=True, exist_ok=True)  # local to the node if OUT is in a store
        _pool = place.spec.work, local.LocalPool(place.spec, 1, place.sample_seconds).__enter__()
    return _pool[1]


def check_node(place: NodeSpec) -> None:
    """Raise `UserError` if the node does not see the paths of the driver or has other packages."""
    for path in place.seen:
        if not path.exists():
            raise UserError(
                f"the Ray node {HOST} does not see {path}\n"
                "put SOURCE and --out on a file system that all nodes share, or in a store (s3://...)"
            )
    if (here := versions(place.spec.task)) != place.versions:
        what = first_difference("version", place.versions, here)
        raise UserError(f"this run's packages are not on the Ray node {HOST}: {what}; install them there")


# --- on the driver ---------------------------------------------------------------------------------------------------


class RayPool:
    """A pool like `local.LocalPool`, with workers on all nodes of a Ray cluster."""

    def __init__(self, spec: RunSpec, count: int, options: RunOptions, first: Extent) -> None:
        if own := defined_in_main(spec.task):
            raise UserError(f"Ray's workers cannot import {own} from your script; put it into a module of its own")
        shared = [Path(first.where.partition("\0")[0])] + ([] if is_url(spec.out) else [spec.work])
        seen = [path for path in shared if path.exists()]  # a URL does not exist as a path
        self._place = NodeSpec(spec, seen, versions(spec.task), options.sample_seconds)
        self._address = options.ray_address or os.environ.get("RAY_ADDRESS")
        self._most, self._count, self._counted = options.workers, count, 0.0
        self._running: dict[Any, Job] = {}

    def __enter__(self) -> RayPool:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise UserError("--engine ray needs Ray; pip install 'pseudolabel[ray]'") from None
        self._ray, self._ours = ray, not ray.is_initialized()
        self._cluster = bool(self._address) or not self._ours
        if self._ours:
            with _keep_signals():
                self._join(self._address) if self._address else self._start()
            ray._private.worker._worker_logs_enabled = False  # else Ray prints errors of workers on standard output
        if self._cluster:
            self._ask()
        self._serve = ray.remote(num_returns="streaming", max_retries=0)(serve)
        return self

    def _join(self, address: str) -> None:
        _reach(address)
        try:
            self._ray.init(address=address, **QUIET_OPTIONS)
        except (ConnectionError, ValueError, RuntimeError) as fault:
            remedy = "if it needs a token, set RAY_AUTH_MODE=token"
            raise UserError(f"the Ray cluster at {address} cannot be joined: {one_line(fault)}\n{remedy}") from None

    def _start(self) -> None:
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", LINGER_SECONDS)
        self._ray.init(
            address="local",
            num_cpus=self._count,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **QUIET_OPTIONS,
        )

    def __exit__(self, *_: object) -> None:
        for stream in self._running:  # after an error: no task may commit a shard once the lock is released
            self._ray.cancel(stream, force=True)
        for stream in self._running:
            with suppress(self._ray.exceptions.RayError):
                for _ in stream:
                    pass
        if self._ours:
            self._ray.shutdown()

    def _ask(self) -> None:
        """Run `check_node` on each node. A node that joins later runs it before its first job."""
        ray, errors = self._ray, self._ray.exceptions
        look = ray.remote(num_cpus=0, max_retries=0)(check_node)

        def asked(node: dict[str, Any]) -> Any:
            there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            return look.options(scheduling_strategy=there).remote(self._place)

        for name, answer in [(node["NodeManagerHostname"], asked(node)) for node in ray.nodes() if node["Alive"]]:
            try:
                ray.get(answer)
            except errors.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                why = one_line(str(error.cause).partition("\ntraceback:")[0])
                raise UserError(f"the Ray node {name} cannot be used: {why}; install this environment there") from None
            except errors.RayError:  # the node is lost and gets no job
                continue

    def events(self, first: deque[Job], then: Iterator[Job]) -> Iterator[Event]:
        """Run all jobs, those of `first` before those of `then`, and yield their events."""
        ray, running = self._ray, self._running
        while True:
            self._recount()
            while len(running) < self._count:
                job = first.popleft() if first else next(then, None)
                if job is None:
                    break
                running[self._serve.remote(self._place, job)] = job
            if not running:
                return
            for stream in ray.wait(list(running), timeout=PULSE_SECONDS)[0]:
                event = self._receive(stream, running[stream])
                if not isinstance(event, Progressed):
                    del running[stream]
                yield event

    def _recount(self) -> None:
        """Allow twice as many jobs as the cluster has CPUs now, so that an autoscaler sees waiting jobs."""
        if self._cluster and not self._most and time.monotonic() - self._counted > PULSE_SECONDS:
            self._count = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._counted = time.monotonic()

    def _receive(self, stream: Any, job: Job) -> Event:
        errors = self._ray.exceptions
        try:
            kind, told = self._ray.get(next(stream))
        except errors.LocalRayletDiedError:
            raise UserError("the local Ray process died; run the same command again to finish", code=1) from None
        except errors.RayTaskError as error:
            return Failed(job, error.cause, str(error))
        except errors.RayError as error:
            return Died(job, self._last(job), f"lost its Ray worker ({type(error).__name__})", False)
        event: Event = kind(job, *told)
        return event

    def _last(self, job: Job) -> WorkerStatus | None:
        """Return the status of a lost worker, from its file on the file system that all nodes share."""
        extents = {extent.key for extent in job.shard.extents}
        for file in self._place.spec.work.glob(STATUS_FILES):
            status = read_status(file)
            on = (status.kind, status.trial, status.shard) if status and status.extent in extents else None
            if on == (job.kind, job.trial, job.shard.index):
                file.unlink(missing_ok=True)
                return status
        return None


def _reach(address: str) -> None:
    """Raise `UserError` if nothing answers at the address. Ray would end this process with its own message."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # an address of another form is left to Ray
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as fault:
        raise UserError(
            f"no Ray cluster answers at {address} ({fault.strerror or fault}); "
            "give --ray-address HOST:PORT as `ray start --head` printed it"
        ) from None


@contextmanager
def _keep_signals() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces: its handlers end the process without a message."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
