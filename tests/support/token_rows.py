"""Documents made for the tests, and the rows that a text task makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pseudolabel.contracts import Sample, Skipped, chance_for
from pseudolabel.readers.text.blocks import pack
from pseudolabel.tasks.base.task import Rows, row_columns
from pseudolabel.tasks.mask_text import MaskText

TEXT = "The cat is on a table and nobody had come back from far green hills where rivers turn to silver. "

WORDS = TEXT.lower().strip(". ").split(" ")


def novel(words: int, seed: int) -> str:
    """Sentences of WORDS, with here and there what a masker may stumble on."""
    rng = np.random.default_rng(seed)
    odd = ["[MASK]", "[SEP]", "[PAD],", "été", "中文", "qqq", "."]
    return " ".join(rng.choice([*WORDS, *WORDS, *odd], words))


def samples(*blocks: Iterable[str], file: str = "a.txt") -> list[Sample]:
    made, at = [], 0
    for texts in blocks:
        encoded = [text.encode() for text in texts]
        block = pack(encoded, list(range(at, at + len(encoded))))
        made.append(Sample(f"{file}#{at}-{at + len(encoded)}", block, {}, len(encoded)))
        at += len(encoded)
    return made


def label(task: MaskText, source: list[Sample], folder: Path, copies: int = 1, seed: int = 0) -> pa.Table:
    """The rows of one shard, checked against the schema; every document is said to be done with, once."""
    task.fit(task.observe(iter(source)) if task.observed_megabytes else iter(()), folder, np.random.default_rng(0))
    made = list(task.labeler(folder).label(iter(source), chance_for(seed, task.name), copies))
    rows = [item for item in made if isinstance(item, Rows)]
    assert sum(item.count for item in rows) == sum(sample.count for sample in source)
    assert not any(item.count or item.unusable for item in made if isinstance(item, Skipped))
    schema = pa.schema([(column.name, column.arrow) for column in row_columns(task)])
    return pa.Table.from_batches([item.rows for item in rows], schema)


def matrix(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist())


def undone(table: pa.Table) -> np.ndarray:
    """(r, L) the ids as they were before masking."""
    labels = matrix(table, "labels")
    return np.where(labels == -100, matrix(table, "input_ids"), labels)


SOURCE = (
    [novel(n, n) for n in (3, 1, 400, 90)],
    ["", " \u200b", "short"],
    [],
    ["\x0b"],
    [novel(1000, 5)],
    [novel(7, s) for s in range(60)],
)
