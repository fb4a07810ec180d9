"""The options of every run, and the count of cores that `--workers 0` means."""

from __future__ import annotations

import os

import pytest

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


def test_an_escape_reads_back_as_its_character() -> None:
    for sign in ("\x1b", "\u202e", "\U000e0001", "\U0010fffd"):
        assert escape_controls(f"{sign}1").encode().decode("unicode_escape") == f"{sign}1"
