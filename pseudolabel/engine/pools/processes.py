"""Worker processes: forks of a server that has imported what workers need, so that a worker starts in milliseconds.

The server is that of `multiprocessing`. A fork of a process that has threads may hang, so the server imports no module
that starts one, as pyarrow does. Where there is no fork server, a worker is a new interpreter.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

FORKS = sys.platform == "linux"  # elsewhere the libraries of the system may start threads
CONTEXT: Any = multiprocessing.get_context("forkserver" if FORKS else "spawn")
PRELOADED = ["pseudolabel.engine.pools.local", "cv2", "PIL.Image"]
ONE_THREAD = {  # one process per core; OMP_NUM_THREADS also limits Arrow and faiss
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "ARROW_IO_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "OPENCV_LOG_LEVEL": "SILENT",
}
PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def start_server() -> None:
    """Start the fork server. It imports the modules of the workers on another core, while this process imports its."""
    if FORKS:
        from multiprocessing import forkserver

        CONTEXT.set_forkserver_preload(PRELOADED)
        with _one_thread():
            forkserver.ensure_running()


def start_process(name: str, function: Callable[..., None], *given: Any) -> tuple[BaseProcess, Connection]:
    """Start a process that runs `function(pipe, *given)`. Return it and the other end of the pipe."""
    start_server()
    ours, theirs = CONTEXT.Pipe()
    with theirs, _one_thread():
        begin = (dict(os.environ), function, theirs, *given)
        process = CONTEXT.Process(target=_begin, args=begin, daemon=True, name=name)
        process.start()
    return process, ours


def _begin(environment: dict[str, str], function: Callable[..., None], pipe: Connection, *given: Any) -> None:
    """Run the function with the environment of the parent. End with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    os.environ.clear()  # the server's is that of the time when it started
    os.environ.update(environment)
    _end_with_parent()
    function(pipe, *given)


def _end_with_parent() -> None:
    """End this process when its parent dies. On Linux the kernel kills it too, as native code may block `watch`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    if FORKS:
        from multiprocessing import forkserver

        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]  # held, it keeps the server
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Set ONE_THREAD in the environment that a new process gets."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
