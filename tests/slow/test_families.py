"""Tokenizers of twelve families: what is made with them is what transformers makes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import FAMILIES, check_family

pytest.importorskip("transformers")


QUICK = ("roberta", "gemma", "mt5")


@pytest.mark.parametrize("family", [pytest.param(f, marks=[] if f in QUICK else pytest.mark.slow) for f in FAMILIES])
def test_rows_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    check_family(family, tmp_path)
