"""The options of every run, and the count of cores that `--workers 0` means."""

from __future__ import annotations

import os

import pytest

from pseudolabel.contracts import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity is of Linux")
def test_cores_are_those_of_the_affinity() -> None:
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, every)
    assert 1 <= usable_cores() <= len(every)
