"""Special tokens: the role of each, found or named, and refused by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from pseudolabel.contracts import UserError
from pseudolabel.tasks.mask_text import MaskText
from pseudolabel.tasks.order_sentences import OrderSentences
from pseudolabel.transforms.text.special_tokens import SpecialTokens
from pseudolabel.transforms.text.vocabulary import load_description

NAMES = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<s>", "</s>", "<a>", "<b>", "<c>", "one", "two"]


def tokenizer(path: Path, special: str, plain: str = "", template: str = "", **configuration: Any) -> Path:
    """Words are tokens. Special and plain added tokens, and a template: of one text, then after "|" of a pair."""
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(NAMES)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(special.split())
    made.add_tokens([AddedToken(name, normalized=False) for name in plain.split()])
    if template:
        single, _, pair = template.partition("|")
        ids = [(name, NAMES.index(name)) for name in NAMES if name in template]
        made.post_processor = processors.TemplateProcessing(single=single, pair=pair or None, special_tokens=ids)
    path.mkdir(parents=True)
    made.save(str(path / "tokenizer.json"))
    for name, tokens in configuration.items():
        (path / f"{name}.json").write_text(json.dumps(tokens), "utf-8")
    return path


GEMMA = "<pad> <eos> <bos> <unk> <mask>"
ROLE_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "HTML tags are text": ({"special": GEMMA, "plain": "<s> </s>"}, "<bos> <eos> <pad> <mask>"),
    "names in the vocabulary": ({"special": ""}, "<s> </s> <pad> <mask>"),
    "a template": ({"special": NAMES[0] + " <a> <b>", "template": "<a> $A <b>"}, "<a> <b> <pad> <mask>"),
    "a template's tokens by name": (
        {"special": GEMMA + " <s> </s>", "template": "$A <eos> <bos>"}, "<bos> <eos> <pad> <mask>"
    ),
    "a configuration": (
        {"special": GEMMA, "template": "<bos> $A", "tokenizer_config": {"mask_token": "<c>", "sep_token": None}},
        "<bos> <eos> <pad> <c>",
    ),
    "added tokens in a map": (
        {"special": GEMMA, "special_tokens_map": {"pad_token": {"content": "<c>", "lstrip": False}}},
        "<bos> <eos> <c> <mask>",
    ),
    "both": (
        {"special": GEMMA, "special_tokens_map": {"cls_token": "<a>"}, "tokenizer_config": {"cls_token": "<b>"}},
        "<a> <eos> <pad> <mask>",
    ),
    "both, and the tokens that were added": (
        {
            "special": GEMMA,
            "special_tokens_map": {"cls_token": "<a>", "pad_token": "<c>"},
            "tokenizer_config": {"cls_token": "<b>", "added_tokens_decoder": {}},
        },
        "<b> <eos> <pad> <mask>",
    ),
    "substitutes": (
        {"special": GEMMA, "tokenizer_config": {"bos_token": "<a>", "eos_token": "<b>"}}, "<a> <b> <pad> <mask>"
    ),
    "a token that is not there": (
        {"special": GEMMA, "tokenizer_config": {"mask_token": "[M]"}}, "<bos> <eos> <pad> <mask>"
    ),
}  # fmt: skip


def test_the_roles_of_tokens(tmp_path: Path) -> None:
    for case, (made, expected) in ROLE_CASES.items():
        folder = tokenizer(tmp_path / case, **made)
        for path in (folder, folder / "tokenizer.json"):
            description, named = load_description(str(path))
            special = SpecialTokens.of(Tokenizer.from_str(description), named=tuple(named.items()))
            roles = [NAMES[i] for i in (special.cls, special.sep, special.pad, special.mask)]
            assert (case, roles) == (case, expected.split())
            assert special.table[[NAMES.index(name) for name in expected.split()]].all()
            assert not special.table[NAMES.index("one")]


def test_options_name_roles_and_frames(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path / "a", GEMMA, "<s> </s>", "<bos> $A|<bos> $A <bos>:1 $B:1")
    for options, single, pair, types in (
        ({}, "<bos>  ", "<bos> <bos> ", "0011"),
        ({"cls_token": "<a>"}, "<a>  <eos>", "<a> <eos> <eos>", "00011"),
        ({"sep_token": "<b>", "mask_token": "<c>"}, "<bos>  <b>", "<bos> <b> <b>", "00011"),
    ):
        special = MaskText(tokenizer=str(folder), **options).given_tokens
        frames = [[" ".join(NAMES[i] for i in part) for part in frame[:3]] for frame in (special.single, special.pair)]
        assert [" ".join(frame) for frame in frames] == [single, pair]
        assert "".join(map(str, special.pair.types)) == types
        assert NAMES[special.mask] == options.get("mask_token", "<mask>")


def test_a_role_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path / "a", "<pad> <eos> <bos> <unk> <c>", "<mask> <s> </s>")
    given = {"tokenizer": str(folder)}
    for task, said in (
        (lambda: MaskText(**given), r"no token for \[MASK\]\ntype --mask-token '<mask>', or leave"),
        (
            lambda: MaskText(**given, mask_token="<pad>"),
            "<pad> cannot be the mask: it is also the tokenizer's pad token",
        ),
        (
            lambda: MaskText(**given, mask_token="<unk>"),
            "<unk> cannot be the mask: it is also the tokenizer's unk token",
        ),
        (lambda: MaskText(**given, mask_token="[M]"), r"--mask-token \[M\] is not in the vocabulary"),
        (lambda: MaskText(mask_token="<mask>"), "--mask-token names .* a learned one has its own; leave it out"),
        (lambda: MaskText(**given, vocab_size=500), "--vocab-size is for a learned vocabulary, .* leave one of them"),
        (lambda: OrderSentences(**given, mask_token="<c>"), "--mask-token names .* order-sentences needs none"),
        (lambda: MaskText(tokenizer=str(tmp_path)), r"holds no tokenizer\.json; save it there with save_pretrained"),
        (lambda: MaskText(**given, mask_token="<mask>", length=4), None),
    ):
        if said is None:
            task()
            continue
        with pytest.raises(UserError, match=said):
            task()
    (folder / "tokenizer_config.json").write_text('{"mask_token": "[M]"}')
    with pytest.raises(UserError, match=r"configuration names \[M\], .* vocabulary lacks\ntype .* '<mask>'"):
        MaskText(**given)
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(UserError, match=r"tokenizer_config\.json is not a JSON object"):
        MaskText(**given)


def test_a_message_names_all_that_is_missing(tmp_path: Path) -> None:
    """What it says to type, typed once, is taken. Neither [CLS] nor the mask is the padding."""
    for special, template, needs, typed in (
        ("<a>", "", "[CLS], [SEP], [PAD], [MASK]", {"cls": "<a>", "sep": "<a>", "pad": "<a>"}),
        ("<a> <b>", "", "[CLS], [SEP], [PAD], [MASK]", {"cls": "<a>", "sep": "<a>", "pad": "<a>", "mask": "<b>"}),
        ("<a> <b> <c>", "<a> $A", "[SEP], [PAD], [MASK]", {"sep": "<a>", "pad": "<a>", "mask": "<c>"}),
        ("<pad> </s>", "$A </s>", "[CLS], [MASK]", {"cls": "</s>"}),
        ("", "", "[CLS], [SEP], [PAD], [MASK]", {}),
    ):
        names, path = [*special.split(), "one", "?"], tmp_path / f"{len(special)}.json"
        made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="?"))
        made.add_special_tokens(special.split())
        if template:
            ids = [(name, i) for i, name in enumerate(names) if name in template]
            made.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
        made.save(str(path))
        with pytest.raises(UserError, match=re.escape(f"no token for {needs}\n")) as caught:
            MaskText(tokenizer=str(path))
        assert dict(re.findall(r"--(\w+)-token '([^']*)'", str(caught.value))) == typed
        options = {f"{role}_token": token for role, token in typed.items()}
        if "mask" not in typed:
            if typed:
                with pytest.raises(UserError, match=r"cannot be the mask: it is also .*\nadd \[MASK\] to F"):
                    MaskText(tokenizer=str(path), **options, mask_token=typed["cls"])
            exec(str(caught.value).splitlines()[-1], {"F": str(path)})
        tokens = MaskText(tokenizer=str(path), **options).given_tokens
        assert min(tokens[:4]) >= 0
        assert tokens.mask not in (tokens.cls, tokens.sep, tokens.pad, tokens.unk)


def test_what_a_run_saves_is_a_tokenizer_again(tmp_path: Path) -> None:
    """The folder of a dataset is taken by --tokenizer, with the roles that options gave."""
    folder = tokenizer(tmp_path / "a", GEMMA, "<s> </s>", "<bos> $A", tokenizer_config={"pad_token": "<c>"})
    task, made = MaskText(tokenizer=str(folder), mask_token="<b>"), tmp_path / "made"
    made.mkdir()
    task.fit(iter(()), made, task.given_tokens.pool)
    again = MaskText(tokenizer=str(made))
    assert again.given_tokens[:5] == task.given_tokens[:5] == (2, 1, 9, 8, 3)
    assert again.options()["special_tokens"] == task.options()["special_tokens"]


def test_a_mask_of_the_frame_and_a_pair_that_is_not_parted_are_refused(tmp_path: Path) -> None:
    folder = str(tokenizer(tmp_path / "a", GEMMA + " <a>", "", "<bos> <a> $A <eos>|<bos> <a> $A $B:1 <eos>:1"))
    with pytest.raises(UserError, match="<a> cannot be the mask: it is also the tokenizer's frame token"):
        MaskText(tokenizer=folder, mask_token="<a>")
    with pytest.raises(UserError, match="no token between them; give --sep-token"):
        OrderSentences(tokenizer=folder)
    pair = OrderSentences(tokenizer=folder, sep_token="<eos>").given_tokens.pair
    assert [[NAMES[i] for i in part] for part in pair[:3]] == [["<bos>"], ["<eos>"], ["<eos>"]]
    assert MaskText(tokenizer=folder).given_tokens.single.size == 3


@pytest.mark.slow
def test_a_name_on_the_hub_has_its_configuration(tmp_path: Path) -> None:
    """Of a model in the cache of huggingface_hub, without a network."""
    made = tokenizer(tmp_path / "a", GEMMA, tokenizer_config={"mask_token": "<c>"})
    model = tmp_path / "hub" / "models--some--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("f" * 40)
    (model / "snapshots").mkdir()
    made.rename(model / "snapshots" / ("f" * 40))
    program = "from pseudolabel import MaskText; print(MaskText(tokenizer='some/model').given_tokens[:5])"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "(2, 1, 0, 9, 3)\n", done.stderr
