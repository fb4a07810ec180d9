"""The options of every run, and the count of cores that `--workers 0` means."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from pseudolabel import Jigsaw, RunOptions, plan_parts, rows, run
from pseudolabel.contracts import UserError, escape_controls, share_or_count, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPU affinity is of Linux")
def test_cores_are_those_of_the_affinity() -> None:
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, every)
    assert 1 <= usable_cores() <= len(every)


def test_a_limit_is_a_count_only_as_a_whole_number() -> None:
    for text, meant in (("1e-1", (0.1, True)), ("5%", (0.05, True)), ("1.0", (1.0, True)), ("100", (100.0, False))):
        assert share_or_count(text) == meant
    for text in ("1e3", "2.5", "nan", "inf", "-1", "101%"):
        with pytest.raises(UserError, match="is invalid"):
            share_or_count(text)


def test_numbers_of_numpy_are_options() -> None:
    assert Jigsaw(grid=np.int64(2), gray=np.float32(0.5)) == Jigsaw(grid=2, gray=0.5)  # type: ignore[arg-type]
    assert RunOptions(max_skipped=0.1).max_skipped == "0.1"  # type: ignore[arg-type]
    assert type(RunOptions(seed=np.int64(3)).seed) is int  # type: ignore[arg-type]
    assert RunOptions(validation=np.float32(0.3), in_order=np.True_) == RunOptions(validation=0.3, in_order=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--grid is True; give a whole number"):
        Jigsaw(grid=True)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: run(Jigsaw(), "images", worker=3), r"run\(\) has no option 'worker'; did you mean workers\?"),
        (lambda: plan_parts(Jigsaw(), "images", quiet=True), r"plan_parts\(\) has no option 'quiet'; choose among out"),
        (lambda: next(rows(Jigsaw(), "images", limt=3)), r"rows\(\) has no option 'limt'; did you mean limit\?"),
        (lambda: next(rows(Jigsaw(), "images", copy=-1)), "copy is -1; give 0 to"),
        (lambda: next(rows(Jigsaw(), "images", copy=1.5)), r"copy is 1\.5; give a whole number"),
        (lambda: next(rows(Jigsaw(), "images", copy=True)), "copy is True; give a whole number"),
        (lambda: next(rows(Jigsaw(), "images", part=(0, 1.5))), r"part is 1\.5; give a whole number"),
        (lambda: next(rows(Jigsaw(), "images", part="1/2")), r"part is 1/2; give \(i, n\)"),
    ],
)
def test_a_call_with_a_wrong_option_is_refused_by_name(call: Callable[[], object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        call()


def test_an_escape_reads_back_as_its_character() -> None:
    for sign in ("\x1b", "\u202e", "\U000e0001", "\U0010fffd"):
        assert escape_controls(f"{sign}1").encode().decode("unicode_escape") == f"{sign}1"
