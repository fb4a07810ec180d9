"""A share of what `leaks_time.py` measures."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaks_time import corrected, from_the_top, measure_all

from pseudolabel.inspection.audit.guess import guess

pytestmark = pytest.mark.slow


def test_file_sizes_do_not_tell_labels_over_time(tmp_path: Path) -> None:
    """Frame types do, as far as a jump in size tells them (`steps`): that is in the films, and the cards say it."""
    guesses = measure_all(tmp_path, scenes=60, cuts=2, seeds=2)
    told_of = [one for one, p in zip(guesses, corrected(guesses), strict=True) if p < 0.05]
    assert [one for one in told_of if one.facts == "sizes"] == []
    assert guess(*from_the_top(tmp_path / "still-1")).low > 0.7, "what a loader does that begins with the first frame"
