"""Findings of `verify`: counts of checked rows, and faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

MAX_NAMED = 20  # faults that are listed, at most


class Finding(NamedTuple):
    """A fault: where it is (a row's key or a file's name), and the reason."""

    where: str
    reason: str


@dataclass
class Findings:
    """Row counts (true: label proven; consistent: the row alone shows no fault; false: faulty) and the first faults."""

    checked: int = 0
    true: int = 0
    consistent: int = 0
    false: int = 0
    faults: list[Finding] = field(default_factory=list)
    other_faults: int = 0  # faults that belong to no stored row

    def judge(self, keys: pa.Array, found: Sequence[str | None], proven: bool) -> None:
        """Count rows and list their faults. `proven`: a row without a fault is true, otherwise consistent."""
        wrong = [i for i, reason in enumerate(found) if reason is not None]
        self.checked += len(found)
        self.false += len(wrong)
        if proven:
            self.true += len(found) - len(wrong)
        else:
            self.consistent += len(found) - len(wrong)
        for i in wrong[: max(0, MAX_NAMED - len(self.faults))]:
            self.faults.append(Finding(str(keys[i].as_py()), str(found[i])))

    def blame(self, where: str, reason: str) -> None:
        """Add a fault that belongs to no stored row, such as a damaged file."""
        self.other_faults += 1
        if len(self.faults) < MAX_NAMED:
            self.faults.append(Finding(where, reason))

    def add(self, other: Findings) -> None:
        """Add the counts and faults of `other`."""
        for name in ("checked", "true", "consistent", "false", "other_faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults += other.faults[: max(0, MAX_NAMED - len(self.faults))]
