"""Words: the units of whole-word masking are those of the tokenizer itself, whatever its kind and the script."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from runs import SHARED
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pseudolabel.readers.text.blocks import pack
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens
from pseudolabel.transforms.text.vocabulary import train_wordpiece

# The Universal Declaration of Human Rights, articles 1 to 3.
LANGUAGES = {
    "English": (
        "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
        "and should act towards one another in a spirit of brotherhood. Everyone is entitled to all the rights and "
        "freedoms set forth in this Declaration, without distinction of any kind, such as race, colour, sex, language, "
        "religion, political or other opinion, national or social origin, property, birth or other status. Everyone "
        "has the right to life, liberty and security of person; that's Article 3 of 30, isn't it?"
    ),
    "French": (
        "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
        "conscience et doivent agir les uns envers les autres dans un esprit de fraternité. Chacun peut se prévaloir "
        "de tous les droits et de toutes les libertés proclamés dans la présente Déclaration, sans distinction aucune, "
        "notamment de race, de couleur, de sexe, de langue, de religion, d'opinion politique ou de toute autre "
        "opinion. Tout individu a droit à la vie, à la liberté et à la sûreté de sa personne : « c'est l'article 3 »."
    ),
    "Chinese": (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享受本宣言所载的"
        "一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解、国籍或社会出身、财产、出生或其他身分等任何区别。"
        "人人有权享有生命、自由和人身安全。 第 3 条"
    ),
    "Japanese": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられて"
        "おり、互いに同胞の精神をもって行動しなければならない。すべて人は、人種、皮膚の色、性、言語、宗教、政治上その他の"
        "意見、国民的若しくは社会的出身、財産、門地その他の地位による差別をも受けることなく、権利と自由とを享有する。 "
        "第３条"
    ),
    "Thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกัน"
        "ด้วยเจตนารมณ์แห่งภราดรภาพ ทุกคนย่อมมีสิทธิและอิสรภาพทั้งปวงตามที่กำหนดไว้ในปฏิญญานี้ โดยปราศจากความแตกต่าง"
        "ไม่ว่าชนิดใด ๆ ดังเช่น เชื้อชาติ ผิว เพศ ภาษา ศาสนา ความคิดเห็นทางการเมือง คนทุกคนมีสิทธิในการดำรงชีวิต ข้อ 3"
    ),
}
FILES = {
    "English": ("English-Latin1", "latin-1"),
    "French": ("French_Francais-Latin1", "latin-1"),
    "Chinese": ("Chinese_Mandarin-UTF8", "utf-8"),
    "Japanese": ("Japanese_Nihongo-UTF8", "utf-8"),
}


def wordpiece(text: str) -> Tokenizer:
    return train_wordpiece([text * 3], 600)


def byte_level(text: str, prefix: bool = False) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=prefix), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return learned(made, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False), text)


def sentencepiece_bpe(text: str) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>"], show_progress=False)
    return learned(made, trainer, text)


def unigram(text: str) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    return learned(made, trainer, text)


def gpt4(text: str) -> Tokenizer:
    """A byte-level BPE cut by an expression of its own, which is called document by document."""
    made = Tokenizer(models.BPE())
    expression = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+"
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(expression), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return learned(made, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False), text)


def learned(tokenizer: Tokenizer, trainer: object, text: str) -> Tokenizer:
    tokenizer.train_from_iterator([text] * 3, trainer)
    return tokenizer


KINDS: dict[str, tuple[Callable[[str], Tokenizer], str]] = {
    "WordPiece": (wordpiece, "fast"),
    "byte-level BPE": (byte_level, "fast"),
    "byte-level BPE, RoBERTa's": (lambda text: byte_level(text, prefix=True), "fast"),
    "SentencePiece BPE": (sentencepiece_bpe, "fast"),
    "Unigram": (unigram, "fast"),
    "byte-level BPE, GPT-4's": (gpt4, "plain"),
}


def documents(language: str) -> list[str]:
    """The articles above, also with English among them, and the whole Declaration where it is present."""
    text = LANGUAGES[language]
    texts = [text, *text.split("，"), *text.split(". "), f"{text} (UDHR, {LANGUAGES['English']})"]
    name, encoding = FILES.get(language, ("", ""))
    file = SHARED / "text" / "udhr" / name
    if name and file.exists():
        texts += file.read_bytes().decode(encoding, "ignore").split("\n\n")
    return [text.strip() for text in texts]


def encoded(made: Tokens, texts: list[str]) -> tuple[list[list[int]], list[list[bool]]]:
    """Ids of each text, and which tokens begin a word."""
    raw, offsets = made.encode(pack([text.encode() for text in texts], range(len(texts))))
    parts = [raw[low:high] for low, high in pairwise(offsets)]
    return [(part & ~CONTINUES_WORD).tolist() for part in parts], [
        ((part & CONTINUES_WORD) == 0).tolist() for part in parts
    ]


def begins(word_ids: list[int | None]) -> list[bool]:
    return [i == 0 or word != word_ids[i - 1] for i, word in enumerate(word_ids)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_word_ids(kind: str, language: str) -> None:
    make, way = KINDS[kind]
    tokenizer, texts = make("\n".join(LANGUAGES.values())), documents(language)
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()), words=True)
    several = 0
    for _ in range(2):  # the second time, what is known is not tokenised again
        ids, starts = encoded(made, texts)
        for text, of_text, first in zip(texts, ids, starts, strict=True):
            truth = tokenizer.encode(text, add_special_tokens=False)
            assert of_text == truth.ids
            assert first == begins(truth.word_ids)
            several += first.count(False)
    assert several > 2, "there are words of more than one token"
    assert made.served == {way: 2}, made.obstacle


def test_chinese_characters_are_words_for_bert_and_signs_are() -> None:
    """Where the Hugging Face collator takes a whole sentence for one word (transformers #11768)."""
    tokenizer = wordpiece("\n".join(LANGUAGES.values()))
    texts = ["人人生而自由，在尊严", "don't, really?"]
    ids, starts = encoded(Tokens(tokenizer, words=True), texts)
    assert all(starts[0])
    words: list[str] = []
    for token, start in zip((tokenizer.id_to_token(i) for i in ids[1]), starts[1], strict=True):
        words = [*words, token] if start else [*words[:-1], words[-1] + token.removeprefix("##")]
    assert words == ["don", "'", "t", ",", "really", "?"]


def test_where_nothing_is_cut_a_word_begins_with_its_space() -> None:
    """Llama's and Gemma's: `word_ids` knows one word, the document; what is written for a space tells more."""
    llama = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    llama.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=["<unk>"], show_progress=False)
    llama.train_from_iterator(["▁all", "▁human", "▁beings", "▁are", "▁born", "▁free", "▁and", "▁equal"] * 5, trainer)
    whole = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    whole.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    small = trainers.BpeTrainer(vocab_size=25, special_tokens=["<unk>"], show_progress=False)
    whole.train_from_iterator(["all human beings are born free and equal"] * 2, small)
    for tokenizer in (llama, whole):
        text = "all human beings are born equal"
        assert set(tokenizer.encode(text).word_ids) == {0}
        ids, starts = encoded(Tokens(tokenizer, words=True), [text, text])
        pieces = [tokenizer.id_to_token(i) for i in ids[0]]
        assert starts[0] == starts[1] == [i == 0 or piece.startswith("▁") for i, piece in enumerate(pieces)]
        assert starts[0].count(True) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_are_added_are_words_by_themselves(kind: str) -> None:
    make, _ = KINDS[kind]
    tokenizer = make(LANGUAGES["English"])
    tokenizer.add_special_tokens(["[MASK]", "<extra_id_0>"])
    tokenizer.add_tokens([AddedToken("covid", normalized=False)])
    texts = ["free[MASK]equal [MASK] [MASK] <extra_id_0>,covids acovid", "[MASK]", "beings [MASK]beings"]
    for literal in (True, False):
        made = Tokens(Tokenizer.from_str(tokenizer.to_str()), words=True, literal=literal)
        tokenizer.encode_special_tokens = not literal
        ids, starts = encoded(made, texts)
        for text, of_text, first in zip(texts, ids, starts, strict=True):
            truth = tokenizer.encode(text, add_special_tokens=False)
            assert of_text == truth.ids
            assert first == begins(truth.word_ids)
        mask = tokenizer.token_to_id("[MASK]")
        assert any(mask in of_text for of_text in ids) is literal


