"""Facts of texts, of rows of tokens and of numbers that need no understanding of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def text_facts(text: str) -> dict[str, np.ndarray]:
    """Return facts of a text by kind, each a vector of numbers."""
    words = text.split()
    first, last = (words[0], words[-1]) if words else ("", "")
    size = len(text.encode("utf-8", "surrogatepass"))
    return {
        "length": np.array([len(text), len(words), text.count("\n"), size], float),
        "edges": np.array([*_kind(text[:1]), *_kind(text[-1:]), len(first), len(last), *_blanks(text)], float),
    }


def token_facts(row: Mapping[str, Sequence[int] | np.ndarray]) -> dict[str, np.ndarray]:
    """Return facts of a row of tokens by kind: `input_ids`, and `attention_mask` and `token_type_ids` if they exist.

    Lengths are those of the row and of its two segments; `full`: the row has no padding. Edges are the first and last
    ids of the row and of its first segment.
    """
    ids = np.asarray(row["input_ids"])
    width = len(ids)
    ids = ids[np.asarray(row["attention_mask"], bool)] if "attention_mask" in row else ids
    second = int(np.sum(row.get("token_type_ids", ())))
    total, first = len(ids), len(ids) - second
    ends = [int(ids[at]) if -total <= at < total else -1 for at in (0, 1, first - 2, first, -2, -1)]
    lengths = np.array([first, second, first - second, total, first * second / max(1, total)], float)
    full, alike = float(total == width), float(ends[2] == ends[4])
    return {
        "length": np.array([*lengths, *(lengths * full), full]),
        "edges": np.array([*ends, alike, full * alike], float),
    }


def number_facts(values: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) numbers -> facts by kind: how many, their mean, spread and extremes, the first and the last."""
    if not len(values):
        return {"length": np.zeros(1), "values": np.zeros(6)}
    found = [values.mean(), values.std(), values.min(), values.max(), values[0], values[-1]]
    return {"length": np.array([float(len(values))]), "values": np.array(found, float)}


def _kind(character: str) -> tuple[bool, ...]:
    return character.isupper(), character.islower(), character.isdigit(), character.isspace(), character in ".!?…。"


def _blanks(text: str) -> tuple[int, int]:
    return len(text) - len(text.lstrip()), len(text) - len(text.rstrip())
