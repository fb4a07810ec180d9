"""Facts of texts and of rows of tokens that need no understanding of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def text_facts(text: str) -> dict[str, np.ndarray]:
    """Return facts of a text by kind, each a vector of numbers."""
    words = text.split()
    first, last = (words[0], words[-1]) if words else ("", "")
    return {
        "length": np.array(
            [len(text), len(words), text.count("\n"), len(text.encode("utf-8", "surrogatepass"))], float
        ),
        "edges": np.array([*_kind(text[:1]), *_kind(text[-1:]), len(first), len(last), *_ends(text)], float),
    }


def token_facts(row: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Return facts of a row of tokens by kind: `input_ids`, and `attention_mask` and `token_type_ids` if they exist."""
    ids = np.asarray(row["input_ids"])
    ids = ids[np.asarray(row["attention_mask"], bool)] if "attention_mask" in row else ids
    second = int(np.sum(row.get("token_type_ids", ())))
    total, first = len(ids), len(ids) - second
    ends = [int(ids[at]) if -total <= at < total else -1 for at in (0, 1, first - 2, first, -2, -1)]
    lengths = np.array([first, second, first - second, total, first * second], float)
    whole = float(total == len(row["input_ids"]))
    return {
        "length": np.array([*lengths, *(lengths * whole), whole]),
        "edges": np.array([*ends, ends[2] == ends[4], whole * (ends[2] == ends[4])], float),
    }


def _kind(character: str) -> tuple[bool, ...]:
    return character.isupper(), character.islower(), character.isdigit(), character.isspace(), character in ".!?…。"


def _ends(text: str) -> tuple[int, int]:
    return len(text) - len(text.lstrip()), len(text) - len(text.rstrip())
