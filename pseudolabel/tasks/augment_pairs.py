"""Contrastive pairs: are two views of one picture? Chen et al. 2020, A simple framework for contrastive learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Chance, Column, Piece, Sample, Skipped, Tiles, UserError, or_skipped
from pseudolabel.tasks.base.task import Description, ImageTask, Labeler, PerSampleLabeler, Row, Rows
from pseudolabel.transforms.image import augment, codec, ops

if TYPE_CHECKING:
    import pyarrow as pa

DUPLICATE_BITS = (
    8  # bits of 64: pictures whose hashes, one of them mirrored or not, differ in no more are not unrelated
)
WINDOW_SAMPLES = 16  # pictures among which partners are chosen, or twice as many as partners are wanted
MAX_VIEW_PIXELS = 2**29  # pixels of views that may be kept meanwhile: about 300 MB encoded
NEGATIVES = (
    "Rows of two different pictures for each of the same; losses with negatives from the batch (NT-Xent) want 0."
)


class ViewPreset(StrEnum):
    """Whose views."""

    simclr = "simclr"
    moco2 = "moco-v2"
    moco3 = "moco-v3"
    byol = "byol"


@dataclass(frozen=True)
class AugmentPairs(augment.ViewOptions, ImageTask):
    """Pair augmented views, two of one picture or of different ones; the label is whether they are of the same.

    `label` is 1 where `view_2` is of the picture that `view_1` is of. Both are drawn by the preset's recipe, and either
    view of a false pair is, encoded as it is, the view of a true one. Its pictures are of one shard and split, and do
    not look alike: their difference hashes differ in more than 8 of 64 bits, mirrored or not. Where there is no such
    picture among those read with it, rows are lacking. Each view can be made again from its source by what is stored of
    it: `pseudolabel.transforms.image.augment.make_view`. Crops are those of the reference's code (SimCLR's have a tenth
    of the picture or more), colours always torchvision's, also for SimCLR and BYOL, whose own code has others of the
    same strength.
    """

    name: ClassVar[str] = "augment-pairs"
    description = Description(paper="Chen et al. 2020, https://arxiv.org/abs/2002.05709")

    preset: Annotated[ViewPreset, Option(help=augment.describe_presets(*ViewPreset))] = ViewPreset.simclr
    negatives: Annotated[int, Option(min=0, max=1000, help=NEGATIVES)] = 1
    size: Annotated[int | None, Option(min=8, max=8192, help="Pixels of a view's side. [224]")] = None
    min_area: Annotated[float | None, Option(min=0.001, max=1, help="Least share of the picture in a view.")] = None
    max_area: Annotated[float | None, Option(min=0.001, max=1, help="Largest share of the picture in a view.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipes  # noqa: B018 - refuses what cannot be drawn

    @cached_property
    def recipes(self) -> tuple[augment.AugmentParams, ...]:
        """Of the first and of the second view."""
        return tuple(map(self.with_given_options, augment.PRESETS[self.preset]))

    def options(self) -> Mapping[str, Any]:
        own = {name: value for name, value in super().options().items() if name not in augment.AugmentParams._fields}
        return {**own, "recipes": [recipe._asdict() for recipe in self.recipes]}

    def columns(self) -> Sequence[Column]:
        partner = "The key of the picture that `view_2` is of; `key` is that of `view_1`."
        return (
            Column("label", "class", "label", "Whether both views are of the same picture.", ("different", "same")),
            *([Column("partner", "string", "about", partner)] if self.negatives else []),
            Column("view_1", "image", "input", "A view of the picture."),
            Column("view_2", "image", "input", "Another of it, or one of another picture."),
            *augment.VIEW_COLUMNS,
        )

    def min_shard_extents(self) -> int:
        return self.company if self.negatives else 1

    @property
    def company(self) -> int:
        """Pictures among which partners are chosen."""
        return max(WINDOW_SAMPLES, 2 * self.negatives)

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> the row of two views of one picture."""
        height, width, _ = image.shape
        drawn = [augment.draw_view(recipe, height, width, rng) for recipe in self.recipes]
        made = [
            augment.make_view(image, view, recipe, self.exact) for view, recipe in zip(drawn, self.recipes, strict=True)
        ]
        one, two = (codec.jpeg(view) for view in made)
        yield {"label": 1, "view_1": one, "view_2": two, **augment.view_columns(drawn)}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Is the label what the keys say, and are the views those that the source gives by what was done to them?"""
        if self.negatives and row["label"] != (row["partner"] == row["key"]):
            return "`label` is not whether `partner` is `key`"
        if not self.negatives and not row["label"]:
            return "`label` is different, of two views of one picture"
        if source is not None:
            for number, view, recipe in zip((1, 2), augment.read_views(row), self.recipes, strict=True):
                made = augment.make_view(source, view, recipe, self.exact)
                if (number == 1 or row["label"]) and not ops.equal_up_to_jpeg(
                    codec.decode_stored(row[f"view_{number}"]), made
                ):
                    return f"`view_{number}` is not the view of its source that it is said to be"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """The two views."""
        yield Tiles("", [codec.decode_stored(row[name]) for name in ("view_1", "view_2")], 2)

    def labeler(self, artefacts: Path) -> Labeler:
        return PairLabeler(self) if self.negatives else PerSampleLabeler(self)


class SeenPicture(NamedTuple):
    """A picture that was read: what it looks like, also mirrored, and its true pair for each copy, with its chance."""

    looks: tuple[int, int]
    rows: list[Row]
    chances: list[np.random.Generator]


class PairLabeler(NamedTuple):
    """The labeler: a picture's true pairs, and false ones with pictures read with it."""

    task: AugmentPairs

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        task = self.task
        if 4 * task.company * copies * task.recipes[0].size ** 2 > MAX_VIEW_PIXELS:
            what = f"--copies {copies} of --size {task.recipes[0].size} with --negatives {task.negatives}"
            raise UserError(f"{what} are too much to keep in memory; make fewer copies, or --negatives 0")
        group: list[SeenPicture] = []
        before: list[SeenPicture] = []
        for sample in samples:
            seen = or_skipped(sample.key, partial(self._see, sample, chance, copies))
            del sample  # a picture may be large, and the next one is decoded before this name is bound again
            if isinstance(seen, Skipped):
                yield seen
                continue
            group.append(seen)
            if len(group) == task.company:
                yield from self._paired(group, group)
                group, before = [], group
        yield from self._paired(group, [*before, *group][-task.company :])

    def check_rows(self, rows: pa.RecordBatch, source: Any) -> Sequence[str | None]:
        return PerSampleLabeler(self.task).check_rows(rows, source)

    def draw(self, row: Row) -> Iterable[Piece]:
        return self.task.draw(row)

    def _see(self, sample: Sample, chance: Chance, copies: int) -> SeenPicture:
        chances = [chance(sample.key, copy) for copy in range(copies)]
        rows = [
            {"key": sample.key, "copy": copy, "partner": sample.key, **row}
            for copy, rng in enumerate(chances)
            for row in self.task.rows(sample.payload, rng)
        ]
        return SeenPicture(ops.dhash(sample.payload), rows, chances)

    def _paired(self, group: Sequence[SeenPicture], pool: Sequence[SeenPicture]) -> Iterator[Rows | Skipped]:
        looks = np.array([seen.looks[0] for seen in pool], np.uint64)
        for seen in group:
            apart = [np.bitwise_count(looks ^ np.uint64(look)) for look in seen.looks]
            unlike = np.flatnonzero(np.minimum(*apart) > DUPLICATE_BITS)
            count = min(self.task.negatives, len(unlike))
            rows = []
            for row, rng in zip(seen.rows, seen.chances, strict=True):
                others = rng.choice(unlike, count, replace=False).tolist() if count else ()
                rows += [row, *(different(row, pool[other].rows[row["copy"]]) for other in others)]
            yield Rows(rows, 1)
            if lacking := len(seen.rows) * (self.task.negatives - count):
                reason = f"no other picture read with it is unlike it, for {lacking} of its rows"
                yield Skipped(seen.rows[0]["key"], reason, unusable=False, count=0, rows=lacking)


def different(one: Row, other: Row) -> Row:
    """The first view of one true pair beside the second of another."""
    parted = {column.name: [one[column.name][0], other[column.name][1]] for column in augment.VIEW_COLUMNS}
    return {**one, "label": 0, "partner": other["key"], "view_2": other["view_2"], **parted}
