"""order-sentences: which segments a row holds, and that its label is true of them."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from token_rows import samples
from tokenizers import Tokenizer, models, pre_tokenizers

from pseudolabel.contracts import Sample, Skipped, UserError, chance_for
from pseudolabel.readers.text.blocks import pack
from pseudolabel.tasks import order_sentences
from pseudolabel.tasks.base.task import Rows, row_columns
from pseudolabel.tasks.order_sentences import OrderSentences
from pseudolabel.transforms.text import packing
from pseudolabel.transforms.text.sentence_pairs import Negatives, truncate_pairs
from pseudolabel.transforms.text.vocabulary import train_wordpiece, wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words are tokens: "D3" for a document, "S17" for the number of a sentence in it, "w" for the rest of it."""
    names = [*SPECIAL, ".", "w", *(f"D{i}" for i in range(300)), *(f"S{i}" for i in range(2000))]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(SPECIAL)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


def document(number: int, sentences: int, first: int = 0) -> str:
    """`D3 S0 w w. D3 S1 w.` and so on; sentences have 4 to 9 tokens."""
    return " ".join(f"D{number} S{i} {'w ' * (i * 7 % 6)}w." for i in range(first, first + sentences))


def tokens_in(number: int) -> int:
    return 4 + number * 7 % 6


SIZES = [1, 2, 3, 60, 1, 7, 200, 2, 30, 1, 12, 90]
SOURCE = (
    [document(i, size) for i, size in enumerate(SIZES[:5])],
    [document(i + 5, size) for i, size in enumerate(SIZES[5:7])],
    ["", "\x0b", *(document(i + 7, size) for i, size in enumerate(SIZES[7:]))],
)


def label(task: OrderSentences, source: list[Sample], folder: Path, copies: int = 1) -> tuple[list[Any], list[Skipped]]:
    """The rows and what was left out; every document is one or the other."""
    task.fit(iter(()), folder, np.random.default_rng(0))
    made = list(task.labeler(folder).label(iter(source), chance_for(0, task.name), copies))
    rows, skipped = [m for m in made if isinstance(m, Rows)], [m for m in made if isinstance(m, Skipped)]
    assert sum(r.count for r in rows) + sum(s.count for s in skipped) == sum(sample.count for sample in source)
    schema = pa.schema([(column.name, column.arrow) for column in row_columns(task)])
    return pa.Table.from_batches([row.rows for row in rows], schema).to_pylist(), skipped


Sentence = tuple[int, int]  # document, number


