"""Ray as the engine: one task per shard, on whatever nodes the cluster has.

On its node a task hands the shard to a worker process of ours, as a local run does, and tells what becomes of it. So a
sample that kills or never returns is known by its key there, and Ray's own process outlives it. Ray itself tries
nothing again: what is to be done about a death is decided in one place, `crashes.CrashBisector`.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pseudolabel.contracts import Extent, RunOptions, UserError
from pseudolabel.engine.jobs import HOST, Job, RunSpec
from pseudolabel.engine.pools import local
from pseudolabel.engine.pools.events import PULSE_SECONDS, Died, Event, Failed, Progressed, WorkerStatus, read_status
from pseudolabel.storage.urls import is_url
from pseudolabel.writers.manifest import first_difference, versions

OBJECT_STORE_BYTES = 100 << 20  # bytes of a local Ray's object store: no payload goes through it
LINGER_SECONDS = "15"  # seconds that processes of a local Ray whose centre was killed stay; Ray's own is 60
QUIET_OPTIONS: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}


class NodeSpec(NamedTuple):
    """What a node needs beside the job, and must agree with."""

    spec: RunSpec
    seen: Sequence[Path]  # by the driver
    versions: dict[str, str | None]
    sample_seconds: float


# --- on a node -------------------------------------------------------------------------------------------------------

_pool: tuple[Path, local.LocalPool] | None = None  # of this process, kept from one task of a run to the next


def serve(place: NodeSpec, job: Job) -> Iterator[tuple[type, Sequence[Any]]]:
    """Do one job in a worker process of this node; yield its events, without the job, which may be large."""
    for event in _opened(place).events(deque([job]), iter(())):
        yield type(event), event[1:]


def _opened(place: NodeSpec) -> local.LocalPool:
    """This process's pool of one; a new one where the node is fit for the run."""
    global _pool
    if _pool is None or _pool[0] != place.spec.work:
        if _pool is not None:
            _pool[1].__exit__()
        check_node(place)
        place.spec.work.mkdir(parents=True, exist_ok=True)  # where OUT is a store, it is each node's own
        sys.modules["__main__"].__file__ = None  # else each new process would run Ray's own script, and import Ray
        _pool = place.spec.work, local.LocalPool(place.spec, 1, place.sample_seconds).__enter__()
    return _pool[1]


def check_node(place: NodeSpec) -> None:
    """Refuse a node that would read or write elsewhere, or make other bytes."""
    for path in place.seen:
        if not path.exists():
            raise UserError(
                f"the Ray node {HOST} does not see {path}\n"
                "have SOURCE and --out on a file system that all nodes share, or in a store (s3://...)"
            )
    if (here := versions()) != place.versions:
        what = first_difference("version", place.versions, here)
        raise UserError(f"the Ray node {HOST} has other packages: {what}; install the same there")


# --- the driver's side -----------------------------------------------------------------------------------------------


class RayPool:
    """What `local.LocalPool` is to this machine, for all nodes of a Ray cluster."""

    def __init__(self, spec: RunSpec, count: int, options: RunOptions, first: Extent) -> None:
        shared = [Path(first.where.partition("\0")[0])] + ([] if is_url(spec.out) else [spec.work])
        seen = [path for path in shared if path.exists()]  # an address does not
        self._place = NodeSpec(spec, seen, versions(), options.sample_seconds)
        self._address = options.ray_address or os.environ.get("RAY_ADDRESS")
        self._most, self._count, self._counted = options.workers, count, 0.0

    def __enter__(self) -> RayPool:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise UserError("--engine ray needs Ray; pip install 'pseudolabel[ray]'") from None
        self._ray, self._ours = ray, not ray.is_initialized()
        self._cluster = bool(self._address) or not self._ours
        if self._ours:
            with _signals_kept():
                self._join(self._address) if self._address else self._start()
            ray._private.worker._worker_logs_enabled = False  # it would print its errors on standard output
        if self._cluster:
            self._ask()
        self._serve = ray.remote(num_returns="streaming", max_retries=0)(serve)
        return self

    def _join(self, address: str) -> None:
        _reach(address)
        try:
            self._ray.init(address=address, **QUIET_OPTIONS)
        except (ConnectionError, ValueError, RuntimeError) as fault:
            told = " ".join(str(fault).split())[:160]
            raise UserError(
                f"the Ray cluster at {address} cannot be joined: {told}\n"
                "where it asks for a token, set RAY_AUTH_MODE=token"
            ) from None

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
        if self._ours:
            self._ray.shutdown()

    def _ask(self) -> None:
        """Have each node that is there look first; one that comes later does before its first job."""
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
                why = " ".join(str(error.cause).partition("\ntraceback:")[0].split())[:160]
                raise UserError(f"the Ray node {name} cannot be used: {why}; install there what is here") from None
            except errors.RayError:  # lost, and asked for nothing
                continue

    def events(self, first: deque[Job], then: Iterator[Job]) -> Iterator[Event]:
        """Run all jobs, those of `first` before those of `then`, and tell what becomes of each."""
        ray, running = self._ray, dict[Any, Job]()
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
        """As many jobs as the cluster has CPUs by now, and as many that wait, for an autoscaler to see."""
        if self._cluster and not self._most and time.monotonic() - self._counted > PULSE_SECONDS:
            self._count = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._counted = time.monotonic()

    def _receive(self, stream: Any, job: Job) -> Event:
        errors = self._ray.exceptions
        try:
            kind, told = self._ray.get(next(stream))
        except errors.LocalRayletDiedError:
            raise UserError("the Ray of this machine is gone; run the same command again to finish", code=1) from None
        except errors.RayTaskError as error:
            return Failed(job, error.cause, str(error))
        except errors.RayError as error:
            return Died(job, self._last(job), f"lost its Ray worker ({type(error).__name__})", False)
        event: Event = kind(job, *told)
        return event

    def _last(self, job: Job) -> WorkerStatus | None:
        """What the lost worker was on: its file is on the file system that all nodes share."""
        extents = {extent.key for extent in job.shard.extents}
        for file in self._place.spec.work.glob("worker-*.json"):
            status = read_status(file)
            on = (status.kind, status.trial, status.shard) if status and status.extent in extents else None
            if on == (job.kind, job.trial, job.shard.index):
                file.unlink(missing_ok=True)
                return status
        return None


def _reach(address: str) -> None:
    """Refuse an address where nothing answers: Ray would end this process, with words of its own."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # Ray knows what else it may be
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as fault:
        raise UserError(
            f"no Ray cluster answers at {address} ({fault.strerror or fault}); "
            "give --ray-address HOST:PORT as `ray start --head` printed it"
        ) from None


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts a handler of its own in place, which would end the process without a word."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
