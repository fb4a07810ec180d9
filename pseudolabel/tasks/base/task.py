"""Base classes of tasks: frozen dataclasses whose fields are options, Python arguments and manifest entries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import floordiv, mul
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from pseudolabel.contracts import (
    COPY,
    KEY,
    MEGABYTE,
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
    UserError,
    Wave,
    file_of,
    or_skipped,
    shorten,
)
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.readers.image.reader import ImageOptions, ImageReader
from pseudolabel.tasks.base import media
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.image import codec

if TYPE_CHECKING:
    import pyarrow as pa


def default_display(columns: Sequence[Column], row: Mapping[str, Any]) -> Iterator[Piece]:
    """Yield the pieces that display a row of any task: its inputs, then its labels."""
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


# facts of an image, of which those of similar images are similar
IMAGE_FACTS = ("file size", "brightness and contrast", "gradients", "chroma", "border pixels", "block grid")
TASKS: dict[str, type[Task]] = {}  # by command name; a class registers itself when it is defined
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of rows to write, and the number of samples that the run then counts as used."""

    rows: Sequence[Row] | pa.RecordBatch
    count: int
    source: Any = None  # the source of the rows, for `check_rows`; None if it is no longer in memory
    tokens: int = 0  # tokens of text that the run counts, [UNK] included; 0 if the task has no tokens
    unknown: int = 0  # [UNK] tokens in `tokens`

    def batch(self, schema: pa.Schema) -> pa.RecordBatch:
        """Return the rows as a record batch."""
        import pyarrow as pa

        return self.rows if isinstance(self.rows, pa.RecordBatch) else pa.RecordBatch.from_pylist(self.rows, schema)