def segments(row: dict[str, Any], tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """The names of the tokens of both segments, found by token types, with all that a row must have around them."""
    names = [tokenizer.id_to_token(i) for i in row["input_ids"]]
    used, types = sum(row["attention_mask"]), row["token_type_ids"]
    assert row["attention_mask"] == [1] * used + [0] * (len(names) - used)
    second = sum(types)
    first = used - second
    assert types == [0] * first + [1] * second + [0] * (len(names) - used)
    assert set(names[used:]) <= {"[PAD]"}
    assert names[0] == "[CLS]"
    assert names[first - 1] == names[used - 1] == "[SEP]"
    a, b = names[1 : first - 1], names[first : used - 1]
    assert a, "no segment is empty"
    assert b
    assert "[SEP]" not in a + b
    return a, b


def read(names: list[str]) -> list[Sentence]:
    """Which sentences these tokens are, if whole."""
    return [(int(d), int(s)) for d, s in re.findall(r"D(\d+) S(\d+)", " ".join(names))]


def follows(a: Sentence, b: Sentence) -> bool:
    return a[0] == b[0] and b[1] == a[1] + 1


@pytest.fixture(params=[1, packing.MIN_BLOCK_BYTES], ids=["block by block", "all at once"])
def grouping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(packing, "MIN_BLOCK_BYTES", request.param)
    return int(request.param)


@pytest.mark.usefixtures("grouping")
@pytest.mark.parametrize("length", [64, 1600])
def test_swapped_segments_are_told_from_those_in_order(length: int, tokenizer_file: Path, tmp_path: Path) -> None:
    """google-research/albert, create_pretraining_data.py: 338-343, half of the pairs change places; 0 is in order."""
    task = OrderSentences(tokenizer=str(tokenizer_file), length=length, short_share=1)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    rows, skipped = label(task, samples(*SOURCE), tmp_path, copies=40)
    labels = Counter(row["sentence_order_label"] for row in rows)
    assert abs(labels[1] / len(rows) - 0.5) < 5 * 0.5 / np.sqrt(len(rows))
    for row in rows:
        a, b = map(read, segments(row, tokenizer))
        if not a or not b:
            continue  # a segment of which little was left
        assert all(follows(*pair) for part in (a, b) for pair in pairwise(part))
        first, second = (b, a) if row["sentence_order_label"] else (a, b)
        assert second[0][0] == first[0][0], "of one document"
        assert second[0][1] > first[-1][1], "and in this order in it"
        if sum(row["attention_mask"]) < length:
            assert follows(first[-1], second[0]), "without a gap, where nothing had to go"
    reasons = {item.key: item.reason for item in skipped}
    assert reasons == {
        **dict.fromkeys(("a.txt#0", "a.txt#4", "a.txt#11"), "only one sentence, which makes no pair"),
        **dict.fromkeys(("a.txt#7", "a.txt#8"), "no sentence"),
    }
    assert not any(item.unusable for item in skipped)
    assert len({(row["key"], row["copy"]) for row in rows}) == len(rows)


@pytest.mark.usefixtures("grouping")
@pytest.mark.parametrize("negatives", list(Negatives))
def test_chunks_hold_every_sentence_once_and_in_order(
    negatives: Negatives, tokenizer_file: Path, tmp_path: Path
) -> None:
    """google-research/bert, create_pretraining_data.py: 292-293, what a random pair does not use is put back."""
    task = OrderSentences(tokenizer=str(tokenizer_file), length=1600, short_share=1, negatives=negatives)
    rows, skipped = label(task, samples(*SOURCE), tmp_path)
    tokenizer, used = Tokenizer.from_file(str(tokenizer_file)), []
    for row in rows:
        a, b = map(read, segments(row, tokenizer))
        if negatives == Negatives.random:
            used += a if row["next_sentence_label"] else [*a, *b]
        else:
            used += sorted([*a, *b])
    left_out = {int(item.key.removeprefix("a.txt#")) for item in skipped}
    places = [*range(7), *range(9, 14)]  # of the documents, between which there are empty ones
    whole = [(d, s) for d, size in enumerate(SIZES) for s in range(size) if places[d] not in left_out]
    assert used == whole


def test_random_segments_are_of_another_document(tokenizer_file: Path, tmp_path: Path) -> None:
    """google-research/bert, create_pretraining_data.py: 271 one sentence or a coin; 279-284 another document."""
    task = OrderSentences(tokenizer=str(tokenizer_file), length=1600, negatives="random", short_share=1)
    rows, skipped = label(task, samples(*SOURCE), tmp_path, copies=100)
    tokenizer, others = Tokenizer.from_file(str(tokenizer_file)), Counter[int]()
    assert {item.reason for item in skipped} == {"no sentence"}
    coins = []
    for row in rows:
        a, b = map(read, segments(row, tokenizer))
        if sum(row["attention_mask"]) == 1600:
            continue  # something had to go
        if row["next_sentence_label"]:
            assert a[0][0] != b[0][0]
            others.update([b[0][0]] if a[0][0] == 6 else [])
        else:
            assert follows(a[-1], b[0])
        assert all(follows(*pair) for part in (a, b) for pair in pairwise(part))
        if a[-1][1] + 2 < SIZES[a[-1][0]]:
            coins.append(row["next_sentence_label"])
    assert abs(np.mean(coins) - 0.5) < 0.05
    assert set(others) == set(range(12)) - {6}
    expected = others.total() / 11  # each document is as likely, however long
    assert sum((times - expected) ** 2 / expected for times in others.values()) < 10 + 5 * np.sqrt(20)


def test_of_one_document_alone_the_other_segment_is_from_elsewhere_in_it(tokenizer_file: Path, tmp_path: Path) -> None:
    task = OrderSentences(tokenizer=str(tokenizer_file), length=1600, negatives="random", short_share=1)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    rows, skipped = label(task, samples([document(1, 150)]), tmp_path, copies=60)
    labels = Counter(row["next_sentence_label"] for row in rows)
    assert min(labels[0], labels[1]) > 30
    for row in rows:
        a, b = map(read, segments(row, tokenizer))
        assert a[-1][1] + 1 == b[0][1] or row["next_sentence_label"]
        assert not set(a) & set(b)
    assert not skipped
    short = OrderSentences(tokenizer=str(tokenizer_file), length=12, negatives="random")
    for row in label(short, samples([document(1, 4)]), tmp_path, copies=60)[0]:  # a sentence fills the row
        a, b = map(read, segments(row, tokenizer))
        assert not row["next_sentence_label"] or not a or not b or not follows(a[-1], b[0])
    rows, skipped = label(task, samples([document(1, 2)]), tmp_path, copies=20)
    assert {row["next_sentence_label"] for row in rows} == {0}
    rows, skipped = label(task, samples([document(1, 1)]), tmp_path)
    assert (rows, [item.reason for item in skipped]) == ([], ["only one sentence, which makes no pair"])


Document = list[list[str]]  # sentences of tokens
Pair = tuple[tuple[str, ...], tuple[str, ...], int]  # both segments and the label


def walked(documents: list[Document], most: int, short: float, negatives: str, dice: random.Random) -> list[Pair]:
    """The pairs of documents, by the rules of create_pretraining_data.py, walked one by one.

    Numbers are lines of google-research/bert's; those after "albert" of google-research/albert's.
    """
    made: list[Pair] = []
    for own, document in enumerate(documents):
        i = 0 if negatives == "random" or len(document) > 1 else len(document)  # ours: one sentence has no order
        while i < len(document):
            target = dice.randint(2, most) if dice.random() < short else most  # 239-241
            k, total = 0, 0
            while i + k < len(document) and total < target:  # 251-256
                total += len(document[i + k])
                k += 1
            if negatives == "swapped":
                k = max(k, 2)  # ours: two at least
                k += len(document) - i - k == 1  # ours: none left over
            cut = dice.randint(1, k - 1) if k > 1 else 1  # 260-262
            a, b = (
                list(chain(*part)) for part in (document[i : i + cut], document[i + cut : i + k])
            )  # 264-266, 297-298
            false = (negatives == "random" and k == 1) or dice.random() < 0.5  # 271; albert 338
            if false and negatives == "swapped":
                a, b = b, a  # albert 343
            elif false:
                b, other = [], documents[(own + dice.randrange(1, len(documents))) % len(documents)]  # 279-284
                for sentence in other[dice.randrange(len(other)) :]:  # 285-286
                    b = b + sentence
                    if len(b) >= target - len(a):  # 273, 288
                        break
                k = cut  # 292-293
            while len(a) + len(b) > most:  # 420-423
                longer = a if len(a) > len(b) else b  # 425
                longer.pop(0 if dice.random() < 0.5 else -1)  # 430-433
            made.append((tuple(a), tuple(b), int(false)))
            i += k
    return made


@pytest.mark.parametrize("negatives", list(Negatives))
@pytest.mark.parametrize("most", [9, *(pytest.param(most, marks=pytest.mark.slow) for most in (6, 17))])
def test_rows_are_as_frequent_as_the_reference_makes_them(negatives: Negatives, most: int, tmp_path: Path) -> None:
    kinds = [[2, 3], [4, 1, 3], [5, 2, 6, 2], [1, 1, 1, 1, 1, 1], [9, 3], [1]]  # tokens of each sentence
    texts = [[[f"{i}.{j}.{k}" for k in range(n)] for j, n in enumerate(kind)] for i, kind in enumerate(kinds)] * 1500
    names = [*SPECIAL, *dict.fromkeys(token for text in texts for sentence in text for token in sentence)]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "words.json"))
    options: dict[str, Any] = {"length": most + 3, "negatives": negatives, "short_share": 0.4}
    task = OrderSentences(tokenizer=str(tmp_path / "words.json"), sentence_per_line=True, **options)
    rows, _ = label(task, samples(["\n".join(map(" ".join, text)) for text in texts]), tmp_path, copies=2)
    name = "sentence_order_label" if negatives == "swapped" else "next_sentence_label"
    ours = Counter((*map(tuple, segments(row, made)), row[name]) for row in rows)
    dice = random.Random(0)
    theirs = Counter(walked(texts, most, 0.4, negatives, dice) + walked(texts, most, 0.4, negatives, dice))
    common = [pair for pair in {**ours, **theirs} if ours[pair] + theirs[pair] >= 40]
    both = np.array([[counts[pair] for pair in common] for counts in (ours, theirs)])
    rare = np.array([[sum(ours.values())], [sum(theirs.values())]]) - both.sum(1, keepdims=True)
    one, other = np.concatenate([both, rare], 1)
    square = ((one - other) ** 2 / np.maximum(one + other, 1)).sum()
    assert len(common) > 30
    assert square < len(common) + 5 * np.sqrt(2 * len(common))


