"""Token ids: the same as the tokenizer's own, whatever the text, and the same vocabulary in every process."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pseudolabel.contracts import Sample, splits
from pseudolabel.readers.text.blocks import Block, pack
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.transforms.text import tokenize
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens, slices
from pseudolabel.transforms.text.vocabulary import SPECIAL_NAMES, train_wordpiece

TEXT = Path(__file__).parents[3] / "shared" / "data" / "text"
ENGLISH = "The cat is on the table, isn't it? She looked up at the far hills; nobody had come back from there. "
WORLD = (
    "Où est l'été? Cœur naïf — «déjà vu». Ελληνικά και ΣΟΦΟΣ. Привет, мир! 中文字符，测试。日本語のテキスト。 "
    "한국어 텍스트 हिन्दी ภาษาไทย العربية 👩\u200d👧 ☕\ufe0f a\u0301e\u0308 x\u200by\u00a0z\ufeffw "
)
WORDS = (
    "the cat is Été e\u0301 \u0301 , . ' [ ] [MASK] [SEP] [PAD] [UNK] [MASK [mask] don't 3.14 a_b １２ ½ ﬁ ΣΑΣ İ 👍🏽"
)
SPACED = "I'll 's '-s ,'s a' 'S 1st, x=1 <mask> <s> <|end|> ▁ _ Ġ ” » à т 스 語 ﷺ ´ \u0338 \u2009 \u205f \u1680"
LETTERS = "中文あア한ษ𠀀㐀倀鿿䷿豈\u00a0\u200b\u200d\u2028\u3000\ufeff\u00ad\x00\x0b\x0c\x1f\x7f\x85\ufffd  \n\t\r"
FRAGMENTS = [*WORDS.split(" "), *SPACED.split(" "), *LETTERS, "  ", "   ", " ", " ", "\r\n", "x" * 101, "é" * 120]


def wordpiece(lower: bool) -> Tokenizer:
    text = (ENGLISH + WORLD) * 3
    made = train_wordpiece([text.lower() if lower else text], 1200)
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    return made


def trained(model: object, trainer: object, cutter: object, *specials: str | AddedToken) -> Tokenizer:
    made = Tokenizer(model)
    made.pre_tokenizer = cutter
    made.train_from_iterator([ENGLISH + WORLD] * 3, trainer)
    made.add_special_tokens(list(specials or ("[CLS]", "[SEP]", "[PAD]", "[MASK]")))
    return made


def byte_level(*specials: str | AddedToken) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made = trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False), *specials)
    made.decoder = decoders.ByteLevel()
    return made


def bpe() -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>"], show_progress=False)
    made = trained(models.BPE(unk_token="<unk>"), trainer, pre_tokenizers.WhitespaceSplit())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return made


def unigram(cutter: object) -> Tokenizer:
    trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    return trained(models.Unigram(), trainer, cutter)


def with_words(*added: AddedToken) -> Tokenizer:
    made = wordpiece(True)
    made.add_tokens(list(added))
    return made


KINDS = {
    "cased": (lambda: wordpiece(False), True),
    "uncased": (lambda: wordpiece(True), True),
    "whitespace bpe": (bpe, True),
    "whitespace unigram": (lambda: unigram(pre_tokenizers.Whitespace()), True),
    "byte-level bpe": (byte_level, True),
    "metaspace unigram": (lambda: unigram(pre_tokenizers.Metaspace()), True),
    "metaspace unigram, uncut": (lambda: unigram(pre_tokenizers.Metaspace(split=False)), False),
    "added raw": (lambda: with_words(*(AddedToken(text, normalized=False) for text in ("cat-table", "é,"))), True),
    "added normalised": (lambda: with_words(AddedToken("Cat, is", normalized=True)), False),
    "added normalised, one word": (lambda: with_words(AddedToken("Cat,is", normalized=True)), True),
    "added and stripping": (lambda: with_words(AddedToken("cat", lstrip=True, normalized=False)), False),
}  # fmt: skip


def documents() -> list[str]:
    """Nasty strings, put together at random but always the same."""
    dice = random.Random(7)
    made = ["".join(dice.choices(FRAGMENTS, k=dice.randint(0, 40))) for _ in range(400)]
    return [ENGLISH + WORLD, "", " ", "[MASK]", "cat-table Cat,is é,[MASK]cat-tables Cat, is cat,is\tcat", *made]


def check(tokenizer: Tokenizer, made: Tokens, block: Block, words: bool = False) -> None:
    ids, offsets = made.encode(block)
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    texts = [block.text(i) for i in range(len(block.starts))]
    call = tokenizer.encode_batch if words else tokenizer.encode_batch_fast
    plain = call(texts, add_special_tokens=False)
    assert offsets.tolist() == [0, *np.cumsum([len(x) for x in plain]).tolist()]
    truth = np.array([i for x in plain for i in x.ids], np.int32)
    if words:
        truth[[i == j for x in plain for i, j in pairwise([None, *x.word_ids])]] |= CONTINUES_WORD
    assert ids.tolist() == truth.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_tokenizer_called_plainly(kind: str) -> None:
    make, is_fast = KINDS[kind]
    tokenizer = make()
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()))
    for _ in range(2):  # the second time chunks are known
        check(tokenizer, made, pack([text.encode() for text in documents()], range(405)))
    assert made.served == {"fast" if is_fast else "plain": 2}
    assert bool(made.obstacle) is not is_fast


KEEPERS = {
    "byte-level": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "byte-level, with a space set before": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "metaspace": pre_tokenizers.Metaspace(),
    "metaspace, set before the first": pre_tokenizers.Metaspace(prepend_scheme="first"),
    "metaspace, never set before": pre_tokenizers.Metaspace(prepend_scheme="never"),
    "metaspace by another sign": pre_tokenizers.Metaspace(replacement="_"),
}
NORMALIZERS = {
    "as it is": normalizers.Sequence([]),
    "composed": normalizers.NFC(),
    "compatible": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    "without accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "BERT's": normalizers.BertNormalizer(),
}
# As RoBERTa, GPT-2, ModernBERT and BERT have them.
ADDED = [
    AddedToken("<mask>", lstrip=True, normalized=False),
    AddedToken("<s>", normalized=True),
    AddedToken("<|end|>", normalized=True),
    *(AddedToken(" " * n, special=False, normalized=True) for n in (2, 3)),
    AddedToken("[MASK]", normalized=False),
]


def keeper(cutter: str, normal: str, added: list[AddedToken]) -> Tokenizer:
    made = byte_level("<pad>") if cutter.startswith("byte-level") else unigram(pre_tokenizers.Metaspace())
    made.pre_tokenizer, made.normalizer = KEEPERS[cutter], NORMALIZERS[normal]
    made.add_special_tokens([token for token in added if token.content.strip()])
    made.add_tokens([token for token in added if not token.content.strip()])
    return made


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("normal", NORMALIZERS)
@pytest.mark.parametrize("cutter", KEEPERS)
def test_words_that_have_a_space_before_them(cutter: str, normal: str, literal: bool) -> None:
    odd = ["a [MASK] b", "a[MASK]b", "[MASK] [MASK]", "a <mask>b", "a  <mask> b<s>c <S>  d<|END|>,", " a"]
    texts = [*odd, *documents()[::6], ""]
    for added in ([], ADDED):
        tokenizer = keeper(cutter, normal, added)
        made = Tokens(Tokenizer.from_str(tokenizer.to_str()), words=True, literal=literal)
        tokenizer.encode_special_tokens = not literal
        check(tokenizer, made, pack([text.encode() for text in texts], range(len(texts))), words=True)
        assert made.served == {"fast": 1}, made.obstacle


@pytest.mark.parametrize(
    "normal", [n if n in ("composed", "BERT's") else pytest.param(n, marks=pytest.mark.slow) for n in NORMALIZERS]
)
def test_whatever_character_stands_before_a_space(normal: str) -> None:
    """All of Unicode's first plane but for the ideographs, and some beyond."""
    codes = [*range(1, 0x3400), *range(0xF900, 0x10000), *range(0x1D400, 0x1D800, 8), 0x20000, 0xE0001]
    text = "".join(f"x{chr(code)} y{chr(code)}  z,\n" for code in codes)
    tokenizer = keeper("byte-level", normal, [])
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()), words=True)
    check(tokenizer, made, pack([text.encode()], [0]), words=True)
    assert made.served == {"fast": 1}, made.obstacle


