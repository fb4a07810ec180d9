"""What an audit measures in addition to guesses: coverage of masks, rates, and duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import IGNORE_INDEX
from pseudolabel.inspection.audit.media import Items, images_of, plain
from pseudolabel.inspection.audit.questions import as_mask, grid_of, plain_label

BINS = 24  # of relative place, for masks of various lengths


class Coverage(NamedTuple):
    """How often each place of a mask is hidden (with -100: has a label). `shape`: rows and columns of the map."""

    column: str
    shape: tuple[int, int]
    shares: Sequence[float]

    @property
    def least(self) -> float:
        return min(self.shares)

    @property
    def most(self) -> float:
        return max(self.shares)

    @property
    def summary(self) -> str:
        """Return in words how often the places are asked for."""
        return f"{self.column}: a place is asked for in {self.least:.1%} to {self.most:.1%} of the rows"


class MaskCounts:
    """A count of how often each place is hidden, in masks of one length, or by relative place in masks of several."""

    def __init__(self) -> None:
        self._sums: dict[int, np.ndarray] = {}
        self._rows = Counter[int]()
        self._sides: tuple[int, int] | None = None
        self._binned = np.zeros((2, BINS))
        self.ratios: list[float] = []
        self.spans: list[int] = []

    def add(self, hidden: np.ndarray, image: np.ndarray | None, images: int) -> None:
        """Add one mask; `image` is the first of the row's images, of which there are `images`."""
        count = len(hidden)
        self._sums[count] = self._sums.get(count, np.zeros(count)) + hidden
        self._rows[count] += 1
        self._sides = grid_of(count, image.shape[:2], images) if image is not None else None
        bins = np.arange(count) * BINS // max(1, count)
        self._binned += np.bincount(bins, hidden, BINS), np.bincount(bins, minlength=BINS)
        self.ratios.append(float(hidden.mean()) if count else 0.0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(np.int8), [0]])))
        self.spans += (edges[1::2] - edges[::2]).tolist()

    def coverage(self, column: str) -> Coverage:
        """Return the share of masks in which each place is hidden."""
        if len(self._sums) == 1 and self._sides:
            ((count, sums),) = self._sums.items()
            shares = (sums / self._rows[count]).reshape(-1, self._sides[0] * self._sides[1]).mean(0)
            return Coverage(column, self._sides, shares.round(4).tolist())
        hidden, places = self._binned
        return Coverage(column, (1, BINS), (hidden / np.maximum(places, 1)).round(4).tolist())


class Measures:
    """Rates, coverage and duplicates, collected row by row."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._masks: dict[str, MaskCounts] = defaultdict(MaskCounts)
        self._classes: dict[str, Counter[str]] = defaultdict(Counter)
        self._replaced = Counter[str]()
        self._tokens = Counter[str]()
        self._exact, self._near = Counter[bytes](), Counter[tuple[int, ...]]()
        self._shown = Counter[int]()  # what stands at masked places whose token was changed
        self.rows = 0

    def add(self, row: Mapping[str, Any], items: Items) -> None:
        """Add one row."""
        self.rows += 1
        flat = [item for parts in items.values() for part in parts for item in part]
        images = images_of(items)
        real = np.asarray(plain(row.get("attention_mask", ())), bool)
        self._exact[b"".join(item.exact for item in flat)] += 1
        self._near[tuple(item.near for item in flat)] += 1
        self._tokens.update(places=len(real), padding=len(real) - int(real.sum()))
        for name in self._labels:
            value = plain_label(row[name])
            if value is None:
                continue
            if not isinstance(value, list):
                self._classes[name][str(value)] += 1
                continue
            hidden = as_mask(value, row)
            if hidden is None:
                continue
            self._replacements(row, np.asarray(value))
            hidden = hidden[real] if len(real) == len(hidden) else hidden
            self._masks[name].add(hidden, images[0] if images else None, len(images))

    def _replacements(self, row: Mapping[str, Any], labels: np.ndarray) -> None:
        ids = np.asarray(plain(row.get("input_ids", ())))
        if ids.shape != labels.shape or labels.dtype.kind not in "iu":
            return
        asked = labels != IGNORE_INDEX
        self._replaced.update(asked=int(asked.sum()), kept=int((ids[asked] == labels[asked]).sum()))
        self._shown.update(ids[asked & (ids != labels)].tolist())

    def coverage(self) -> list[Coverage]:
        """Return the coverage of each mask."""
        return [masks.coverage(name) for name, masks in self._masks.items()]

    def rates(self) -> dict[str, float]:
        """Return the measured rates by name."""
        found = {}
        for name, counts in self._classes.items():
            if name != "key" and 1 < len(counts) <= 1000:
                shares = np.array(list(counts.values())) / counts.total()
                found[f"{name}: smallest class"], found[f"{name}: largest class"] = shares.min(), shares.max()
        for name, masks in self._masks.items():
            found[f"{name}: share"], found[f"{name}: share, deviation"] = np.mean(masks.ratios), np.std(masks.ratios)
            found[f"{name}: places per span"] = np.mean(masks.spans or [0])
        if asked := self._replaced["asked"]:
            hidden = max(self._shown.values(), default=0)
            found["asked tokens: as the mask token"] = hidden / asked
            found["asked tokens: as another token"] = (self._shown.total() - hidden) / asked
            found["asked tokens: unchanged"] = self._replaced["kept"] / asked
        if places := self._tokens["places"]:
            found["padding"] = self._tokens["padding"] / places
        return {name: round(float(value), 4) for name, value in found.items()}

    def duplicates(self) -> dict[str, int]:
        """Return how many rows repeat the input of an earlier one, exactly or nearly."""
        exact = self._exact.total() - len(self._exact)
        return {"exact": exact, "near": self._near.total() - len(self._near) - exact}
