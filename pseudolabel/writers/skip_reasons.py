"""Reasons for skipped samples: count the lines of `_skipped.jsonl` by their reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pseudolabel.contracts import split_remedy

MAX_PATTERNS = 10_000  # reasons, without their numbers, that are counted; memory does not grow with the source


@dataclass
class Reason:
    """A reason, in the words of its first sample, and the number of samples or rows with it."""

    text: str
    key: str  # of the first sample
    kind: str  # "skipped" or "filtered"
    count: int = 0
    varies: bool = False  # whether other samples have other numbers in the text

    @property
    def remedy(self) -> str:
        """Return what to do: the advice of the reason, else the option that it names."""
        advice, options = split_remedy(self.text)[1], re.findall(r"--[a-z][a-z-]+", self.text)
        if advice and not advice.startswith("--"):
            return advice
        return (
            f"change {options[-1]}" if options else "repair the files" if self.kind == "skipped" else "give other files"
        )


def count_reasons(lines: Iterable[Mapping[str, Any]]) -> list[Reason]:
    """Return the reasons, the most frequent first. Reasons that differ only in numbers count as one."""
    found: dict[str, Reason] = {}
    for line in lines:
        pattern = re.sub(r"\d+", "0", line["reason"])
        if pattern in found or len(found) < MAX_PATTERNS:
            reason = found.setdefault(pattern, Reason(line["reason"], line["key"], line["kind"]))
            reason.count += line["samples"] or line.get("rows", 0)
            reason.varies = reason.varies or reason.text != line["reason"]
    return sorted(found.values(), key=lambda reason: (-reason.count, reason.text))
