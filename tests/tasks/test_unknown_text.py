"""Text that the tokenizer does not know: rows of it ask for nothing, and are left out and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import Command
from token_rows import label, samples
from tokenizers import Tokenizer, models, pre_tokenizers

from pseudolabel import CorruptSpans, MaskText, OrderSentences
from pseudolabel.contracts import Skipped, UserError, chance_for
from pseudolabel.engine.stream import dry_run
from pseudolabel.inspection.show import show
from pseudolabel.tasks.base.task import Rows
from pseudolabel.tasks.base.text import NOTHING_FITS, UNKNOWN_TEXT
from pseudolabel.transforms.text.vocabulary import train_wordpiece

KNOWN, UNKNOWN = "The cat is on the table.\nA dog is on it too.\n", "Ελληνικά και\nПривет мир как дела\n"


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "latin.json"
    made = train_wordpiece([KNOWN * 9], 200)
    made.add_special_tokens([f"<extra_id_{i}>" for i in range(100)])
    made.save(str(path))
    return path


@pytest.mark.parametrize("kind", [MaskText, CorruptSpans, OrderSentences])
def test_rows_of_unknown_text_are_left_out(kind: Any, tokenizer_file: Path, tmp_path: Path) -> None:
    options = {"sentence_per_line": True} if kind is OrderSentences else {}
    task, tokenizer = (
        kind(tokenizer=str(tokenizer_file), length=32, **options),
        Tokenizer.from_file(str(tokenizer_file)),
    )
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    texts = [KNOWN * 5, UNKNOWN * 40, KNOWN * 5, UNKNOWN * 3]
    made = list(task.labeler(tmp_path).label(iter(samples(texts)), chance_for(0, task.name), 3))
    rows = pa.Table.from_batches([item.rows for item in made if isinstance(item, Rows)])
    skipped = [item for item in made if isinstance(item, Skipped)]
    assert {(item.reason, item.unusable, item.count, item.rows) for item in skipped} == {(UNKNOWN_TEXT, False, 0, 1)}
    assert not {item.key for item in skipped} & set(rows["key"].to_pylist())
    assert len(skipped) > 3
    for row in rows.to_pylist():
        known = [i for i in row["input_ids"] + row.get("labels", []) if i > 4 and i < tokenizer.get_vocab_size() - 100]
        assert known
        assert kind is not MaskText or max(row["labels"]) > 4
    tokens, unknown = (
        sum(getattr(item, name) for item in made if isinstance(item, Rows)) for name in ("tokens", "unknown")
    )
    ids = [i for text in texts for i in tokenizer.encode(text, add_special_tokens=False).ids]
    assert (tokens, unknown) == (len(ids), ids.count(1))


@pytest.mark.parametrize("kind", [CorruptSpans, OrderSentences])
def test_a_sentinel_in_the_text_is_counted_as_the_rows_have_it(kind: Any, tmp_path: Path) -> None:
    """A Unigram model has sentinels as pieces, as T5's; rows have [UNK] for those in the text."""
    names = ["<pad>", "</s>", "<unk>", "<s>", "▁a", "▁b", *(f"<extra_id_{i}>" for i in range(100))]
    made = Tokenizer(models.Unigram([*((name, -1.0) for name in names), ("▁", -2.0)], 2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens([*names[:4], *names[6:]])
    made.save(str(tmp_path / "given.json"))
    options = {"sentence_per_line": True} if kind is OrderSentences else {}
    task = kind(tokenizer=str(tmp_path / "given.json"), length=16, **options)
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    batches = list(task.labeler(tmp_path).label(iter(samples(["a b <extra_id_0> a\nb a b\n"])), chance_for(0, "a"), 1))
    (item,) = [item for item in batches if isinstance(item, Rows) and len(item.rows)]
    (row,) = item.rows.to_pylist()
    ids = [i for i in row["input_ids"] + row.get("labels", []) if i == 2 or i in (4, 5, 106)]
    assert (item.tokens, item.unknown) == (len(ids), ids.count(2))


def test_a_row_of_spans_that_do_not_fit_is_left_out(tokenizer_file: Path, tmp_path: Path) -> None:
    """Words of many pieces, each longer than 15 % of a row: a span that begins with one hides nothing."""
    task = MaskText(tokenizer=str(tokenizer_file), unit="span", length=64)
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    text = " ".join(["catdogtheonitcat"] * 3 + ["it"]) + " "
    made = list(task.labeler(tmp_path).label(iter(samples([text * 300])), chance_for(0, task.name), 2))
    rows = pa.Table.from_batches([item.rows for item in made if isinstance(item, Rows)])
    skipped = [item for item in made if isinstance(item, Skipped)]
    assert {item.reason for item in skipped} == {NOTHING_FITS}
    assert all(max(labels) > 4 for labels in rows["labels"].to_pylist())
    whole = label(MaskText(tokenizer=str(tokenizer_file), length=64), samples([text * 300]), tmp_path, copies=2)
    assert len(rows) + len(skipped) == len(whole)


def test_show_and_a_dry_run_tell_that_the_text_is_unknown(tokenizer_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(UNKNOWN * 99, "utf-8")
    task = MaskText(tokenizer=str(tokenizer_file))
    with pytest.raises(UserError, match=f"makes no row from .*: {UNKNOWN_TEXT.replace('[', '.')}"):
        list(show(task, str(tmp_path / "a.txt")))
    made = dry_run(task, [tmp_path / "a.txt"])
    assert (made["rows"], made["unknown_share"]) == (0, 1.0)
    assert made["warnings"][0].startswith("100.0% of the tokens of text are [UNK]")
    (tmp_path / "a.txt").write_text(KNOWN * 99, "utf-8")
    assert dry_run(task, [tmp_path / "a.txt"])["warnings"] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mask-text", "corrupt-spans", "order-sentences"])
def test_the_share_of_unknown_tokens_is_told(
    task: str, tokenizer_file: Path, tmp_path: Path, pseudolabel: Command
) -> None:
    cases = {
        "known": KNOWN * 400,
        "few": KNOWN * 390 + UNKNOWN * 8,
        "many": (KNOWN * 9 + UNKNOWN * 9) * 20,
        "all": UNKNOWN * 99,
    }
    for name, text in cases.items():
        (tmp_path / f"{name}.txt").write_text(text, "utf-8")
        lines = ["--sentence-per-line"] if task == "order-sentences" else []
        done = pseudolabel(
            task, *lines, f"{name}.txt", "--tokenizer", tokenizer_file, "--length", 32, "--json", "--out", name
        )
        if name == "all":
            assert done.returncode == 3
            assert "warning: 100.0% of the tokens of text are [UNK]" in done.stderr
            continue
        ids = Tokenizer.from_file(str(tokenizer_file)).encode(text, add_special_tokens=False).ids
        share, out = ids.count(1) / len(ids), tmp_path / name
        assert json.loads(done.stdout)["unknown_share"] == pytest.approx(share, abs=1e-6)
        assert ("of the tokens of text are [UNK]" in done.stderr) == (share > 0.05) == (name == "many")
        assert ("are [UNK]" in (out / "README.md").read_text()) == (name == "many")
        labels = pq.read_table(out / "data").column("labels") if task == "mask-text" else None
        assert labels is None or all(max(row) > 4 for row in labels.to_pylist())
        checked = pseudolabel("verify", out, "--against", f"{name}.txt")
        assert checked.returncode == 0, checked.stdout