@pytest.mark.parametrize("kind", KINDS)
def test_documents_that_touch_are_tokenised_apart(kind: str) -> None:
    """As the sentences of Chinese text do."""
    make, _ = KINDS[kind]
    tokenizer = make("\n".join(LANGUAGES.values()))
    text = LANGUAGES["Chinese"].encode() + LANGUAGES["English"].encode()
    bounds = np.array([0, *(i + 3 for i in range(len(text)) if text[i : i + 3] == "。".encode()), len(text)])
    block = pack([text], [0])._replace(starts=bounds[:-1], ends=bounds[1:], positions=bounds[:-1])
    raw, offsets = Tokens(Tokenizer.from_str(tokenizer.to_str()), words=True).encode(block)
    for i, (low, high) in enumerate(pairwise(offsets)):
        truth = tokenizer.encode(block.text(i), add_special_tokens=False)
        assert (raw[low:high] & ~CONTINUES_WORD).tolist() == truth.ids
        assert ((raw[low:high] & CONTINUES_WORD) == 0).tolist() == begins(truth.word_ids)


def test_without_words_no_token_says_so() -> None:
    tokenizer = wordpiece(LANGUAGES["English"])
    ids, _ = Tokens(tokenizer).encode(pack([LANGUAGES["English"].encode()], [0]))
    assert not (ids & CONTINUES_WORD).any()
