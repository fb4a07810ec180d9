"""The questions of an audit: features, labels and sources, collected row by row, for each label and kind of facts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import IGNORE_INDEX, file_of, hash64
from pseudolabel.inspection.audit.guess import FOLDS
from pseudolabel.inspection.audit.image_facts import patch_facts
from pseudolabel.inspection.audit.media import Facts, Item, Items, images_of, is_numbers, plain

MAX_CLASSES = 64  # classes of a label that is guessed, at most
MAX_WIDTH = 1536  # numbers of a row's facts of one kind, at most; longer ones are averaged over the items
MAX_PLACES = 30_000  # places of masks that are asked about, in all rows together
MIN_SOURCES = 2 * FOLDS
SLOTS = 8  # places among the rows of a sample that are told apart
NEAR = 12  # distances to the ends of a mask that are told apart
PATCHES = (16, 14, 32, *range(2, 65))  # sides of a patch in pixels, in the order in which they are tried
TIMES = ("timestamps", "start", "time")  # columns with the time at which a clip begins
ONE_CLASS = "all its values are equal"
SAME_SAMPLE = "; --label key asks whether two inputs are of one sample"
PERIODS = (2, 3, 4, 5, 8)  # in rows, after which a label may come again


class Question(NamedTuple):
    """Which label is asked for, and from which kind of facts."""

    label: str
    facts: str


class Answers(NamedTuple):
    """The features, labels and sources of one question."""

    features: list[np.ndarray]
    labels: list[Any]
    sources: list[str]


class Asker:
    """A collector of the questions of a table. `rows`: the approximate number of rows."""

    def __init__(self, labels: Sequence[str], rows: int) -> None:
        self._questions: dict[Question, Answers] = defaultdict(lambda: Answers([], [], []))
        self._labels = labels
        self._not_asked: dict[str, str] = {}  # label -> why its values cannot be guessed
        self._places = max(8, MAX_PLACES // max(1, rows))  # per row
        self._rng = np.random.default_rng(0)
        self._number, self._sample, self._slot, self._has_keys = -2, "", 0, False
        self._earlier: dict[str, list[Any]] = {}  # label -> its values in the earlier rows of the sample
        self._row_before: tuple[str, list[Item]] | None = None  # for labels that say "same source"

    def ask(self, number: int, row: Mapping[str, Any], items: Items) -> None:
        """Add the row with this number in the table."""
        key = str(row.get("key", number))
        self._has_keys |= "key" in row
        follows, self._number = number == self._number + 1, number
        self._slot = self._slot + 1 if follows and key == self._sample else 0
        flat = [item for parts in items.values() for part in parts for item in part]
        whole = {**combined(flat), **self._where(row, key)}
        for name in self._labels:
            if name == "key":
                self._same_source(key, flat)
                continue
            value = plain_label(row[name])
            if isinstance(value, list):
                value = self._list(name, value, row, items, key)
            if isinstance(value, bool | int | float | str):
                for kind, vector in {**whole, **self._order(name, follows)}.items():
                    self._add(name, kind, value, key, vector)
                self._earlier[name] = [*(self._earlier.get(name, ()) if self._slot else ()), value]
            elif value is not None:
                self._not_asked[name] = f"its values are of the type {type(value).__name__}, and no numbers"
        self._sample = key

    def _add(self, label: str, kind: str, value: Any, key: str, vector: np.ndarray) -> None:
        answers = self._questions[Question(label, kind)]
        answers.features.append(np.asarray(vector, np.float32))
        answers.labels.append(value)
        answers.sources.append(file_of(key))

    def _where(self, row: Mapping[str, Any], key: str) -> Facts:
        """Return the number of the row, and where in its source it begins: as its key says, and its times."""
        found = {"row number": np.array([self._number, *(self._number % n for n in PERIODS)], float)}
        starts = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", key.partition("#")[2])[:1]]
        times = [plain(row[name]) for name in TIMES if name in row]
        starts += [float(np.min(time)) for time in times if isinstance(time, int | float) or is_numbers(time)]
        if starts:
            found["position in the source"] = np.array([f for start in starts for f in (start, start % 1, start % 8)])
        return found

    def _order(self, name: str, follows: bool) -> Facts:
        """Return facts from earlier rows: the labels of the sample's earlier rows, and the number of this row among
        them. For the first row of a sample, return the label of the row before."""
        before = self._earlier.get(name, [])
        if self._slot:
            earlier = np.sum([_one_hot(value) for value in before], axis=0)
            return {"earlier rows of the sample": np.array([*(np.arange(SLOTS) == self._slot), *earlier], float)}
        return {"row before": _one_hot(before[-1])} if follows and before else {}

    def _same_source(self, key: str, flat: list[Item]) -> None:
        """Ask whether two items are of one sample: the first and last of this row and of the row before."""
        if self._row_before and self._row_before[0] != key:
            two = (self._row_before, (key, flat))
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                pair = combined([two[i][1][0], two[j][1][-1]])
                for kind, vector in pair.items():
                    self._add("key", kind, i == j, two[0][0], vector)
            self._row_before = None
        else:
            self._row_before = (key, flat)

    def _list(
        self, name: str, value: list[Any], row: Mapping[str, Any], items: Items, key: str
    ) -> float | list[Any] | None:
        """Ask for each value of a list: of a list of as many items, from each item; of a mask, from each place.

        Return the mean of another list of numbers, to be asked for instead, or a list that cannot be asked for.
        """
        for parts in items.values():
            if len(parts) == len(value) > 1:
                for part, one in zip(parts, value, strict=True):
                    for kind, vector in combined(part).items():
                        self._add(name, kind, one, key, vector)
                return None
        hidden = as_mask(value, row)
        if hidden is None:
            numbers = [one for one in value if one != IGNORE_INDEX] if is_numbers(value) else []
            return float(np.mean(numbers)) if numbers else value
        self._mask(name, hidden, real_places(row, len(hidden)), items, key)
        return None

    def _mask(self, name: str, hidden: np.ndarray, real: np.ndarray, items: Items, key: str) -> None:
        """Ask for as many hidden places as shown ones, so that chance is one half."""
        images, count = images_of(items), len(hidden)
        sides = grid_of(count, images[0].shape[:2], len(images)) if images else None
        two = [np.flatnonzero(real & (hidden == value)) for value in (True, False)]
        each = min(len(two[0]), len(two[1]), self._places // 2)
        for at in np.concatenate([self._rng.choice(places, each, replace=False) for places in two]).tolist():
            self._add(name, "place", bool(hidden[at]), key, place_facts(at, count, sides))
            if sides:
                layer = at // (sides[0] * sides[1])
                image = images[layer * len(images) // (count // (sides[0] * sides[1]))]
                self._add(name, "patch content", bool(hidden[at]), key, patch_facts(image, at, sides))

    def questions(self) -> Iterator[tuple[Question, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each question that can be asked with its features (n, d), labels (n,) and sources (n,)."""
        for question, answers in self._questions.items():
            labels = as_classes(answers.labels)
            if not _obstacle(labels, answers.sources):
                features = _table(answers.features)
                if (features != features[0]).any():
                    yield question, features, labels, np.array(answers.sources)

    def not_asked(self) -> dict[str, str]:
        """Return for each label that no question asks for the reason."""
        reasons, asked = dict(self._not_asked), set()
        for (name, _), answers in self._questions.items():
            obstacle = _obstacle(as_classes(answers.labels), answers.sources)
            asked |= set() if obstacle else {name}
            advice = SAME_SAMPLE if obstacle == ONE_CLASS and self._has_keys else ""
            reasons.setdefault(name, obstacle + advice)
        return {name: reasons.get(name, "it has no value") for name in self._labels if name not in asked}


