"""Tokenizers of twelve families: what is made with them is what transformers makes with them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from families import FAMILIES, TEXTS, check_family, documents, save
from tokenizers import Tokenizer

from pseudolabel import MaskText
from pseudolabel.contracts import UserError
from pseudolabel.transforms.text.vocabulary import load_description

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


@pytest.mark.slow
def test_other_formats_are_converted_by_the_python_of_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as a file or as its folder. The ids are those of SentencePiece and of transformers."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    monkeypatch.chdir(tmp_path)
    texts = [text for text in documents() if "s>" not in text]  # without names of special tokens
    for kind in ("unigram", "bpe", "bert", "gpt2"):
        Path(kind).mkdir()
        if kind in FAMILIES:
            true = save(kind, tmp_path / "saved" / kind)
            true.backend_tokenizer.model.save(kind)
            expected = [true(text, add_special_tokens=False).input_ids for text in texts]
        else:
            options = {"model_type": kind, "vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2}
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(TEXTS * 3), model_prefix=f"{kind}/sp", **options
            )
            expected = sentencepiece.SentencePieceProcessor(model_file=f"{kind}/sp.model").encode(texts)
        for path in (*Path(kind).iterdir(), Path(kind)):
            if path.suffix == ".vocab":
                continue
            with pytest.raises(
                UserError, match=r"a (SentencePiece model|WordPiece vocabulary|part of a BPE)"
            ) as caught:
                load_description(str(path))
            _, steps, python = str(caught.value).split("\n")
            if "IN/tokenizer.model" in steps:
                Path("IN").mkdir(exist_ok=True)
                shutil.copy(f"{kind}/sp.model", "IN/tokenizer.model")
            exec(shlex.split(python)[2])
            given = Path(re.findall(r"--tokenizer (\S+) after", steps)[0])
            tokenizer = Tokenizer.from_str(load_description(str(given))[0])
            assert [tokenizer.encode(text, add_special_tokens=False).ids for text in texts] == expected
            given.unlink() if given.is_file() else shutil.rmtree(given)
