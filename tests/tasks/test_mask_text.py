"""mask-text: what is hidden, how much of it and how, and that nothing else happens to the text."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from token_rows import SOURCE, TEXT, label, matrix, novel, samples, undone
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pseudolabel.contracts import Sample, UserError
from pseudolabel.readers.text.blocks import pack
from pseudolabel.tasks.mask_text import MaskText
from pseudolabel.transforms.text import packing
from pseudolabel.transforms.text.detokenize import CUT
from pseudolabel.transforms.text.masks import MaskingParams, Replace, choose, replace_masked
from pseudolabel.transforms.text.special_tokens import SpecialTokens
from pseudolabel.transforms.text.vocabulary import train_wordpiece


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "bert.json"
    train_wordpiece([(TEXT + TEXT.lower() + "été 中文 ") * 9], 1000).save(str(path))
    return path


def stream(tokenizer: Tokenizer, source: list[Sample]) -> list[int]:
    """What all rows hold when their [CLS], their own [SEP] and the padding are gone."""
    texts = [text.decode() for sample in source for text in sample.payload.texts()]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    joined = [i for some in ids if some for i in [*some, tokenizer.token_to_id("[SEP]")]]
    return joined[:-1]


@pytest.fixture(params=[1, 2000, packing.MIN_BLOCK_BYTES], ids=lambda size: f"by {size} bytes")
def grouping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks taken one by one, a few and all at once."""
    monkeypatch.setattr(packing, "MIN_BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("grouping")
@pytest.mark.parametrize("length", [4, 5, 16, 128, 129])
def test_rows_hold_the_whole_stream_and_nothing_else(length: int, tokenizer_file: Path, tmp_path: Path) -> None:
    source = samples(*SOURCE)
    table = label(MaskText(tokenizer=str(tokenizer_file), length=length), source, tmp_path)
    ids, attention = undone(table), matrix(table, "attention_mask")
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    pad, cls, sep = (tokenizer.token_to_id(token) for token in ("[PAD]", "[CLS]", "[SEP]"))
    assert ids.shape[1] == length
    assert (ids[:, 0] == cls).all()
    used = attention.sum(1)
    assert (used[:-1] == length).all()
    assert (np.sort(attention, 1)[:, ::-1] == attention).all()
    assert (ids[np.arange(len(ids)), used - 1] == sep).all()
    assert (ids[attention == 0] == pad).all()
    held = [row[1 : n - 1] for row, n in zip(ids.tolist(), used.tolist(), strict=True)]
    every = stream(tokenizer, source)
    rows = [every[i : i + length - 2] for i in range(0, len(every), length - 2)]
    assert held == [row for row in rows if max(row) > 4]  # a row of special tokens and [UNK] asks for nothing


@pytest.mark.usefixtures("grouping")
def test_rows_are_as_few_as_can_be(tokenizer_file: Path, tmp_path: Path) -> None:
    for n in range(1, 14):
        for source in (samples(["cat " * n]), samples(["cat " * n], ["cat"])):
            table = label(MaskText(tokenizer=str(tokenizer_file), length=5), source, tmp_path)
            tokens = n if len(source) == 1 else n + 2  # a [SEP] between them, too
            assert matrix(table, "attention_mask").sum() == tokens + 2 * table.num_rows
            assert table.num_rows == -(-tokens // 3)


@pytest.mark.usefixtures("grouping")
def test_a_key_says_where_the_row_begins(tokenizer_file: Path, tmp_path: Path) -> None:
    source = samples(*SOURCE) + samples([novel(50, 1)], file="b/c.txt") + samples([novel(99, 2)], file="d.txt")
    table = label(MaskText(tokenizer=str(tokenizer_file), length=20), source, tmp_path)
    keys = table["key"].to_pylist()
    assert len(set(keys)) == len(keys)
    tokenizer, sep = Tokenizer.from_file(str(tokenizer_file)), 3
    texts = {
        f"{sample.key.partition('#')[0]}#{position}": text.decode()
        for sample in source
        for position, text in zip(sample.payload.positions.tolist(), sample.payload.texts(), strict=True)
    }
    for key, row in zip(keys, undone(table).tolist(), strict=True):
        name, _, offset = key.rpartition("+")
        ids = [*tokenizer.encode(texts[name], add_special_tokens=False).ids, sep]
        assert row[1:19][: len(ids) - int(offset)] == ids[int(offset) :][:18]


@pytest.mark.usefixtures("grouping")
def test_pieces_of_one_document_have_keys_of_their_own(tokenizer_file: Path, tmp_path: Path) -> None:
    pieces = [novel(200, seed).encode() for seed in range(6)]
    blocks = [pack([novel(9, 9).encode(), pieces[0]], [0, 7]), *(pack([piece], [7]) for piece in pieces[1:5])]
    blocks.append(pack([pieces[5], b"the end"], [7, 999]))
    source = [Sample("a.txt#0-9", block, {}, len(block.starts)) for block in blocks]
    keys = label(MaskText(tokenizer=str(tokenizer_file), length=30), source, tmp_path)["key"].to_pylist()
    offsets = [int(key.removeprefix("a.txt#7+")) for key in keys if key.startswith("a.txt#7+")]
    assert len(offsets) > 30
    assert set(np.diff(offsets).tolist()) == {28}


@pytest.mark.parametrize("ratio", [0.001, 0.15, 0.5, 1.0])
def test_the_budget_of_every_row_is_exact(ratio: float, tokenizer_file: Path, tmp_path: Path) -> None:
    source = samples(*SOURCE, ["[MASK][SEP] " * 400])
    table = label(MaskText(tokenizer=str(tokenizer_file), length=32, ratio=ratio), source, tmp_path)
    plain = np.array([(row > 4).sum() for row in undone(table)])  # 0 to 4 are the special ones
    told = (matrix(table, "labels") != -100).sum(1)
    assert told.tolist() == [max(1, round(ratio * n)) for n in plain.tolist()]
    assert plain.all(), "a row that asks for nothing is none"


def test_special_tokens_are_neither_hidden_nor_drawn(tokenizer_file: Path, tmp_path: Path) -> None:
    source = samples([novel(60_000, 1)])
    table = label(MaskText(tokenizer=str(tokenizer_file), ratio=0.5), source, tmp_path)
    ids, labels, before = matrix(table, "input_ids"), matrix(table, "labels"), undone(table)
    told = labels != -100
    assert (before[:, 1:-1] == 4).sum() > 500  # literal [MASK]s
    assert (labels[told] > 4).all()
    assert (ids[~told] == before[~told]).all()
    changed = told & (ids != before)
    assert ((ids[changed] == 4) | (ids[changed] > 4)).all()
    drawn = ids[changed & (ids != 4)]
    size = Tokenizer.from_file(str(tokenizer_file)).get_vocab_size()
    assert set(drawn.tolist()) == set(range(5, size))  # all others are drawn at some time


def test_tokens_declared_special_are(tokenizer_file: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.add_special_tokens(["[DOC]"])
    tokenizer.add_tokens(["covid"])
    special, size = SpecialTokens.of(tokenizer), tokenizer.get_vocab_size()
    assert np.flatnonzero(special.table).tolist() == [0, 1, 2, 3, 4, size - 2]
    assert special.pool.tolist() == [*range(5, size - 2), size - 1]


def test_eighty_ten_ten_and_everywhere_alike() -> None:
    rng = np.random.default_rng(3)
    special = SpecialTokens(2, 3, 0, 4, 1, np.arange(5000) < 5, np.arange(5, 5000, dtype=np.int32), {})
    ids = rng.integers(5, 5000, (4000, 128), np.int32)
    candidates = np.ones(ids.shape, bool)
    candidates[:, [0, -1]] = False
    picked = choose(candidates, np.zeros_like(candidates), MaskingParams(), rng)
    shown, chosen = replace_masked(ids, picked, special, Replace.token, rng), picked.tokens
    n, masked, same = chosen.sum(), (shown == 4)[chosen].mean(), (shown == ids)[chosen].mean()
    assert n == 4000 * 19
    assert abs(masked - 0.8) < 5 * np.sqrt(0.16 / n)
    assert abs(same - 0.1 - 0.1 / 4995) < 5 * np.sqrt(0.09 / n)
    by_column = chosen.sum(0)
    assert not by_column[[0, -1]].any()
    expected = 4000 * 19 / 126
    assert (abs(by_column[1:-1] - expected) < 5 * np.sqrt(expected * (1 - 19 / 126))).all()
    pairs = (chosen[:, 1:126] & chosen[:, 2:127]).mean()  # neighbours are chosen independently
    assert abs(pairs - 19 * 18 / (126 * 125)) < 0.001
    free = choose(candidates, np.zeros_like(candidates), MaskingParams(bernoulli=True), rng).tokens
    assert abs(free.sum() - 0.15 * 4000 * 126) < 5 * np.sqrt(4000 * 126 * 0.1275)
    assert free.sum(1).std() > 3
    assert not free[:, [0, -1]].any()


def picked(candidates: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    return choose(candidates, np.zeros_like(candidates), MaskingParams(ratio=ratio), rng).tokens


def test_budget_of_rows_without_candidates_and_of_long_ones() -> None:
    rng = np.random.default_rng(0)
    assert picked(np.zeros((0, 9), bool), 0.15, rng).shape == (0, 9)
    assert not picked(np.zeros((3, 9), bool), 1.0, rng).any()
    assert picked(np.ones((3, 64), bool), 1.0, rng).all()
    assert (picked(np.ones((2, 5000), bool), 0.3, rng).sum(1) == 1500).all()


def test_the_budget_is_exact_even_if_chance_repeats_itself() -> None:
    class Stuck:
        def integers(self, low: int, high: int, shape: tuple[int, int], kind: type, endpoint: bool) -> np.ndarray:
            return np.full(shape, high, kind)

    candidates = np.arange(128) % 2 == np.array([[0], [1]])
    chosen = picked(candidates, 0.25, Stuck())  # type: ignore[arg-type]
    assert chosen.sum(1).tolist() == [16, 16]
    assert not (chosen & ~candidates).any()


def test_copies_are_masked_afresh_and_chance_is_the_only_one(tokenizer_file: Path, tmp_path: Path) -> None:
    source, task = samples(*SOURCE), MaskText(tokenizer=str(tokenizer_file))
    three = label(task, source, tmp_path, copies=3)
    copies = [three.filter(pa.compute.equal(three["copy"], i)) for i in range(3)]
    assert copies[0].equals(label(task, source, tmp_path))
    assert not copies[0].equals(label(task, source, tmp_path, seed=1))
    for other in copies[1:]:
        assert (undone(other) == undone(copies[0])).all()
        assert other["key"].equals(copies[0]["key"])
        assert ((matrix(other, "labels") != matrix(copies[0], "labels")).any(1)).mean() > 0.9


def test_a_person_can_read_it(tokenizer_file: Path, tmp_path: Path) -> None:
    source = samples(["The cat is on the table. [MASK] nobody had", "come back."], ["été"])
    table = label(MaskText(tokenizer=str(tokenizer_file), as_text=True, ratio=0.3), source, tmp_path)
    (row,) = table.to_pylist()
    text = row["text"]
    assert text.count("[MASK]") == len(row["answers"]) > 3
    for answer in row["answers"]:
        text = text.replace("[MASK]", answer, 1)
    assert text.replace(" .", ".").split("\n") == ["The cat is on the table. nobody had", "come back.", "été"]
    several = label(MaskText(tokenizer=str(tokenizer_file), as_text=True, length=16), samples(*SOURCE), tmp_path)
    for row in several.to_pylist():
        assert row["text"].count("[MASK]") == len(row["answers"]) == sum(i != -100 for i in row["labels"])
        assert not any(token in row["text"] for token in ("[CLS]", "[SEP]", "[PAD]"))


def test_pieces_of_words_read_well(tmp_path: Path) -> None:
    roberta = Tokenizer(models.BPE())
    roberta.pre_tokenizer, roberta.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    roberta.train_from_iterator([TEXT] * 9, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    roberta.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>", AddedToken("<mask>", lstrip=True)])
    roberta.save(str(tmp_path / "roberta.json"))
    bert = train_wordpiece(["the un able"], 100)
    bert.save(str(tmp_path / "bert.json"))
    for name, text in (("roberta", "The cat is on the table. Xyz"), ("bert", "the une table")):
        task = MaskText(tokenizer=str(tmp_path / f"{name}.json"), as_text=True, ratio=1.0)
        (row,) = label(task, samples([text]), tmp_path).to_pylist()
        pieces = [word.count("[MASK]") for word in row["text"].split(" ")]
        ends = np.cumsum(pieces).tolist()
        spelt = ["".join(row["answers"][end - n : end]) for n, end in zip(pieces, ends, strict=True)]
        assert " ".join(spelt) == text  # a blank continues a word where the piece does
        assert max(pieces) > 1


def test_blanks_stand_where_the_pieces_stood(tmp_path: Path) -> None:
    """Whatever letters a vocabulary has, and where words are marked at their ends."""
    bert = train_wordpiece(["Ġ il Ġgaw ▁ ▁a ab gawgaw"] * 3, 200)
    bpe = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=40, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(["il gawgaw ab abil"] * 3, trainer)
    bpe.add_special_tokens(["<s>", "</s>", "<pad>", "<mask>"])
    for tokenizer, given in ((bert, "Ġgaw il gawgaw ▁ ▁a ab"), (bpe, "ab il gawgaw ab il")):
        tokenizer.save(str(tmp_path / "given.json"))
        task = MaskText(tokenizer=str(tmp_path / "given.json"), as_text=True, ratio=0.5)
        (row,) = label(task, samples([given]), tmp_path).to_pylist()
        text = row["text"]
        for answer in row["answers"]:
            text = text.replace("[MASK]", answer, 1)
        assert text == given


def test_text_of_bytes_is_cut_between_characters(tmp_path: Path) -> None:
    """A vocabulary of single bytes, and one that falls back to bytes: the answers fill the blanks of the text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "</s>", "<pad>", "<mask>"]
    level = Tokenizer(models.BPE({piece: i for i, piece in enumerate([*names, *alphabet])}, []))
    level.pre_tokenizer, level.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    pieces = [*names, *(f"<0x{i:02X}>" for i in range(256)), "▁", *"abcxyz"]
    back = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [], byte_fallback=True))
    back.normalizer = normalizers.Replace(" ", "▁")
    back.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    texts = ["中文字符测试 的一是不了", "привет мир где ты был", "👩\u200d👧 ☕\ufe0f 👍🏽 abc", "a \ufffd b xyz é"]
    for name, made in (("level", level), ("back", back)):
        made.add_special_tokens(names)
        made.save(str(tmp_path / f"{name}.json"))
        for options in ({}, {"unit": "word"}, {"unit": "span", "ratio": 0.4}, {"bernoulli": True}):
            task = MaskText(tokenizer=str(tmp_path / f"{name}.json"), as_text=True, **options)
            for text in texts:
                for row in label(task, samples([text]), tmp_path, copies=6).to_pylist():
                    shown = row["text"]
                    assert shown.count("[MASK]") == len(row["answers"]) > 0
                    assert CUT not in shown + "".join(row["answers"]) or CUT in text
                    for answer in row["answers"]:  # a blank for a space keeps its mark, so its answer is ""
                        shown = shown.replace("[MASK]", answer, 1)
                    assert shown.split() == text.split()
                    labeler = task.labeler(tmp_path)
                    (drawn,) = labeler.draw(row)
                    assert "".join(span.text for span in drawn.spans).split() == text.split()
                    assert CUT not in "".join(span.note for span in drawn.spans)
            short = label(dataclasses.replace(task, length=12), samples(texts[:3] * 9), tmp_path).to_pylist()
            assert all(row["text"].count("[MASK]") == len(row["answers"]) for row in short)
            assert not any(CUT in row["text"] for row in short), "rows end within characters"
            answers = {answer for row in short for answer in row["answers"]}
            assert all(answer in "".join(texts[:3]) for answer in answers), "a character that is cut has no answer"
            assert len(answers) > 5


def test_a_model_without_a_token_for_unknown_letters_is_refused(tmp_path: Path) -> None:
    """BPE leaves out letters that it does not know, such as U+00AD here, unless it has [UNK] or all bytes."""
    level, back = sorted(pre_tokenizers.ByteLevel.alphabet()), [f"<0x{i:02X}>" for i in range(0xF5)]
    vocabularies = [{piece: i for i, piece in enumerate(pieces)} for pieces in (["a"], level, level[:-1], back)]
    letters, all_bytes, most_bytes, fallback = vocabularies
    for model, tokens in (
        (models.BPE(letters, [], unk_token="a"), 1),
        (models.BPE(letters, []), 1),
        (models.BPE(all_bytes, []), 2),
        (models.BPE(most_bytes, []), 2),
        (models.BPE(fallback, [], byte_fallback=True), 2),
        (models.BPE(fallback, []), 2),
        (models.BPE(all_bytes, [], byte_fallback=True), 2),
        (models.Unigram([("a", 0.0)], 0), 1),
        (models.Unigram([("a", 0.0)]), 1),
        (models.WordLevel({"a": 0}, unk_token="[UNK]"), 1),
        (models.BPE(letters, [], unk_token="[UNK]"), 1),
    ):
        made = Tokenizer(model)
        if tokens == 2 and not made.encode("\u00ad").ids:
            made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        try:
            lost = len(made.encode("\u00ad").ids) < tokens
        except Exception:  # of the tokenizer
            lost = True
        made.add_special_tokens(["[MASK]", "[CLS]", "[SEP]", "[PAD]"])
        made.save(str(tmp_path / "given.json"))
        with pytest.raises(UserError, match=r"no token for letters|has no \[UNK\]") if lost else nullcontext():
            MaskText(tokenizer=str(tmp_path / "given.json"))


def test_the_vocabulary_is_learned_from_the_source(tmp_path: Path) -> None:
    task = MaskText(length=16)
    assert task.observed_megabytes
    table = label(task, samples([TEXT * 20]), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("hills", add_special_tokens=False).tokens == ["hills"]
    assert stream(tokenizer, samples([TEXT * 20]))[:14] == undone(table)[0, 1:15].tolist()
    assert label(MaskText(), samples([""]), tmp_path).num_rows == 0
    assert label(MaskText(), samples(["x"]), tmp_path).num_rows == 1


def test_the_given_tokenizer_is_kept_as_it_is(tokenizer_file: Path, tmp_path: Path) -> None:
    task = MaskText(tokenizer=str(tokenizer_file))
    assert not task.observed_megabytes
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    assert (tmp_path / "tokenizer.json").read_bytes() == tokenizer_file.read_bytes()
    options = task.options()
    assert options["tokenizer_sha256"] == hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    assert "tokenizer_sha256" not in MaskText().options()
    json.dumps(options)


@pytest.mark.parametrize(
    "bad",
    [{"length": 3}, {"length": 10**6}, {"ratio": 0.0}, {"ratio": 1.5}, {"ratio": float("nan")}, {"vocab_size": 5}],
)
def test_bad_values_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(bad)).replace('_', '-')}"):
        MaskText(**bad)


def test_a_tokenizer_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        MaskText(tokenizer=str(tmp_path / "missing.json"))
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        MaskText(tokenizer=str(tmp_path))
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        MaskText(tokenizer=str(path))
    for missing in ("[MASK]", "[CLS]", "[SEP]", "[PAD]"):
        made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        made.add_special_tokens([token for token in ("[MASK]", "[CLS]", "[SEP]", "[PAD]") if token != missing])
        made.save(str(path))
        with pytest.raises(UserError, match=f"no token for \\{missing[:-1]}\\]\n(add|type) "):
            MaskText(tokenizer=str(path))
    made = Tokenizer(models.BPE(dropout=0.1))
    made.normalizer = normalizers.NFC()
    made.save(str(path))
    with pytest.raises(UserError, match="at random"):
        MaskText(tokenizer=str(path))
