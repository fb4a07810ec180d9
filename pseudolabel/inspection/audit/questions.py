"""The questions of an audit: features, labels and sources, collected row by row, for each label and kind of facts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import IGNORE_INDEX, file_of
from pseudolabel.inspection.audit.media import Facts, Item

MAX_CLASSES = 64  # classes of a label that is guessed, at most
MAX_WIDTH = 1536  # numbers of a row's facts of one kind, at most; longer ones are averaged over the items
MAX_PLACES = 60_000  # places of masks that are asked about, in all rows together
SLOTS = 8  # places among the rows of a sample that are told apart
NEAR = 12  # distances to the ends of a mask that are told apart
PATCHES = (16, 14, 32, *range(2, 65))  # sides of a patch in pixels, in the order in which they are tried
TIMES = ("timestamps", "start", "time")  # columns with the time at which a clip begins


class Question(NamedTuple):
    """Which label is asked for, and from which kind of facts."""

    label: str
    facts: str


class Answers(NamedTuple):
    """The features, labels and sources of one question."""

    features: list[np.ndarray]
    labels: list[Any]
    sources: list[str]


Questions = dict[Question, Answers]


class Asker:
    """Collects the questions of a table. `rows`: how many rows will come, about."""

    def __init__(self, labels: Sequence[str], rows: int) -> None:
        self.questions: Questions = defaultdict(lambda: Answers([], [], []))
        self._labels = labels
        self._places = max(8, MAX_PLACES // max(1, rows))  # per row
        self._rng = np.random.default_rng(0)
        self._at, self._sample, self._slot = 0, "", 0
        self._last: dict[str, Any] = {}  # label of the sample before
        self._before: tuple[str, list[Item]] | None = None  # the row before, for labels that say "same source"

    def ask(self, row: Mapping[str, Any], items: Mapping[str, Sequence[Sequence[Item]]]) -> None:
        """Add one row: its items by input column."""
        key = str(row.get("key", self._at))
        self._slot = self._slot + 1 if key == self._sample else 0
        flat = [item for parts in items.values() for part in parts for item in part]
        whole = {**combined(flat), **self._where(row, key)}
        for name in self._labels:
            if name == "key":
                self._same(key, flat)
                continue
            value = _scalar(row[name])
            if isinstance(value, list):
                self._parts(name, value, items, key)
                continue
            if self._slot == 0 and name in self._last:
                self._add(name, "row order", value, key, _coded(self._last[name]))
            if value is not None:
                for kind, vector in whole.items():
                    self._add(name, kind, value, key, vector)
            self._last[name] = value
        self._sample, self._at = key, self._at + 1

    def _add(self, label: str, kind: str, value: Any, key: str, vector: np.ndarray) -> None:
        answers = self.questions[Question(label, kind)]
        answers.features.append(np.asarray(vector, np.float32))
        answers.labels.append(value)
        answers.sources.append(file_of(key))

    def _where(self, row: Mapping[str, Any], key: str) -> Facts:
        """Return the place of the row in the table and among those of its sample, and the numbers of its key."""
        turns = [self._at % n for n in (2, 3, 4, 5, 8)]
        found = {"row number": np.array([self._at, *turns, *(np.arange(SLOTS) == self._slot)], float)}
        numbers = [float(number) for number in re.findall(r"\d+", key.partition("#")[2])][:2]
        times = [float(np.min(row[name])) for name in TIMES if name in row and np.size(row[name])]
        if numbers or times:
            found["position in the source"] = np.array([*numbers, *(n % 8 for n in numbers), *times])
        return found

    def _same(self, key: str, flat: list[Item]) -> None:
        """Ask whether two items are of one sample: the first and last of this row and of the row before."""
        if self._before and self._before[0] != key:
            two = (self._before, (key, flat))
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                pair = combined([two[i][1][0], two[j][1][-1]])
                for kind, vector in pair.items():
                    self._add("key", kind, i == j, two[0][0], vector)
            self._before = None
        else:
            self._before = (key, flat)

    def _parts(self, name: str, value: list[Any], items: Mapping[str, Sequence[Sequence[Item]]], key: str) -> None:
        """Ask for each value of a list: of a list of as many items, from each item; of a mask, from each place."""
        if not value or isinstance(value[0], list):
            return
        for parts in items.values():
            if len(parts) == len(value) > 1:
                for part, one in zip(parts, value, strict=True):
                    for kind, vector in combined(part).items():
                        self._add(name, kind, one, key, vector)
                return
        hidden = as_mask(value)
        if hidden is not None:
            self._mask(name, hidden, items, key)

    def _mask(self, name: str, hidden: np.ndarray, items: Mapping[str, Sequence[Sequence[Item]]], key: str) -> None:
        images = [item.image for parts in items.values() for part in parts for item in part if item.image is not None]
        sides = grid_of(len(hidden), images[0].shape[:2], len(images)) if images else None
        some = self._rng.permutation(len(hidden))[: self._places]
        for at in some.tolist():
            self._add(name, "place", bool(hidden[at]), key, place_facts(at, len(hidden), sides))
            if images and sides:
                frame = images[(at // (sides[0] * sides[1])) * len(images) // (len(hidden) // (sides[0] * sides[1]))]
                self._add(name, "patch content", bool(hidden[at]), key, patch_facts(frame, at, sides))


def combined(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Return the facts of several items as one vector for each kind: all values, and how neighbours differ."""
    kinds = defaultdict(list)
    for item in items:
        for kind, vector in item.facts.items():
            kinds[kind].append(vector)
    return {kind: _joined(vectors) for kind, vectors in kinds.items()}