class Reader(Protocol):
    """A reader of one modality. `scan` reads at most headers. `read` iterates over the extents once."""

    @property
    def suffixes(self) -> frozenset[str]:
        """Return the file name endings that the reader accepts. Other files are ignored."""

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]: ...
    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]: ...
    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Cut the extent after its first `count` samples. Return the cut extent and its number of samples."""


class Labeler(Protocol):
    """A labeler turns the stream of a shard's samples into rows. A row may combine several samples of the stream."""

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]: ...

    def check_rows(self, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
        """Return for each row the fault if its label is false, else None. `source`: `Rows.source`, None if unknown."""

    def draw(self, row: Row) -> Iterable[Piece]:
        """Return the pieces that display the row."""


def check_is_task(task: Any) -> None:
    """Raise `UserError` unless `task` is an instance of a task, not the name or the class of one."""
    if not isinstance(task, Task):
        raise UserError(f"the task is {task!r}; give an instance of a task, such as Rotate()")


@dataclass(frozen=True)
class Description:
    """Metadata of a task; no row depends on it. `notes` takes the task and the folder of `fit`."""

    paper: str  # authors, year, URL
    invalidating_augmentations: tuple[str, ...] = ()  # later augmentations that make the label false
    chance_level: str = ""  # share of right guesses; "": the share of the most frequent label
    notes: Callable[[Any, Path], Sequence[str]] = lambda task, artefacts: ()  # remarks, beyond column meanings
    self_verifying: Callable[[Any], bool] = lambda task: False  # whether labels can be checked without the source
    # kind of facts -> why it reveals the label without a leak: by the published method, or by the content
    known_shortcuts: Callable[[Any], Mapping[str, str]] = lambda task: {}


@dataclass(frozen=True)
class Task(Options, ABC):
    """A pretext task. Its fields are its options. `__post_init__` raises `UserError` if a value is invalid."""

    name: ClassVar[str]  # name of the command
    description: ClassVar[Description]
    artefact_copies: ClassVar[Mapping[str, str]] = {}  # option that names a file -> glob of the copy that `fit` saves
    observed_megabytes: ClassVar[int] = 0  # maximum MB that `fit` receives; 0: nothing is learned
    packs: ClassVar[bool] = False  # whether a row can span several documents; `--keep` is an error then
    equal_shapes: ClassVar[bool] = True  # whether the inputs of all rows can be stacked, as a loader does by default

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in cls.__dict__:
            other = TASKS.setdefault(cls.name, cls)
            if other.__module__ != cls.__module__:
                named = f"{cls.__module__}.{cls.__name__} has the name of {other.__module__}.{other.__name__}"
                raise UserError(f"{named}, {cls.name!r}; give it another one")
            TASKS[cls.name] = cls  # a cell of a notebook may define it again

    @abstractmethod
    def reader(self) -> Reader:
        """Return the reader of the task's modality, with the task's options."""

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """Return the columns after `key` and `copy`."""

    @abstractmethod
    def labeler(self, artefacts: Path) -> Labeler:
        """Return the labeler. `artefacts` is the folder that `fit` saved to."""

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        """Yield the arrays that `fit` learns from. Runs in the workers."""
        raise NotImplementedError

    def observe_features(
        self, samples: Iterator[Sample], compute: Callable[[Sample], np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Yield features, up to 1/16 of `observed_megabytes` a shard, so that `fit` learns from several shards."""
        room = self.observed_megabytes * MEGABYTE // 16
        for sample in samples:
            features = or_skipped(partial(compute, sample), sample.key)
            if isinstance(features, Skipped):  # reported when the sample is labelled
                continue
            yield features
            if (room := room - features.nbytes) <= 0:
                return

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Learn from the observed arrays and save into `artefacts`. Called once, also if nothing is learned."""
        return

    def resolve(self, sources: Sequence[Path]) -> Task:
        """Return the task, with the fields that depend on the source filled in. Called once, before planning."""
        return self

    def min_shard_extents(self) -> int:
        """Return the minimum number of extents per shard. A task that combines samples needs more than 1."""
        return 1

    def options(self) -> Mapping[str, Any]:
        """Return everything that the rows depend on: the fields, and checksums of the files that fields name."""
        return asdict(self)


def row_columns(task: Task) -> list[Column]:
    """Return all columns of a file, in order. A task's own columns may redefine `key` and `copy`."""
    return list({column.name: column for column in (KEY, COPY, *task.columns())}.values())


class RowMaker(Protocol):
    """An object that labels each sample independently, with the methods of `SampleTask`."""

    def rows(self, payload: Any, rng: np.random.Generator) -> Iterator[Row | Skipped]: ...
    def check_row(self, row: Row, source: Any) -> str | None: ...
    def draw(self, row: Row) -> Iterable[Piece]: ...


class SampleTask(Task):
    """A task that labels each sample independently: `rows` makes rows, `check_row` checks one, `draw` displays one.

    The media of a row are arrays, which are encoded afterwards: `(H, W, 3)` uint8 as JPEG, `(H, W)` uint8 as PNG.
    """

    @abstractmethod
    def rows(self, payload: Any, rng: np.random.Generator) -> Iterator[Row | Skipped]:
        """Yield the rows of one sample. Raise `UnusableSample` or `FilteredSample` if the sample gives none.

        A sample of text is a block of documents: for each document that gives no row, yield a `Skipped` with the
        document's position as its key. Which documents these are must not depend on `rng`.
        """

    def check_row(self, row: Row, source: Any) -> str | None:
        """Return the fault if the row's label is false, else None. `source`: the sample's payload, None if unknown."""
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Return the pieces that display the row."""
        return default_display(self.columns(), row)

    def labeler(self, artefacts: Path) -> Labeler:
        return PerSampleLabeler(self, self.columns())


class PerSampleLabeler(NamedTuple):
    """The labeler of tasks that label each sample independently."""

    task: RowMaker
    columns: Sequence[Column]  # of the task
    raw: bool = False  # leave media as the task made them, for a loader; else encode them

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        for sample in samples:
            key, count = sample.key, sample.count
            made = [or_skipped(partial(self._rows, sample, chance, copy), key) for copy in range(copies)]
            source = sample.payload
            del sample  # an image may be large, and the next one is decoded before this name is rebound
            every = [one for part in made if not isinstance(part, Skipped) for one in part]
            rows = [one for one in every if not isinstance(one, Skipped)]
            lost = [part for part in made if isinstance(part, Skipped)]
            apart = {one.key: one for one in every if isinstance(one, Skipped)}  # each once for all copies
            yield from (replace(one, key=f"{file_of(key)}#{position}") for position, one in apart.items())
            count -= sum(one.count for one in apart.values())
            if rows:
                yield Rows(rows, count, source)
            elif count and not lost:
                yield Skipped(key, "no row could be made", unusable=False, count=count)
            if lost:  # random numbers differ between copies: one may fail and another succeed
                lacking = len(lost) * len(rows) // (copies - len(lost)) if rows else 0
                yield replace(lost[0], count=0 if rows else count, rows=lacking)
            del source

    def check_rows(self, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
        return [self.task.check_row(media.scale_boxes(row, source, floordiv), source) for row in rows.to_pylist()]

    def draw(self, row: Row) -> Iterable[Piece]:
        return self.task.draw(row)

    def _rows(self, sample: Sample, chance: Chance, copy: int) -> list[Row | Skipped]:
        made = self.task.rows(sample.payload, chance(sample.key, copy))
        about = {"key": sample.key, "copy": copy}
        return [one if isinstance(one, Skipped) else self.finish({**about, **one}, sample.payload) for one in made]

    def finish(self, row: Row, image: Any) -> Row:
        """Return the row as it is stored: its boxes in pixels of the source, its media encoded unless `raw`."""
        row = media.scale_boxes(row, image, mul)
        return row if self.raw else media.encode_media(self.columns, row)


@dataclass(frozen=True)
class ImageTask(ImageOptions, SampleTask):
    """A task over images: `rows` takes `(H, W, 3)` uint8 RGB, upright."""

    def reader(self) -> Reader:
        return ImageReader(self, self.suffices)

    def suffices(self, height: int, width: int) -> bool:
        """Return whether an image of this size has enough pixels for `rows`, which then enlarges no part of it.

        A JPEG is decoded at 1/8, 1/4 or 1/2 of its size if that suffices. `rows` and `check_row` then take the smaller
        image, and boxes in its pixels: those in the columns `box` and `boxes` are stored in pixels of the source.
        """
        return False


@dataclass(frozen=True)
class AudioTask(AudioOptions, Task):
    """A task over audio: its labeler takes utterances."""

    def reader(self) -> Reader:
        return AudioReader(self)
