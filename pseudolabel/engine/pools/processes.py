"""Worker processes: forks of a server that has imported what workers need, so that a worker starts in milliseconds.

The server is that of `multiprocessing`. A fork of a process with threads may hang. So the server imports no module that
starts a thread, and NO_ARROW_THREAD stops pyarrow's allocator from starting one. Without a fork server, each worker is
a new interpreter: on systems other than Linux, and in a fork of the process that started the server, because
`multiprocessing` supports no server there.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from multiprocessing import spawn
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import get_ident
from typing import Any

ONE_THREAD = {  # one process per core; OMP_NUM_THREADS also limits Arrow and faiss
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "ARROW_IO_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "OPENCV_LOG_LEVEL": "SILENT",
}
NO_ARROW_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # else the server imports a cv2.py of the working directory
PREPARE = spawn.get_preparation_data
START_LOCK = threading.RLock()  # runs in two threads would restore the values of each other
PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def start_server(modules: Sequence[str] = ()) -> bool:
    """Start the fork server, which imports the modules of the workers on another core. Return whether there is one.

    `modules`: modules to import besides those of all tasks. There is a server on Linux only, because elsewhere the
    libraries of the system may start threads.
    """
    if sys.platform != "linux":
        return False
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # the server would start it, and this unblocks SIGINT
    forkserver.set_forkserver_preload([*modules, "pseudolabel.engine.pools.preload"])
    with _replaced(os.environ, ONE_THREAD | NO_ARROW_THREAD | SAFE_PATH), _no_interrupt(), suppress(ChildProcessError):
        forkserver.ensure_running()
        return True
    return False  # this process is a fork, and the server is its parent's


def start_process(name: str, function: Callable[..., None], *given: Any) -> tuple[BaseProcess, Connection]:
    """Start a process that runs `function(pipe, *given)`. Return it and the other end of the pipe.

    The process imports the main script only if `function` or `given` is defined there, as a user's own task may be.
    Else each script would need `if __name__ == "__main__":`, and each process would import what the script imports.
    """
    check_process(own := defined_in_main(function, *given))
    forked = start_server()
    context: Any = multiprocessing.get_context("forkserver" if forked else "spawn")
    ours, theirs = context.Pipe()
    prepare = {} if own else {"get_preparation_data": partial(_without_main, get_ident())}
    with theirs, _replaced(os.environ, ONE_THREAD), _replaced(vars(spawn), prepare):
        begin = (forked, dict(os.environ), function, theirs, *given)
        process = context.Process(target=_begin, args=begin, daemon=True, name=name)
        process.start()
    return process, ours


def defined_in_main(*given: Any) -> str:
    """Return the name of something in `given` that the main script defines; "" if there is nothing."""
    finder = _MainFinder(BytesIO())
    finder.dump(given)
    return finder.found


class _MainFinder(ForkingPickler):
    found = ""

    def reducer_override(self, value: Any) -> Any:
        if getattr(value, "__module__", None) == "__main__":
            self.found = getattr(value, "__qualname__", type(value).__qualname__)
        return NotImplemented


def check_process(own: str) -> None:
    """Raise `UserError` if this process may have no workers, or if they cannot import `own` from its main script."""
    from pseudolabel.contracts import UserError  # not at the top: the server starts before such imports

    main = sys.modules["__main__"]
    if multiprocessing.current_process().daemon:
        raise UserError("a daemonic process, as of multiprocessing.Pool, may start no workers; call run() elsewhere")
    script = getattr(main, "__file__", None) or "this session"
    importable = Path(script).is_file() if main.__spec__ is None else not main.__spec__.name.endswith("__main__")
    if own and not importable:  # `multiprocessing` imports no `package.__main__`
        raise UserError(f"workers cannot import {own} from {script}; put it into a module of its own and import it")


def _without_main(thread: int, name: str) -> dict[str, Any]:
    """Return the data that `multiprocessing` sends to a new process: without the main script if `thread` starts it."""
    data: dict[str, Any] = PREPARE(name)
    if get_ident() == thread:
        data = {key: value for key, value in data.items() if not key.startswith("init_main_from")}
    return data


def _begin(
    forked: bool, environment: dict[str, str], function: Callable[..., None], pipe: Connection, *given: Any
) -> None:
    """Run the function with the environment of the parent. End with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    os.environ.clear()  # the server's is that of the time when it started
    os.environ.update(environment)
    _end_with_parent(forked)
    function(pipe, *given)


def _end_with_parent(forked: bool) -> None:
    """End this process when its parent dies. On Linux the kernel kills it too, as native code may block `watch`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    if forked:  # the server ends with the parent, as soon as no worker holds this pipe; and the worker with the server
        from multiprocessing import forkserver

        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _replaced(mapping: MutableMapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[None]:
    """Set values of the environment or of a module while a process starts."""
    with START_LOCK:
        before = {name: mapping[name] for name in wanted if name in mapping}
        mapping.update(wanted)
        try:
            yield
        finally:
            for name in wanted.keys() - before.keys():
                del mapping[name]
            mapping.update(before)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block SIGINT, also in a process that is started here: `preload.py` unblocks it in the server."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