@pytest.mark.parametrize("most", [60, 61])
def test_truncation_is_that_of_the_reference(most: int) -> None:
    """google-research/bert, create_pretraining_data.py, truncate_seq_pair, 418-433, walked token by token."""
    dice, rng = random.Random(1), np.random.default_rng(1)
    sizes = rng.integers(1, 90, (3000, 2))
    a, a_size, b, b_size = truncate_pairs(np.zeros(3000, int), sizes[:, 0], np.zeros(3000, int), sizes[:, 1], most, rng)
    fronts = []
    for i, (x, y) in enumerate(sizes.tolist()):
        first, second = list(range(x)), list(range(y))
        while len(first) + len(second) > most:  # 420-423
            longer = first if len(first) > len(second) else second  # 425
            longer.pop(0 if dice.random() < 0.5 else -1)  # 430-433
        assert (len(first), len(second)) == (a_size[i], b_size[i])
        assert 0 <= a[i] <= x - a_size[i]
        assert 0 <= b[i] <= y - b_size[i]
        fronts += [(first[0], a[i])] if x - a_size[i] == 20 else []
    theirs, ours = np.array(fronts).T
    assert len(theirs) > 10
    assert abs(theirs.mean() - ours.mean()) < 5 * np.sqrt(20 * 0.25 * 2 / len(theirs))


