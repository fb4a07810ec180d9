"""Tokenizers of twelve families, made small by transformers' own classes and saved in folders as it saves them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pseudolabel.contracts import UserError

TEXTS = [
    "The cat is on the table, isn't it? She looked up at the far hills; nobody had come back from there in 1984.",
    "Où est l'été? Cœur naïf — «déjà vu». Ελληνικά και ΣΟΦΟΣ. Привет, мир! Я вижу 12 345 лодок.",
    "中文字符，测试。日本語のテキスト。 한국어 텍스트 हिन्दी ภาษาไทย العربية 👩\u200d👧 ☕\ufe0f 🇫🇷",
    "a\u0301e\u0308 x\u200by\u00a0z ½ ﬁ ①  two  spaces\tand a tab\nand a line `` quoted '' <s> </s> <b> HTML_x=3.14",
]
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def documents(count: int = 60) -> list[str]:
    """Strings put together of words and characters of TEXTS, always the same."""
    dice, words = random.Random(5), " ".join(TEXTS).split(" ")
    odd = ["", "  ", "\n", "\t", "\u00a0", "👍🏽", "x" * 40, "<0xE4>", "▁", "Ġ", "##s", "的" * 9]
    made = [" ".join(dice.choices([*words, *odd], k=dice.randint(1, 30))) for _ in range(count)]
    return [text for text in (*TEXTS, *made) if text.strip()]


@cache
def byte_level_pieces(size: int) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Vocabulary and merges of a byte-level BPE."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXTS[:2] * 3, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet))
    model = json.loads(made.to_str())["model"]
    return model["vocab"], tuple(map(tuple, model["merges"]))


@cache
def unigram_pieces() -> list[tuple[str, float]]:
    """Pieces and scores of a Unigram model that knows neither Thai nor Arabic."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    known = [text.split("ภาษา")[0] for text in TEXTS]
    made.train_from_iterator(known * 3, trainers.UnigramTrainer(vocab_size=400, show_progress=False))
    return [(piece, score) for piece, score in json.loads(made.to_str())["model"]["vocab"] if not piece.startswith("<")]


@cache
def charsmap() -> bytes | None:
    """Return the normaliser of SentencePiece (nmt_nfkc), compiled; None where sentencepiece is not installed."""
    try:
        from io import BytesIO

        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        return None
    file = BytesIO()
    options = {"vocab_size": 120, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS[:2]), model_writer=file, **options)
    model = sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())
    return bytes(model.normalizer_spec.precompiled_charsmap)


def bert() -> Any:
    from transformers import BertTokenizer

    from pseudolabel.transforms.text.vocabulary import train_wordpiece

    return BertTokenizer(vocab=train_wordpiece([text.lower() for text in TEXTS[:2]] * 3, 400).get_vocab())


def roberta() -> Any:
    from transformers import RobertaTokenizer

    vocabulary, merges = byte_level_pieces(400)
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    ids = {piece: i for i, piece in enumerate([*special[:4], *vocabulary, "<mask>"])}
    return RobertaTokenizer(vocab=ids, merges=list(merges))


def gpt2() -> Any:
    from transformers import GPT2Tokenizer

    vocabulary, merges = byte_level_pieces(400)
    return GPT2Tokenizer(vocab={**vocabulary, "<|endoftext|>": len(vocabulary)}, merges=list(merges))


def qwen() -> Any:
    from transformers import Qwen2Tokenizer

    vocabulary, merges = byte_level_pieces(400)
    return Qwen2Tokenizer(vocab=dict(vocabulary), merges=list(merges), additional_special_tokens=["<|im_start|>"])


def llama_3() -> Any:
    """tokenizer.json of meta-llama/Meta-Llama-3-8B, which only PreTrainedTokenizerFast loads."""
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = byte_level_pieces(400)
    made = Tokenizer(models.BPE(dict(vocabulary), list(merges), ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    names = ["<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{i}|>" for i in range(3))]
    made.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    begin = ("<|begin_of_text|>", made.token_to_id("<|begin_of_text|>"))
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[begin]
    )
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=names[0], eos_token=names[1])


