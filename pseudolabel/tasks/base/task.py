"""What a task is: a frozen dataclass whose fields are the command's options, the Python API and the manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from pseudolabel.contracts import (
    COPY,
    KEY,
    Chance,
    Column,
    Extent,
    Fact,
    Options,
    Picture,
    Piece,
    Sample,
    Skipped,
    Split,
    Tiles,
    Wave,
    or_skipped,
    shorten,
)
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.readers.image.reader import ImageOptions, ImageReader
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.image import codec

if TYPE_CHECKING:
    import pyarrow as pa


def default_display(columns: Sequence[Column], row: Mapping[str, Any]) -> Iterator[Piece]:
    """A row of any task: its inputs as they are, then its labels."""
    for column in sorted(columns, key=lambda column: column.role != "input"):
        value, name = row[column.name], column.name
        if column.type == "image":
            yield Picture(name, codec.decode_stored(value))
        elif column.type == "list<image>":
            yield Tiles(name, [codec.decode_stored(one) for one in value], min(len(value), 4))
        elif column.type.startswith("audio<"):
            yield Wave(name, *audio_codec.decode_flac(value), np.zeros(0, bool), np.zeros(0, np.int32))
        elif column.type == "class":
            yield Fact(name, column.class_name(value))
        elif column.role != "about":
            yield Fact(name, shorten(value))


TASKS: dict[str, type[Task]] = {}  # by command name; a class of a module in this folder enters by being defined
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows ready to be written, and how many samples they are all the rows of."""

    rows: Sequence[Row] | pa.RecordBatch
    count: int
    source: Any = None  # what they were made of, as `check_rows` takes it; None where it is no longer held


class Reader(Protocol):
    """One modality. `scan` reads headers at most; `read` makes one pass over extents, pulling them one by one."""

    @property
    def suffixes(self) -> frozenset[str]:
        """Files that end so are candidates, the others are ignored."""

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]: ...
    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]: ...
    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """The extent cut after its first `count` samples, and how many it holds then."""