def test_masks_lie_on_the_segments_and_nothing_else(tokenizer_file: Path, tmp_path: Path) -> None:
    plain = OrderSentences(tokenizer=str(tokenizer_file), length=64)
    task = OrderSentences(tokenizer=str(tokenizer_file), length=64, mask=True)
    text = [*SOURCE, ["[MASK] [SEP] D5 S1 w. D5 [CLS] w. D5 [SEP] w w."] * 30]
    rows, _ = label(task, samples(*text), tmp_path)
    before, _ = label(plain, samples(*text), tmp_path)
    assert len(rows) == len(before)
    for row, was in zip(rows, before, strict=True):
        told = [i for i, target in enumerate(row["labels"]) if target != -100]
        assert told, "there is something to tell in each row"
        assert [row["labels"][i] for i in told] == [was["input_ids"][i] for i in told]
        assert all(target > 4 for target in row["labels"] if target != -100)
        assert all(
            a == b for i, (a, b) in enumerate(zip(row["input_ids"], was["input_ids"], strict=True)) if i not in told
        )
        assert row["sentence_order_label"] == was["sentence_order_label"]
        assert was["input_ids"].count(3) == 2, "the text's own [SEP] is text"
        assert was["input_ids"].count(2) == 1


def test_lines_are_sentences_if_that_is_said(tokenizer_file: Path, tmp_path: Path) -> None:
    text = "\n".join(f"D1 S{i} w. w w" for i in range(9))  # by the rules, the stops would end sentences
    task = OrderSentences(tokenizer=str(tokenizer_file), length=32, sentence_per_line=True, short_share=0)
    rows, _ = label(task, samples([text]), tmp_path, copies=50)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    assert rows
    for row in rows:
        whole = sum(row["attention_mask"]) < 32
        for part in segments(row, tokenizer):
            assert not whole or part[0] == "D1"
            assert not whole or part[-2:] == ["w", "w"]