def test_tokens_that_lie_across_white_space_are_sought_document_by_document() -> None:
    for added in (AddedToken("cat is"), AddedToken("cat", rstrip=True), AddedToken("cat", single_word=True)):
        tokenizer = keeper("byte-level", "composed", [])
        tokenizer.add_tokens([added])
        made = Tokens(Tokenizer.from_str(tokenizer.to_str()))
        check(tokenizer, made, pack([b"the cat is on the cat  table catcat is"], [0]))
        assert made.obstacle.startswith(f"its token '{added.content}' depends"), made.obstacle


@pytest.mark.parametrize("lower", [False, True])
def test_what_lies_between_documents_is_nobodys(lower: bool) -> None:
    tokenizer = wordpiece(lower)
    data = b"\xff\xfe{[MA" + "SK] été,".encode() + b" \xe4\xb8[MASK" + b"cat" + b"\n" + b"\n]\xf0," + b"the" + b"\r\xff"
    starts = [data.index(word) for word in (b"SK]", b"cat", b"\n]", b"the")]
    ends = [data.index(b" \xe4"), data.index(b"\n\n"), data.index(b"\n]"), data.index(b"\r\xff")]
    check(tokenizer, Tokens(tokenizer), Block(np.frombuffer(data, np.uint8), *np.array([starts, ends, starts])))
    empty = np.empty(0, np.int64)
    check(tokenizer, Tokens(tokenizer), Block(np.empty(0, np.uint8), empty, empty, empty))