def _joined(vectors: Sequence[np.ndarray]) -> np.ndarray:
    if len(vectors) == 1:
        return vectors[0]
    same = len({len(vector) for vector in vectors}) == 1
    if same and len(vectors) * len(vectors[0]) * 2 <= MAX_WIDTH:
        between = np.diff(vectors, axis=0)
        cubes = (between**3).ravel() if len(vectors[0]) == 1 else np.zeros(0)
        return np.concatenate([*vectors, np.abs(between).ravel(), cubes])
    shortest = min(map(len, vectors))
    table = np.array([vector[:shortest] for vector in vectors])
    return np.concatenate([table.mean(0), table[-1] - table[0]])


def as_mask(value: Sequence[Any]) -> np.ndarray | None:
    """Return which places of a list are asked for: True in a mask, a value beside -100 in a list with -100."""
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "biu":
        return None
    if array.dtype == bool or set(np.unique(array)) <= {0, 1}:
        return array.astype(bool)
    return array != IGNORE_INDEX if (array == IGNORE_INDEX).any() else None


def grid_of(count: int, shape: tuple[int, int], images: int = 1) -> tuple[int, int] | None:
    """Return rows and columns of the patches of an image that a mask of `count` places covers; None if none fits."""
    for side in PATCHES:
        down, across = shape[0] // side, shape[1] // side
        layers = count // (down * across) if down and across else 0
        if layers and layers * down * across == count and images % layers == 0:
            return down, across
    return None


def place_facts(at: int, count: int, sides: tuple[int, int] | None) -> np.ndarray:
    """Return the place in the list, its distances to both ends one by one, and row and column in the grid."""
    ends = np.minimum([at, count - 1 - at], NEAR)
    slots = np.arange(NEAR + 1)
    found = [at, at / count, count, *(slots == ends[0]), *(slots == ends[1])]
    if sides:
        down, across = divmod(at % (sides[0] * sides[1]), sides[1])
        border = min(down, sides[0] - 1 - down, across, sides[1] - 1 - across)
        found += [down, across, border, abs(2 * down - sides[0] + 1), abs(2 * across - sides[1] + 1)]
    return np.array(found, float)


def patch_facts(image: np.ndarray, at: int, sides: tuple[int, int]) -> np.ndarray:
    """Return mean, spread and gradients of the patch at a place."""
    down, across = divmod(at % (sides[0] * sides[1]), sides[1])
    high, wide = image.shape[0] // sides[0], image.shape[1] // sides[1]
    patch = image[down * high : (down + 1) * high, across * wide : (across + 1) * wide].mean(2)
    slopes = [np.abs(np.diff(patch, axis=axis)).mean() if patch.shape[axis] > 1 else 0.0 for axis in (0, 1)]
    return np.array([patch.mean(), patch.std(), *slopes])


def _scalar(value: Any) -> Any:
    """Convert a label to a plain value: a bool, int, str, None, or a list of them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _coded(value: Any) -> np.ndarray:
    """Return a label as numbers: one of MAX_CLASSES slots. Labels that are no numbers get a slot by their hash."""
    from pseudolabel.contracts import hash64

    slot = int(value) if isinstance(value, int | bool) else hash64(str(value))
    return np.asarray(np.arange(MAX_CLASSES) == slot % MAX_CLASSES)


def askable(answers: Answers) -> str:
    """Return why a question is not asked; "" if it is."""
    classes, counts = np.unique(np.array(list(map(str, answers.labels))), return_counts=True)
    if len(classes) < 2:
        return "all labels are equal"
    if len(classes) > MAX_CLASSES:
        return f"{len(classes):,} classes in {len(answers.labels):,} rows are too many to guess"
    if len(set(answers.sources)) < 2 * 5:
        return f"{len(set(answers.sources))} sources are too few: 10 are needed"
    return "" if counts.max() < len(answers.labels) else "all labels are equal"


def ask_all(questions: Questions) -> Iterator[tuple[Question, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield each question that can be asked with its features (n, d), labels (n,) and sources (n,)."""
    for question, answers in questions.items():
        if not askable(answers):
            width = min(map(len, answers.features))
            features = np.array([vector[:width] for vector in answers.features], np.float64)
            yield question, np.nan_to_num(features), np.array(list(map(str, answers.labels))), np.array(answers.sources)