def modernbert() -> Any:
    """tokenizer.json of answerdotai/ModernBERT-base, which only PreTrainedTokenizerFast loads."""
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = byte_level_pieces(400)
    made = Tokenizer(models.BPE(dict(vocabulary), list(merges)))
    made.normalizer, made.decoder = normalizers.NFC(), decoders.ByteLevel()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    made.add_tokens([AddedToken(" " * n, normalized=True) for n in (2, 3)])
    made.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, normalized=False)])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    roles = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "CLS", "SEP", "PAD", "MASK")}
    return PreTrainedTokenizerFast(tokenizer_object=made, **roles)


def gemma() -> Any:
    """With HTML tags as plain added tokens, as google/gemma-2b has them."""
    from transformers import GemmaTokenizer

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    made.train_from_iterator(TEXTS[:2] * 3, trainer)
    model = json.loads(made.to_str())["model"]
    made = GemmaTokenizer(vocab=model["vocab"], merges=[*map(tuple, model["merges"])], add_bos_token=True)
    made.add_tokens([AddedToken(tag, normalized=False) for tag in ("<s>", "</s>", "<b>")])
    return made


def t5() -> Any:
    from transformers import T5Tokenizer

    sentinels = [(f"<extra_id_{i}>", 0.0) for i in reversed(range(100))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigram_pieces(), *sentinels]
    return T5Tokenizer(vocab=pieces, _spm_precompiled_charsmap=charsmap())


def mt5() -> Any:
    """Its sentinels are pieces of the model that begin a word, and no special tokens."""
    from transformers import T5Tokenizer

    sentinels = [(f"▁<extra_id_{i}>", -20.0) for i in reversed(range(100))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *unigram_pieces(), *sentinels]
    return T5Tokenizer(vocab=pieces, _spm_precompiled_charsmap=charsmap(), extra_ids=0)


def xlm_roberta() -> Any:
    from transformers import XLMRobertaTokenizer

    special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    return XLMRobertaTokenizer(
        vocab=[*special, *unigram_pieces(), ("<mask>", 0.0)], _spm_precompiled_charsmap=charsmap()
    )


def xlnet() -> Any:
    from transformers import XLNetTokenizer

    names = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
    pieces = [*((name, 0.0) for name in names), *unigram_pieces()]
    return XLNetTokenizer(vocab=pieces, _spm_precompiled_charsmap=charsmap())


def deberta() -> Any:
    from transformers import DebertaV2Tokenizer

    special = [(name, 0.0) for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    return DebertaV2Tokenizer(vocab=[*special, *unigram_pieces(), ("[MASK]", 0.0)], do_lower_case=False)


FAMILIES: dict[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (
        *(bert, roberta, gpt2, llama_3, qwen, gemma),
        *(t5, mt5, xlm_roberta, xlnet, deberta, modernbert),
    )
}


def save(family: str, folder: Path) -> Any:
    """Save the tokenizer of a family; return it as transformers loads it again."""
    made = FAMILIES[family]()
    made.save_pretrained(str(folder))
    return type(made).from_pretrained(str(folder))


def check_family(family: str, folder: Path) -> None:
    """Ids, word starts, roles, frames and sentinels are those of transformers' tokenizer."""
    tokenizer = save(family, folder / "saved")
    check_ids(tokenizer)
    check_roles(tokenizer, folder / "saved")
    check_frames(family, tokenizer, folder)
    if family in ("t5", "mt5"):
        check_sentinels(tokenizer, folder)


def check_ids(tokenizer: Any) -> None:
    from pseudolabel.readers.text.blocks import pack
    from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens

    texts = documents()
    made = Tokens(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), words=True)
    ids, offsets = made.encode(pack([text.encode() for text in texts], range(len(texts))))
    for text, low, high in zip(texts, offsets[:-1], offsets[1:], strict=True):
        true = tokenizer(text, add_special_tokens=False)
        words = [None, *true.word_ids()]
        inside = [i is not None and i == j for i, j in pairwise(words)]
        if "Gemma" in type(tokenizer).__name__:  # a document is one word for it: a space begins another
            inside = [same and not token.startswith("▁") for same, token in zip(inside, true.tokens(), strict=True)]
        assert (ids[low:high] & ~CONTINUES_WORD).tolist() == true.input_ids
        assert ((ids[low:high] & CONTINUES_WORD) != 0).tolist() == inside


