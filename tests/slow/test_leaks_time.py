"""A share of what `leaks_time.py` measures."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaks_time import SOURCES, corrected, from_the_top, measure_all
from runs import SHARED

from pseudolabel.inspection.audit.guess import guess

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", SOURCES)
def test_file_sizes_do_not_tell_labels_over_time(name: str, tmp_path: Path) -> None:
    """Frame types do, as far as a jump in size tells them (`steps`): that is in the films, and the cards say it."""
    still = name.startswith("still")
    if not still and not SHARED.exists():
        pytest.skip("the shared data is not present")
    guesses = measure_all(name, tmp_path / "films", count=60 if still else 2, seeds=2)
    limit = 0.05 / len(SOURCES)  # of one source, so that it is 0.05 for all
    told_of = [one for one, p in zip(guesses, corrected(guesses), strict=True) if p < limit]
    assert [one for one in told_of if one.facts == "sizes"] == []
    if name == "still, one group":
        control = guess(*from_the_top(tmp_path / "films"))
        assert control.low > 0.7, "what a loader does that begins with the first frame"