class Labeler(Protocol):
    """Turns samples into rows. It sees a shard's whole stream, for tasks that pack or need neighbours."""

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]: ...

    def check_rows(self, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
        """Of each row the fault, if its label is false: by the row alone, or beside what `Rows.source` held."""

    def draw(self, row: Row) -> Iterable[Piece]:
        """The row as a person sees it."""


def guess_among_classes(task: Task, artefacts: Path) -> str:
    """Return how often a guess among the classes of the first label is right."""
    counts = [len(column.names) for column in task.columns() if column.type == "class" and column.role == "label"]
    return f"1 in {counts[0]:,}, guessing among {counts[0]:,} classes" if counts else "not a matter of classes"


def no_notes(task: Task, artefacts: Path) -> Sequence[str]:
    return ()


def never(task: Task) -> bool:
    return False


@dataclass(frozen=True)
class Description:
    """What only describes a task: no row depends on it. The functions take the task, and the folder `fit` saved to."""

    paper: str  # authors, year, address
    invalidating_augmentations: tuple[str, ...] = ()  # later augmentations that would make the label false
    chance_level: Callable[[Any, Path], str] = guess_among_classes  # how often a guess is right: what a model must beat
    notes: Callable[[Any, Path], Sequence[str]] = no_notes  # what to know of the rows beside the columns' meanings
    self_verifying: Callable[[Any], bool] = never  # whether a row alone proves its label, without its source


@dataclass(frozen=True)
class Task(Options, ABC):
    """A pretext task. Its fields are its options; bad values raise `UserError` in `__post_init__`."""

    name: ClassVar[str]  # the command
    description: ClassVar[Description]
    artefact_copies: ClassVar[Mapping[str, str]] = {}  # options that name a file, and the artefact (a pattern) of it
    observed_megabytes: ClassVar[int] = 0  # how much of the source `fit` sees; 0: nothing is learned
    packs: ClassVar[bool] = False  # whether a row is of several samples, so that `--keep` has no one to keep of

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            TASKS[cls.name] = cls

    @abstractmethod
    def reader(self) -> Reader:
        """The reader of the task's modality, with the task's options."""

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """The columns after `key` and `copy`."""

    @abstractmethod
    def labeler(self, artefacts: Path) -> Labeler:
        """What labels, given the folder that holds what `fit` saved."""

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        """What `fit` needs of the samples it is shown; runs in the workers."""
        raise NotImplementedError

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Learn from what was observed, once, and save it into `artefacts`. Called also where nothing is learned."""
        return

    def resolve(self, sources: Sequence[Path]) -> Task:
        """The task with what only the source can tell filled in; asked once, before anything is planned."""
        return self

    def min_shard_extents(self) -> int:
        """How many extents a shard must hold, at least, for a task that sets samples beside each other."""
        return 1

    def options(self) -> Mapping[str, Any]:
        """What the rows depend on: the fields, and the content of files they name."""
        return asdict(self)


def row_columns(task: Task) -> list[Column]:
    """Return all columns of a file, in order. A task may give `key` or `copy` another meaning in its own columns."""
    return list({column.name: column for column in (KEY, COPY, *task.columns())}.values())


class RowMaker(Protocol):
    """What labels each sample by itself."""

    def rows(self, payload: Any, rng: np.random.Generator) -> Iterator[Row]: ...
    def check_row(self, row: Row, source: Any) -> str | None: ...
    def draw(self, row: Row) -> Iterable[Piece]: ...


class SampleTask(Task):
    """A task that labels each sample alone. `rows` makes its rows, `check_row` proves one, `draw` displays one."""

    @abstractmethod
    def rows(self, payload: Any, rng: np.random.Generator) -> Iterator[Row]:
        """The rows of one sample. Raises `UnusableSample` where the sample cannot bear this task."""

    def check_row(self, row: Row, source: Any) -> str | None:
        """The fault, if the row's label is false: by what the row alone betrays, or beside the payload, if given."""
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """The row as a person sees it."""
        return default_display(self.columns(), row)

    def labeler(self, artefacts: Path) -> Labeler:
        return PerSampleLabeler(self)


class PerSampleLabeler(NamedTuple):
    """The labeler of a task that has `rows`, or whose artefacts have."""

    task: RowMaker

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        for sample in samples:
            key, count = sample.key, sample.count
            made = [or_skipped(key, partial(self._rows, sample, chance, copy)) for copy in range(copies)]
            source = sample.payload
            del sample  # a picture may be large, and the next one is decoded before this name is bound again
            rows = [row for part in made if not isinstance(part, Skipped) for row in part]
            lost = [part for part in made if isinstance(part, Skipped)]
            if rows:
                yield Rows(rows, count, source)
            elif not lost:
                yield Skipped(key, "gave no row", unusable=False, count=count)
            if lost:  # chance may find enough in one copy and not in another
                lacking = len(lost) * len(rows) // (copies - len(lost)) if rows else 0
                yield replace(lost[0], count=0 if rows else count, rows=lacking)
            del source

    def check_rows(self, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
        return [self.task.check_row(row, source) for row in rows.to_pylist()]

    def draw(self, row: Row) -> Iterable[Piece]:
        return self.task.draw(row)

    def _rows(self, sample: Sample, chance: Chance, copy: int) -> list[Row]:
        rows = self.task.rows(sample.payload, chance(sample.key, copy))
        return [{"key": sample.key, "copy": copy, **row} for row in rows]


@dataclass(frozen=True)
class ImageTask(ImageOptions, SampleTask):
    """A task over pictures: `rows` takes (H, W, 3) uint8 RGB, upright."""

    def reader(self) -> Reader:
        return ImageReader(self)


@dataclass(frozen=True)
class AudioTask(AudioOptions, Task):
    """A task over sound: its labeler takes utterances."""

    def reader(self) -> Reader:
        return AudioReader(self)