def check_roles(tokenizer: Any, saved: Path) -> None:
    from pseudolabel.transforms.text.special_tokens import SpecialTokens
    from pseudolabel.transforms.text.vocabulary import load_description

    (saved / "alone").mkdir()
    (saved / "alone" / "tokenizer.json").write_bytes((saved / "tokenizer.json").read_bytes())
    for path, complete in ((saved, True), (saved / "tokenizer.json", True), (saved / "alone", False)):
        description, named = load_description(str(path))
        ours = SpecialTokens.of(Tokenizer.from_str(description), (), tuple(named.items()))
        cls, sep = (
            next((i for i in pair if i is not None), -1)
            for pair in (
                (tokenizer.cls_token_id, tokenizer.bos_token_id),
                (tokenizer.sep_token_id, tokenizer.eos_token_id),
            )
        )
        theirs = [cls, sep, *(-1 if i is None else i for i in (tokenizer.pad_token_id, tokenizer.mask_token_id))]
        found = [ours.cls, ours.sep, ours.pad, ours.mask]
        assert found == theirs if complete else all(i in (-1, j) for i, j in zip(found, theirs, strict=True))
        assert not ours.is_text(np.array(tokenizer.all_special_ids)).any()


OPTIONS = {  # tokens that these families have no role for
    "gpt2": {"pad_token": "<|endoftext|>"},
    "llama_3": {"pad_token": "<|reserved_special_token_0|>", "mask_token": "<|reserved_special_token_1|>"},
    "qwen": {"cls_token": "<|im_start|>"},
    "t5": {"cls_token": "</s>"},
    "mt5": {"cls_token": "</s>"},
}


def check_frames(family: str, tokenizer: Any, folder: Path) -> None:
    from pseudolabel import MaskText, OrderSentences, rows

    lines, options, source = (
        ("The cat is on the table.", "She looked at the hills."),
        OPTIONS.get(family, {}),
        folder / "a.txt",
    )
    given = {"tokenizer": str(folder / "saved"), "length": 90}
    source.write_text("\n".join(lines), "utf-8")
    pair_options = {key: value for key, value in options.items() if key != "mask_token"}
    made = [
        row
        for copy in range(8)
        for row in rows(OrderSentences(**given, **pair_options, sentence_per_line=True), source, copy=copy)
    ]
    assert {row["sentence_order_label"] for row in made} == {0, 1}
    for row in made:
        pair = lines[::-1] if row["sentence_order_label"] else lines
        true, used = tokenizer(*pair, return_token_type_ids=True), sum(row["attention_mask"])
        ids, types = true.input_ids, true.token_type_ids
        if "cls_token" in options or family == "gpt2":  # options, or roles, in place of the tokenizer's frame
            first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in pair)
            begin = tokenizer.convert_tokens_to_ids(options.get("cls_token", tokenizer.bos_token))
            ids = [begin, *first, tokenizer.eos_token_id, *second, tokenizer.eos_token_id]
            types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        assert (row["input_ids"][:used], row["token_type_ids"][:used]) == (ids, types)
    if tokenizer.mask_token_id is None and "mask_token" not in options:
        with pytest.raises(UserError, match=r"no token for .*\[MASK\]\n(type .*--mask-token|.*add \[MASK\])"):
            MaskText(**given, **options)
        return
    (row,) = rows(MaskText(**given, **options), source)
    ids = [i if j == -100 else j for i, j in zip(row["input_ids"], row["labels"], strict=True)]
    assert ids[: sum(row["attention_mask"])] == tokenizer("\n".join(lines)).input_ids


def check_sentinels(tokenizer: Any, folder: Path) -> None:
    from pseudolabel import CorruptSpans, rows

    task = CorruptSpans(tokenizer=str(folder / "saved"), length=32)
    (folder / "fit").mkdir()
    task.fit(iter(()), folder / "fit", np.random.default_rng(0))
    assert (folder / "fit" / "tokenizer.json").read_bytes() == (folder / "saved" / "tokenizer.json").read_bytes()
    assert task.description.notes(task, folder / "fit") == []
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    known = {name.removeprefix("▁"): i for i, name in enumerate(names) if "<extra_id_" in name}
    (row, *_) = rows(task, folder / "a.txt", artefacts=folder / "fit")
    for ids in (row["input_ids"], row["labels"]):
        sentinels = [i for i in ids if i in known.values()]
        assert sentinels == [known[f"<extra_id_{i}>"] for i in range(len(sentinels))] != []