def test_pieces_of_one_document_have_keys_of_their_own(grouping: int, tokenizer_file: Path, tmp_path: Path) -> None:
    blocks = [pack([document(1, 50, first).encode()], [7]) for first in range(0, 300, 50)]
    source = [Sample("a.txt#0-9", block, {}, 1) for block in blocks]
    rows, _ = label(OrderSentences(tokenizer=str(tokenizer_file)), source, tmp_path, copies=20)
    places = np.append(0, np.cumsum([tokens_in(i) for i in range(300)])).tolist()
    for copy in range(20):
        begins = [int(row["key"].removeprefix("a.txt#7+")) for row in rows if row["copy"] == copy]
        assert begins == sorted(set(begins))
        assert set(begins) <= set(places)
        assert begins[-1] > places[250]
    seams = set(places[50:300:50]) <= set(begins)  # read apart, each begins a chunk; together they are one document
    assert seams == (grouping == 1)


@pytest.mark.parametrize("negatives", list(Negatives))
def test_batches_are_cut_from_the_same_rows(
    negatives: Negatives, tokenizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = OrderSentences(tokenizer=str(tokenizer_file), negatives=negatives)
    whole, _ = label(task, samples(*SOURCE), tmp_path)
    monkeypatch.setattr(order_sentences, "BATCH_TOKENS", 3 * task.length)
    assert label(task, samples(*SOURCE), tmp_path)[0] == whole


def test_whole_words_are_hidden(tmp_path: Path) -> None:
    tokenizer = wordpiece({name: i for i, name in enumerate([*SPECIAL, "un", "##wind", "##tie", "it", "."])})
    tokenizer.save(str(tmp_path / "bert.json"))
    options: dict[str, Any] = {"mask": True, "unit": "word", "ratio": 0.5, "sentence_per_line": True}
    task, hidden = OrderSentences(tokenizer=str(tmp_path / "bert.json"), **options), set()
    for row in label(task, samples(["untie it.\nunwind it.\nuntie unwind.\n" * 90]), tmp_path, copies=9)[0]:
        told = [target != -100 for target in row["labels"]]
        ids = [t if t != -100 else i for i, t in zip(row["input_ids"], row["labels"], strict=True)]
        names = [tokenizer.id_to_token(i) for i in ids]
        for i, name in enumerate(names):
            if name.startswith("##"):
                hidden.add(told[i])
                assert told[i] == told[i - 1] or ids[i - 1] in (2, 3)  # a segment may begin within a word
    assert hidden == {True, False}


def test_sentences_without_a_token_are_none(tmp_path: Path) -> None:
    train_wordpiece(["one two"], 100).save(str(tmp_path / "bert.json"))
    task = OrderSentences(tokenizer=str(tmp_path / "bert.json"), sentence_per_line=True, as_text=True)
    rows, _ = label(task, samples(["\u200b\none\n\u200b\ntwo\n\u200b", "one\n\u200b"]), tmp_path, copies=20)
    assert {row["text"] for row in rows} == {"one\ntwo", "two\none"}


def test_names_of_special_tokens_are_text(tmp_path: Path) -> None:
    """As in BERT's own tokenizer: they are cut at the brackets, or mean nothing."""
    text = "one [SEP] two.\nthree [MASK] four."
    train_wordpiece([text], 100).save(str(tmp_path / "bert.json"))
    task = OrderSentences(tokenizer=str(tmp_path / "bert.json"), sentence_per_line=True, as_text=True)
    (row,), _ = label(task, samples([text]), tmp_path)
    assert sorted(line.replace(" ", "") for line in row["text"].split("\n")) == ["one[SEP]two.", "three[MASK]four."]
    names = [*SPECIAL, "one", "two."]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # for it, "[SEP]" is a word of its vocabulary
    words.save(str(tmp_path / "words.json"))
    task = OrderSentences(tokenizer=str(tmp_path / "words.json"), sentence_per_line=True, length=12)
    (row,), _ = label(task, samples(["one [SEP] two.\none [CLS] two."]), tmp_path)
    assert row["input_ids"] == [2, 5, 1, 6, 3, 5, 1, 6, 3, 0, 0, 0]


def test_a_person_can_read_it(tokenizer_file: Path, tmp_path: Path) -> None:
    task = OrderSentences(tokenizer=str(tokenizer_file), as_text=True, mask=True, negatives="random")
    rows, _ = label(task, samples(*SOURCE), tmp_path)
    for row in rows:
        assert row["text"].count("\n") == 1
        assert row["text"].count("[MASK]") == len(row["answers"]) > 0
    (row, *_), _ = label(
        OrderSentences(tokenizer=str(tokenizer_file), as_text=True), samples([document(3, 2)]), tmp_path
    )
    assert sorted(row["text"].split("\n")) == ["D3 S0 w .", "D3 S1 w w ."]
    assert "answers" not in row


def test_copies_are_drawn_afresh(tokenizer_file: Path, tmp_path: Path) -> None:
    task = OrderSentences(tokenizer=str(tokenizer_file))
    rows, _ = label(task, samples(*SOURCE), tmp_path, copies=2)
    first, second = ([row["input_ids"] for row in rows if row["copy"] == copy] for copy in (0, 1))
    assert first != second
    assert first == [row["input_ids"] for row in label(task, samples(*SOURCE), tmp_path)[0]]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"negatives": "other"}, "negatives"),
        ({"unit": "word"}, "--unit.*--mask"),
        ({"short_share": 1.5}, "--short-share"),
        ({"length": 4}, "--length"),
    ],
)
def test_bad_values_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        OrderSentences(**bad)


