"""What a DataLoader's worker process needs: one thread, a board for the sample that it is on, and a log of skips."""

from __future__ import annotations

import logging
import os
import sys

import cv2
import numpy as np
import pyarrow as pa

from pseudolabel.engine.jobs import NoHeartbeat
from pseudolabel.engine.pools.processes import ONE_THREAD
from pseudolabel.readers.sources.opening import forget_open_files

LOG = logging.getLogger("pseudolabel")


class SampleNamer(NoHeartbeat):
    """A heartbeat that knows the sample that is labelled, or the extent that is read, and writes it to `board`."""

    def __init__(self, board: np.ndarray) -> None:
        self.key, self._board = "", board

    def on(self, extent: str, key: str) -> None:
        self.key = key or extent
        said = np.frombuffer(self.key.encode()[: len(self._board)], np.uint8)
        self._board[: len(said)], self._board[len(said) :] = said, 0


class SkipLog:
    """A file that logs each line: samples that are skipped or filtered, as JSON."""

    def write(self, line: str) -> None:
        LOG.info("%s", line.strip())


def use_one_thread() -> None:
    """Let libraries use one thread, since each core has a worker. Forget the open files of the parent."""
    os.environ |= ONE_THREAD
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(1)
    forget_open_files()


def _stop_threads() -> None:
    """Stop the threads of OpenCV before a fork: its copy of their pool would wait for them for ever."""
    global _threads
    _threads = cv2.getNumThreads()
    cv2.setNumThreads(1)


_threads = 0
os.register_at_fork(before=_stop_threads, after_in_parent=lambda: cv2.setNumThreads(_threads))
