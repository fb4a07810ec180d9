"""Tokenizers of twelve families: what is made with them is what transformers makes with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import FAMILIES, check_family, save

from pseudolabel import MaskText

pytest.importorskip("transformers")


QUICK = ("roberta", "gemma", "mt5")


@pytest.mark.parametrize("family", [pytest.param(f, marks=[] if f in QUICK else pytest.mark.slow) for f in FAMILIES])
def test_rows_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    check_family(family, tmp_path)


@pytest.mark.slow
def test_files_that_contradict_each_other(tmp_path: Path) -> None:
    """special_tokens_map.json beside tokenizer_config.json: the mask is the one of transformers."""
    from transformers import AutoTokenizer

    tokenizer, found = save("bert", tmp_path), set()
    (tmp_path / "special_tokens_map.json").write_text('{"mask_token": "[unused]", "pad_token": {"content": "[PAD]"}}')
    tokenizer.add_special_tokens({"additional_special_tokens": ["[unused]"]})
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    configuration = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for more in ({}, {"added_tokens_decoder": {}}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**configuration, **more}))
        true = AutoTokenizer.from_pretrained(str(tmp_path)).mask_token_id
        assert MaskText(tokenizer=str(tmp_path)).given_tokens.mask == true
        found.add(true)
    assert len(found) == 2