def test_what_follows_is_never_told_as_random(tokenizer_file: Path, tmp_path: Path) -> None:
    """Nor the first sentence of the paragraph that follows."""
    task = OrderSentences(tokenizer=str(tokenizer_file), negatives="random", length=256)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    for count in (3, 5, 40):
        rows, skipped = label(task, samples([document(i, 1) for i in range(count)]), tmp_path, copies=60)
        assert not skipped
        assert {row["next_sentence_label"] for row in rows} == {1}
        steps = Counter(b[0][0] - a[-1][0] for a, b in (map(read, segments(row, tokenizer)) for row in rows))
        assert not {0, 1} & set(steps)
        assert len(steps) >= count - 2
    rows, skipped = label(task, samples([document(0, 1), document(1, 1)]), tmp_path)
    assert (rows, len(skipped)) == ([], 2)


def test_of_few_documents_none_gives_the_label_away(tokenizer_file: Path, tmp_path: Path) -> None:
    """A note beside a book is not what every random segment is from."""
    task = OrderSentences(tokenizer=str(tokenizer_file), negatives="random", length=256)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    rows, _ = label(task, samples([document(0, 200), document(1, 1)]), tmp_path, copies=20)
    seconds = [
        segments(row, tokenizer)[1] for row in rows if row["next_sentence_label"] and row["key"].startswith("a.txt#0")
    ]
    assert len(seconds) > 50
    assert np.mean(["D1" in second for second in seconds]) < 0.1


def test_special_tokens_of_a_model_with_another_unknown_are_text_too(tmp_path: Path) -> None:
    names = ["[PAD]", "oov", "[CLS]", "[SEP]", "[MASK]", "a", "b", "."]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="oov"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    made.save(str(tmp_path / "given.json"))
    text = samples(["a [SEP] b .\n\n[MASK] b a ."])
    (row,), _ = label(OrderSentences(tokenizer=str(tmp_path / "given.json")), text, tmp_path)
    assert row["input_ids"].count(3) == 2
    assert row["input_ids"].count(4) == 0
    assert row["input_ids"].count(1) == 2
