"""Labels of image, text and sound tasks are at chance for a linear model, or tell what the published rule tells."""

from __future__ import annotations

import pytest
from leaks import AT_CHANCE, BY_THE_RULE, measure, suspects

pytestmark = pytest.mark.slow


def test_labels_cannot_be_guessed() -> None:
    measured = [measure(case) for case in AT_CHANCE]
    print(*measured, sep="\n")
    assert not list(suspects(measured))


def test_what_the_published_rule_tells_is_what_the_pages_state() -> None:
    for case, most in BY_THE_RULE.items():
        found = measure(case)
        print(found)
        assert found.rate.low <= most
        assert found.rate.high > found.chance