def combined(items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Return the facts of several items as one vector for each kind: all values, and how neighbours differ."""
    kinds = defaultdict(list)
    for item in items:
        for kind, vector in item.facts.items():
            kinds[kind].append(vector)
    return {kind: _join(vectors) for kind, vectors in kinds.items()}


def _join(vectors: Sequence[np.ndarray]) -> np.ndarray:
    if len(vectors) == 1:
        return vectors[0]
    same = len({len(vector) for vector in vectors}) == 1
    if same and len(vectors) * len(vectors[0]) * 2 <= MAX_WIDTH:
        between = np.diff(vectors, axis=0)
        cubes = (between**3).ravel() if len(vectors[0]) <= 3 else np.zeros(0)  # of sizes: they tell a jump from a slope
        return np.concatenate([*vectors, np.abs(between).ravel(), cubes])
    shortest = min(map(len, vectors))
    table = np.array([vector[:shortest] for vector in vectors])
    return np.concatenate([table.mean(0), table[-1] - table[0]])


def as_mask(value: Sequence[Any], row: Mapping[str, Any]) -> np.ndarray | None:
    """Return which places of a list are asked for: where a mask is True, or where a list with -100 is not -100.

    A list with -100 that is not as long as `input_ids` has them as padding, and is no mask.
    """
    if not value or not all(isinstance(one, bool | int) for one in value):
        return None
    array = np.asarray(value)
    if array.dtype == bool or set(np.unique(array)) <= {0, 1}:
        return array.astype(bool)
    beside = len(row.get("input_ids", value)) == len(value)
    return array != IGNORE_INDEX if beside and (array == IGNORE_INDEX).any() else None


def real_places(row: Mapping[str, Any], count: int) -> np.ndarray:
    """Return which of the places of a row are neither padding nor the special tokens around the text.

    Special tokens are those that the row begins and ends with.
    """
    real = np.asarray(plain(row.get("attention_mask", ())), bool)
    ids = np.asarray(plain(row.get("input_ids", ())))
    real = real if real.shape == (count,) else np.ones(count, bool)
    if ids.shape == (count,) and real.any():
        ends = ids[np.flatnonzero(real)[[0, -1]]]
        real = real & ~np.isin(ids, ends)
    return real


def grid_of(count: int, shape: tuple[int, ...], images: int) -> tuple[int, int] | None:
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


def plain_label(value: Any) -> Any:
    """Convert a label to a plain value: None for a null or NaN."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    value = value.tolist() if hasattr(value, "tolist") else value
    value = list(value) if isinstance(value, tuple) else value
    return None if isinstance(value, float) and value != value else value


def as_classes(labels: Sequence[Any]) -> np.ndarray:
    """Return labels as classes: strings; of floats with many values, whether they are above the median."""
    if len(set(map(str, labels))) > MAX_CLASSES and all(isinstance(one, float) for one in labels):
        return np.asarray(labels > np.median(labels))
    return np.array(list(map(str, labels)))


def _one_hot(value: Any) -> np.ndarray:
    """Return a label as one of MAX_CLASSES slots. Labels that are no numbers get a slot by their hash."""
    slot = value if isinstance(value, int) else hash64(str(value))
    return np.asarray(np.arange(MAX_CLASSES) == slot % MAX_CLASSES, float)


def _obstacle(labels: np.ndarray, sources: Sequence[str]) -> str:
    """Return why a question is not asked; "" if it is."""
    classes, count = len(np.unique(labels)), len(set(sources))
    if classes < 2:
        return ONE_CLASS
    if classes > min(MAX_CLASSES, len(labels) // 4):
        return f"{classes:,} classes in {len(labels):,} rows are too many to guess"
    return f"{count} sources are too few; {MIN_SOURCES} are needed" if count < MIN_SOURCES else ""


def _table(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return vectors as a table, with zeros where a vector is shorter than the longest."""
    table = np.zeros((len(vectors), max(map(len, vectors))))
    for line, vector in zip(table, vectors, strict=True):
        line[: len(vector)] = np.nan_to_num(vector, posinf=0.0, neginf=0.0)
    return table
