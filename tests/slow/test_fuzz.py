"""A share of what `fuzz.py` does."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import fuzz
from mutants import KINDS

pytestmark = pytest.mark.slow


def test_a_share_of_the_mutants(tmp_path: Path) -> None:
    outcome = fuzz(150, 0, tmp_path)
    assert not outcome.breaches, outcome.breaches
    assert sum(tally.mutants for tally in outcome.tallies.values()) == 150
    assert {name.split()[0] for name in outcome.tallies} == set(KINDS)
    assert sum(tally.used for tally in outcome.tallies.values()) > 30
    assert sum(tally.skipped for tally in outcome.tallies.values()) > 30
