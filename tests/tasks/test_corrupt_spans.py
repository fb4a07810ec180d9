"""corrupt-spans: what is cut out, how much of it and in which spans, and that the text can be put together again."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from runs import Command
from token_rows import samples
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from pseudolabel.contracts import Sample, UserError, chance_for
from pseudolabel.tasks.base.task import row_columns
from pseudolabel.tasks.corrupt_spans import CorruptionPresetName, CorruptSpans
from pseudolabel.transforms.text.span_corruption import infill, noise_counts, noise_spans, text_and_label_lengths

SPECIAL = ["<pad>", "</s>", "<unk>", "<s>", "<mask>"]
WORDS = 3000


def vocabulary(path: Path, sentinels: int) -> Path:
    """Numbers are words: "7" has the id 107. Sentinels are numbered as T5's: <extra_id_0> has the highest id."""
    names = [*SPECIAL, *(f"[{i}]" for i in range(5, 100)), *map(str, range(WORDS))]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(SPECIAL)
    made.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(sentinels))])
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vocabulary(tmp_path_factory.mktemp("tokenizer") / "t5.json", 100)


def count(start: int, stop: int) -> str:
    return " ".join(map(str, range(start, stop)))


SOURCE = ([count(0, 700), "", count(700, 705)], [count(705, 2000)], [count(2000, 2001), count(2001, WORDS)])


def label(task: CorruptSpans, source: list[Sample], folder: Path, copies: int = 1) -> list[dict[str, Any]]:
    task.fit(iter(()), folder, np.random.default_rng(0))
    made = list(task.labeler(folder).label(iter(source), chance_for(0, task.name), copies))
    assert sum(rows.count for rows in made) == sum(sample.count for sample in source)
    schema = pa.schema([(column.name, column.arrow) for column in row_columns(task)])
    return pa.Table.from_batches([rows.rows for rows in made], schema).to_pylist()  # type: ignore[no-any-return]


def put_together(row: dict[str, Any], tokenizer: Tokenizer) -> list[str]:
    """The row's text, by the names of its tokens: each sentinel gives way to what follows it in the target."""
    names = [tokenizer.id_to_token(i) for i, a in zip(row["input_ids"], row["attention_mask"], strict=True) if a]
    target = [tokenizer.id_to_token(i) for i in row["labels"] if i != -100]
    assert names.pop() == target.pop() == "</s>"
    spans: dict[str, list[str]] = {}
    for name in target:
        if name.startswith("<extra_id_"):
            assert name == f"<extra_id_{len(spans)}>", "sentinels count up, and the target begins with the first"
            spans[name] = []
        else:
            spans[f"<extra_id_{len(spans) - 1}>"].append(name)
    assert [name for name in names if name.startswith("<extra_id_")] == list(spans), "in the input as in the target"
    assert all(spans.values()), "no span is empty"
    return [word for name in names for word in spans.get(name, [name])]


@pytest.mark.parametrize("preset", [preset for preset in CorruptionPresetName if preset != CorruptionPresetName.bart])
@pytest.mark.parametrize("length", [16, 64, 256])
def test_the_text_can_be_put_together_again(
    preset: CorruptionPresetName, length: int, tokenizer_file: Path, tmp_path: Path
) -> None:
    task = CorruptSpans(preset=preset, length=length, tokenizer=str(tokenizer_file))
    rows = label(task, samples(*SOURCE), tmp_path, copies=2)
    tokenizer, mode = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), task.recipe.mode
    for copy in (0, 1):
        made = [put_together(row, tokenizer) for row in rows if row["copy"] == copy]
        assert all(words[:1] == [mode] for words in made) or not mode
        texts = [[int(word) for word in words if word != mode] for words in made]
        assert all(text == list(range(text[0], text[0] + len(text))) for text in texts), "a row is a stretch of text"
        assert [number for text in sorted(texts) for number in text] == list(range(WORDS)), "of which nothing is lost"
    assert len({len(row["labels"]) for row in rows}) == 1
    assert {len(row["input_ids"]) for row in rows} == {length}
    assert len({(row["key"], row["copy"]) for row in rows}) == len(rows)
    full = [row for row in rows if sum(row["attention_mask"]) == length]
    assert len(full) >= len(rows) - 2 * len(task.recipe.denoisers), "only a last row is padded"
    numbers = {tokenizer.id_to_token(i) for row in rows for i in row["labels"] if i != -100}
    assert not {name for name in numbers if not name.isdigit() and "extra_id" not in name} - {"</s>"}