@pytest.mark.parametrize("make", [lambda: wordpiece(True), byte_level])
def test_a_long_document_is_worked_through_in_slices(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make()  # type: ignore[operator]
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()))
    monkeypatch.setattr(tokenize, "SLICE_BYTES", 999)
    monkeypatch.setattr(tokenize, "MAX_CACHED_CHUNKS", 50)  # forgotten again and again
    block = pack([((ENGLISH + WORLD) * n).encode() for n in (1, 40, 1, 0, 7)], range(5))
    check(tokenizer, made, block)


@pytest.mark.parametrize("make", [lambda: wordpiece(True), byte_level])
@pytest.mark.parametrize("bits", [2, 19])
def test_chunks_that_are_alike_or_share_a_slot_keep_their_ids(
    make: object, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make()  # type: ignore[operator]
    monkeypatch.setattr(tokenize, "SLOT_SHIFT", np.uint64(64 - bits))
    words = [word + "e" * n for n in range(20) for word in ("a", "theca", "été", "a\0")]
    words += ["thecathecathecathe", "thecathecathecaeth"]
    block = pack([" ".join(words).encode(), " ".join(words[::-1] * 2).encode()], range(2))
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()))
    for _ in range(2):
        check(tokenizer, made, block)


def test_slices_end_where_they_may() -> None:
    data = np.frombuffer("ab cdé".encode() * 600_000, np.uint8)
    cut = list(slices(data, data == ord(" "), 0, len(data)))
    assert [low for low, _ in cut] + [len(data)] == [0] + [high for _, high in cut]
    assert max(high - low for low, high in cut) <= tokenize.SLICE_BYTES
    assert all(data[low] == ord(" ") for low, _ in cut[1:])
    for low, high in slices(data, np.zeros(len(data), bool), 0, len(data)):
        assert 0 < high - low <= tokenize.SLICE_BYTES
        data[low:high].tobytes().decode()


@pytest.mark.skipif(not TEXT.exists(), reason="the shared data are not here")
def test_ids_on_documents_of_the_shared_texts() -> None:
    reader, blocks = TextReader(TextOptions()), []
    for path in sorted(path for path in TEXT.rglob("*") if path.is_file()):
        extents = reader.scan(path.name, str(path), path.stat().st_size)
        blocks += [s.payload for s in reader.read(extents, splits(0.0)[0]) if isinstance(s, Sample)]
    tokenizer = train_wordpiece([text.decode() for block in blocks[::40] for text in block.texts()], 3000)
    made = Tokens(Tokenizer.from_str(tokenizer.to_str()))
    assert len(blocks) > 100
    assert sum(len(block.starts) for block in blocks) > 10_000
    for block in blocks[::8]:
        check(tokenizer, made, block)
    assert made.served["fast"] > 0.95 * made.served.total()


def test_the_vocabulary_is_the_same_in_every_process() -> None:
    program = (
        "import sys, hashlib; from pseudolabel.transforms.text.vocabulary import train_wordpiece; t = sys.stdin.read();"
        "print(hashlib.sha256(train_wordpiece([t, t.upper()], 900).to_str().encode()).hexdigest())"
    )
    text = (ENGLISH + WORLD) * 20 + " ".join(documents()).replace("\r", " ")
    run = [
        subprocess.run(
            [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True,
            encoding="utf-8", env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONUTF8": "1"},
        ).stdout.strip()
        for seed in range(3)
    ]  # fmt: skip
    here = hashlib.sha256(train_wordpiece([text, text.upper()], 900).to_str().encode()).hexdigest()
    assert {*run} == {here}


def test_the_vocabulary_of_little_or_nothing() -> None:
    assert train_wordpiece([], 1000).get_vocab() == {token: i for i, token in enumerate(SPECIAL_NAMES)}
    made = train_wordpiece(["ab ab, ab\n中中 a\u200bb"], 1000)
    vocabulary = made.get_vocab()
    assert [made.id_to_token(i) for i in range(5)] == list(SPECIAL_NAMES)
    assert {"a", "##b", "ab", ",", "中"} <= set(vocabulary)
    assert not {"##中", "##,", "\u200b", " "} & set(vocabulary)
    assert made.encode("ab, [MASK]").tokens == ["[CLS]", "ab", ",", "[MASK]", "[SEP]"]
    assert len(train_wordpiece([ENGLISH * 9 + "".join(map(chr, range(0x4E00, 0x9000)))], 1000).get_vocab()) <= 1000
    assert json.loads(made.to_str())["model"]["type"] == "WordPiece"