def test_a_key_says_where_the_row_begins(tokenizer_file: Path, tmp_path: Path) -> None:
    rows = label(CorruptSpans(preset="ul2-x", length=32, tokenizer=str(tokenizer_file)), samples(*SOURCE), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    begin = {"a.txt#0": 0, "a.txt#2": 700, "a.txt#3": 705, "a.txt#4": 2000, "a.txt#5": 2001}
    for row in rows:
        document, token = row["key"].split("+")
        assert put_together(row, tokenizer)[1] == str(begin[document] + int(token))


def test_lengths_are_those_of_t5() -> None:
    """t5/data/preprocessors.py, random_spans_helper, 2678-2701; T5 itself was trained with 568 and 114."""
    assert text_and_label_lengths(512, 0.15, 3, 1) == (568, 114)
    assert text_and_label_lengths(128, 0.15, 3, 1) == (141, 29)
    assert text_and_label_lengths(1024, 0.15, 3, 1) == (1137, 229)
    assert text_and_label_lengths(512, 0.5, 3, 1)[1] == 512, "lines 2697-2701"
    assert CorruptSpans().lengths == ((568,), 114)


@pytest.mark.parametrize(
    ("density", "mean"), [(0.15, 3), (0.5, 3), (0.5, 64), (0.15, 64), (0.25, math.inf), (0.95, 30)]
)
def test_lengths_are_found_as_the_reference_finds_them(density: float, mean: float) -> None:
    """One token more as long as the input fits, 2687-2695."""
    for inputs in (4, 5, 17, 100, 512, 700):
        text = inputs - 1
        while text + 1 - sum(np.multiply(noise_counts(text + 1, density, mean), (1, -1))) + 1 <= inputs:
            text += 1
        assert abs(text_and_label_lengths(inputs, density, mean, 1)[0] - text) <= (density == 0.5)


@pytest.mark.parametrize(("density", "mean"), [(0.15, 3), (0.15, 8), (0.5, 3), (0.15, 64), (0.25, math.inf)])
@pytest.mark.parametrize("length", [1, 2, 3, 10, 100, 568])
def test_amounts_are_those_of_t5(density: float, mean: float, length: int) -> None:
    """random_spans_noise_mask, t5/data/preprocessors.py: 2978 how much, 2980 some of it and not all, 2981-2984 how many
    spans, 3017-3024 kept and cut ones in turn, a kept one first: so the last token is always cut out."""
    rng = np.random.default_rng(0)
    noise = noise_spans(50, length, density, mean, rng)
    assert noise.shape == (50, length)
    assert (noise.sum(1) == min(max(round(length * density), 1), max(length - 1, 1))).all()
    spans = (np.diff(noise.astype(int), prepend=0, axis=1) == 1).sum(1)
    assert (spans == max(1, round(noise[0].sum() / mean))).all()
    assert noise[:, -1].all()
    assert length == 1 or not noise[:, 0].any()


def test_every_division_into_spans_is_alike_likely() -> None:
    """_random_segmentation, 2992-3010: 9 tokens, 4 of them in 2 spans: 3 ways to part 4, times 4 ways to part 5."""
    noise = noise_spans(24_000, 9, 0.45, 2, np.random.default_rng(0))
    times = Counter(map(tuple, noise.tolist()))
    assert len(times) == 12
    assert max(abs(n - 2000) for n in times.values()) < 5 * np.sqrt(2000)


def test_ul2_takes_its_denoisers_in_turn(tokenizer_file: Path, tmp_path: Path) -> None:
    """Tay et al. 2022: R 15 % in spans of 3 or 8; S a quarter, at the end; X 50 % in 3 or 8, 15 or 50 % in 64."""
    for preset, kinds in (("ul2-r", [(3, 0.15), (8, 0.15)]), ("ul2-x", [(3, 0.5), (8, 0.5), (64, 0.15), (64, 0.5)])):
        task = CorruptSpans(preset=preset, length=128, tokenizer=str(tokenizer_file))
        rows = label(task, samples(*SOURCE), tmp_path)
        tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        rows.sort(key=lambda row: int(put_together(row, tokenizer)[1]))
        for i, row in enumerate(rows[:-1]):  # the last one is short
            names = [tokenizer.id_to_token(j) for j in row["labels"] if j != -100]
            spans = sum(name.startswith("<extra") for name in names)
            told, kept = len(names) - spans - 1, sum(row["attention_mask"]) - spans - 2
            mean, density = kinds[i % len(kinds)]
            assert abs(told / (told + kept) - density) < 0.01
            assert spans == max(1, round(told / mean))
            assert row["input_ids"][0] == tokenizer.token_to_id(task.recipe.mode)
    for row in label(CorruptSpans(preset="ul2-s", tokenizer=str(tokenizer_file)), samples(*SOURCE), tmp_path):
        told = [i for i in row["labels"] if i != -100]
        words = put_together(row, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
        assert len(told) - 2 == round(0.25 * (len(words) - 1))
        assert [str(i - 100) for i in told[1:-1]] == words[-len(told) + 2 :], "a prefix, and what follows it"


def test_names_of_special_tokens_are_text(tokenizer_file: Path, tmp_path: Path) -> None:
    """Else a sentinel of the source's own would be taken for one of ours."""
    source = samples([f"<extra_id_0> {count(0, 20)} </s> <extra_id_1> {count(20, 40)} <mask> <pad>"] * 20)
    for row in label(CorruptSpans(length=32, tokenizer=str(tokenizer_file)), source, tmp_path):
        words = put_together(row, Tokenizer.from_file(str(tokenizer_file)))
        assert not {"<mask>", "<pad>", "<s>", "</s>"} & set(words)


# --- sentinels -------------------------------------------------------------------------------------------------------


def test_a_tokenizer_with_sentinels_is_kept_as_it_is(tokenizer_file: Path, tmp_path: Path) -> None:
    task = CorruptSpans(tokenizer=str(tokenizer_file))
    rows = label(task, samples(*SOURCE), tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == tokenizer_file.read_bytes()
    assert task.description.notes(task, tmp_path) == []
    top = 100 + WORDS + 99  # <extra_id_0>, as 32099 is T5's
    assert [i for i in rows[0]["labels"] if i >= 100 + WORDS] == list(
        range(top, top - noise_counts(568, 0.15, 3)[1], -1)
    )


def test_sentinels_that_lack_are_added_saved_and_told(tmp_path: Path, pseudolabel: Command) -> None:
    file = vocabulary(tmp_path / "few.json", 2)
    task = CorruptSpans(tokenizer=str(file), preset="ul2-x")
    label(task, samples(*SOURCE), tmp_path)
    saved, before = (Tokenizer.from_file(str(path)) for path in (tmp_path / "tokenizer.json", file))
    needed = max(
        noise_counts(n, *denoiser)[1] for n, denoiser in zip(task.lengths[0], task.recipe.denoisers, strict=True)
    )
    assert needed > 100
    for i in range(needed):
        assert saved.token_to_id(f"<extra_id_{i}>") is not None
    for i in range(2):
        assert saved.token_to_id(f"<extra_id_{i}>") == before.token_to_id(f"<extra_id_{i}>")
    assert saved.token_to_id("[X]") is not None
    assert saved.get_vocab_size() == before.get_vocab_size() + needed - 2 + 1
    (remark,) = task.description.notes(task, tmp_path)
    assert f"{needed - 1} special tokens (<extra_id_2>, <extra_id_3>, ..." in remark
    assert f"vocab_size {saved.get_vocab_size()}" in remark
    (tmp_path / "numbers.txt").write_text(count(0, 900), "utf-8")
    done = pseudolabel("corrupt-spans", "numbers.txt", "--out", "out", "--tokenizer", file)
    assert done.returncode == 0, done.stderr
    for told in (done.stderr, *((tmp_path / "out" / name).read_text() for name in ("README.md", "_manifest.json"))):
        assert "98 special tokens (<extra_id_2>" in told


def unigram(path: Path, sentinels_as: str) -> Path:
    """T5's kind, in which sentinels are pieces of the model, too."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((f"▁{i}", -3.0) for i in range(100))]
    made = Tokenizer(models.Unigram([*pieces, *((f"<extra_id_{i}>", 0.0) for i in reversed(range(100)))], unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    names = [f"<extra_id_{i}>" for i in range(100)]
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    if sentinels_as != "pieces":
        (made.add_special_tokens if sentinels_as == "special" else made.add_tokens)(names)
    made.save(str(path))
    return path


@pytest.mark.parametrize("sentinels_as", ["special", "added", "pieces"])
def test_sentinels_in_the_source_are_none_of_ours(sentinels_as: str, tmp_path: Path) -> None:
    file = unigram(tmp_path / "t5.json", sentinels_as)
    words = [f"{i} <extra_id_{i % 3}> {i}" for i in range(100)]
    rows = label(CorruptSpans(tokenizer=str(file), length=32), samples([" ".join(words)] * 4), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.get_vocab() == Tokenizer.from_file(str(file)).get_vocab()
    text = [name.removeprefix("▁") for row in rows for name in put_together(row, tokenizer)]
    assert Counter(text)["<unk>"] == 400
    assert Counter(text)["57"] == 8


def test_a_mode_token_must_be_a_token_of_its_own(tokenizer_file: Path, tmp_path: Path) -> None:
    for bad in ("</s>", "[MASK]", "<extra_id_0>"):
        with pytest.raises(UserError, match="names another special token"):
            CorruptSpans(mode_token=bad)
    with pytest.raises(UserError, match="--mode-token 7 is a word"):
        CorruptSpans(mode_token="7", tokenizer=str(tokenizer_file)).fit(iter(()), tmp_path, np.random.default_rng(0))


def test_a_vocabulary_with_gaps_is_refused(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "</s>": 2, "far": 60}, unk_token="<unk>"))
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.save(str(tmp_path / "gaps.json"))
    with pytest.raises(UserError, match="gaps"):
        CorruptSpans(tokenizer=str(tmp_path / "gaps.json")).fit(iter(()), tmp_path, np.random.default_rng(0))


def test_nothing_is_learned_with_a_tokenizer_and_sentinels_are_learned_too(tmp_path: Path) -> None:
    task = CorruptSpans(length=32)
    assert task.observed_megabytes
    source = samples(["The cat is on the table. " * 40])
    task.fit(task.observe(iter(source)), tmp_path, np.random.default_rng(0))
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<extra_id_99>") is not None
    made = list(task.labeler(tmp_path).label(iter(source), chance_for(0, task.name), 1))
    assert sum(len(rows.rows) for rows in made) > 5


# --- BART ------------------------------------------------------------------------------------------------------------


def test_infilling_hides_words_and_tells_the_whole_text(tokenizer_file: Path, tmp_path: Path) -> None:
    """fairseq, data/denoising_dataset.py, add_whole_word_mask: num_to_mask = ceil(words * p), line "num_to_mask = int(
    math.ceil(...))"; each span leaves one mask (replace_length 1); spans of no words are insertions."""
    rows = label(CorruptSpans(preset="bart", length=128, tokenizer=str(tokenizer_file)), samples(*SOURCE), tmp_path)
    texts = []
    for row in rows:
        target = [i for i in row["labels"] if i != -100]
        shown = [i for i, a in zip(row["input_ids"], row["attention_mask"], strict=True) if a]
        assert [target[0], target[-1]] == [shown[0], shown[-1]] == [SPECIAL.index("<s>"), SPECIAL.index("</s>")]
        text = [i - 100 for i in target[1:-1]]
        kept = [i - 100 for i in shown[1:-1] if i != SPECIAL.index("<mask>")]
        assert kept == sorted(kept)
        assert set(kept) <= set(text)
        assert len(text) - len(kept) == math.ceil(0.3 * len(text))
        texts.append(text)
        names = [str(i - 100) if i >= 100 else "_" for i in shown[1:-1]]
        for before, after in pairwise(names):
            assert "_" in (before, after) or int(after) == int(before) + 1, "no word vanishes without a mask"
    assert [i for text in texts for i in text] == list(range(WORDS))


def test_spans_of_words_are_poisson_and_some_are_empty() -> None:
    rng, rows, words = np.random.default_rng(0), 4000, 200
    ids = np.arange(rows * words * 2, dtype=np.int32).reshape(rows, -1) + 10
    begins = np.tile(np.arange(words * 2) % 2 == 0, (rows, 1))  # words of two tokens
    made = infill(ids, begins, 0.3, 3.0, 4, rng)
    lengths_of, previous_end, sizes = made.lengths, 0, Counter[int]()
    for i, n in enumerate(lengths_of.tolist()):
        row = made.values[previous_end : previous_end + n]
        previous_end += n
        kept = row[row != 4]
        assert len(kept) == 2 * (words - 60)
        assert (kept[1::2] == kept[::2] + 1).all(), "words stay whole"
        whole = [ids[i, 0] - 1, *row.tolist(), ids[i, -1] + 1]
        at = [k for k, value in enumerate(whole) if value != 4]
        for a, b in pairwise(at):
            if b == a + 2:  # one mask alone
                sizes[(whole[b] - whole[a] - 1) // 2] += 1
    n = sizes.total()
    # A mask stands alone where words are kept on both sides, whatever its length: the sizes seen are the sizes drawn.
    for size in range(8):
        expected = math.exp(-3) * 3**size / math.factorial(size)
        assert abs(sizes[size] / n - expected) < 0.02, size
    assert sizes[0] > 0.03 * n


def test_an_input_is_never_longer_than_its_text() -> None:
    rng = np.random.default_rng(0)
    for width in (1, 2, 3, 7):
        ids = np.tile(np.arange(width, dtype=np.int32), (3000, 1)) + 10
        for density, mean in ((0.3, 1.0), (0.9, 3.0), (0.01, 3.0)):
            made = infill(ids, np.ones(ids.shape, bool), density, mean, 4, rng)
            assert made.lengths.max() <= width
            masks = np.add.reduceat(made.values == 4, np.cumsum(made.lengths) - made.lengths)
            assert masks.min() >= 1, "each row has something to tell"


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["t5", "ul2-x", "ul2-s", "bart"])
def test_text_of_bytes_is_cut_between_characters(preset: str, tmp_path: Path) -> None:
    """The spans of the target fill the blanks of the text, and it is what the tokenizer itself reads."""
    names = ["<s>", "</s>", "<pad>", "<mask>"]
    pieces = [*names, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(names)
    made.save(str(tmp_path / "bytes.json"))
    task = CorruptSpans(preset=preset, length=40, as_text=True, tokenizer=str(tmp_path / "bytes.json"))
    rows = label(
        task, samples(["中文字符测试的一是不了", "привет мир где ты", "👩\u200d👧☕\ufe0f👍🏽"] * 5), tmp_path, copies=3
    )
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for row in rows:
        assert "\ufffd" not in row["text"] + row["target"]
        target = [i for i in row["labels"] if i != -100]
        if preset == "bart":
            assert row["target"] == saved.decode(target).strip("\ufffd")
            kept = [part.strip() for part in row["text"].split("<mask>")]
            assert re.fullmatch(".*".join(map(re.escape, kept)), row["target"].strip(), re.DOTALL)
            continue
        shown = [i for i, a in zip(row["input_ids"], row["attention_mask"], strict=True) if a][
            bool(task.recipe.mode) : -1
        ]
        spans, text = re.split(r" ?<extra_id_(\d+)>", row["target"]), row["text"]
        for number, span in zip(spans[1::2], spans[2::2], strict=True):
            text = re.sub(f" ?<extra_id_{number}>", lambda _, span=span: span, text, count=1)
        cuts, whole = [i for i, j in enumerate(target) if j in shown and j >= len(pieces)], list[int]()
        for i in shown:
            at = target.index(i) if i >= len(pieces) else -1
            whole += [i] if at < 0 else target[at + 1 : next((cut for cut in cuts if cut > at), -1)]
        assert text == saved.decode(whole).strip("\ufffd")


def test_a_person_can_read_it(tokenizer_file: Path, tmp_path: Path) -> None:
    task = CorruptSpans(length=16, as_text=True, tokenizer=str(tokenizer_file))
    rows = label(task, samples([count(0, 17)]), tmp_path)
    for row in rows:
        target, spans = row["target"].split(" "), row["text"].count("<extra_id_")
        text = row["text"]
        for i in range(spans):
            low = target.index(f"<extra_id_{i}>") + 1
            high = target.index(f"<extra_id_{i + 1}>") if i + 1 < spans else len(target)
            text = text.replace(f"<extra_id_{i}>", " ".join(target[low:high]))
        assert text in count(0, 17)
    (row,) = label(
        CorruptSpans(preset="bart", as_text=True, tokenizer=str(tokenizer_file)), samples([count(0, 30)]), tmp_path
    )
    assert row["target"] == count(0, 30)
    assert "<mask>" in row["text"]
    assert len([word for word in row["text"].split(" ") if word != "<mask>"]) == 21


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"density": 0.0}, "--density"),
        ({"density": 0.96}, "--density"),
        ({"mean_span": math.inf, "preset": "bart"}, "--mean-span"),
        ({"mean_span": 0.5}, "--mean-span"),
        ({"mean_span": math.nan}, "--mean-span"),
        ({"preset": "t6"}, "preset"),
        ({"length": 4, "preset": "ul2-r"}, "--length"),
        ({"length": 3}, "--length"),
    ],
)
def test_bad_values_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CorruptSpans(**bad)


def test_what_is_given_goes_before_the_preset() -> None:
    assert CorruptSpans(preset="ul2-x", density=0.2, mean_span=5, mode_token="").recipe == (((0.2, 5),), "")
    assert CorruptSpans(preset="ul2-x", density=0.5).recipe.denoisers == ((0.5, 3), (0.5, 8), (0.5, 64))


def test_a_tokenizer_needs_what_the_preset_uses(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "</s>": 2}, unk_token="<unk>"))
    made.add_special_tokens([AddedToken(name) for name in ("<pad>", "</s>")])
    made.save(str(tmp_path / "t5.json"))
    CorruptSpans(tokenizer=str(tmp_path / "t5.json"))
    with pytest.raises(UserError, match=r"no token for \[CLS\], \[MASK\]\n.*--cls-token"):
        CorruptSpans(tokenizer=str(tmp_path / "t5.json"), preset="bart")
