"""Contrastive pairs: two views of one or two images. Chen et al. 2020, A simple framework for contrastive learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Chance, Column, Piece, Sample, Skipped, Tiles, UserError, or_skipped
from pseudolabel.tasks.base.task import PICTURE_FACTS, Description, ImageTask, Labeler, PerSampleLabeler, Row, Rows
from pseudolabel.transforms.image import augment, codec, ops

DUPLICATE_BITS = 8  # of 64; images whose hashes, mirrored or not, differ in at most 8 bits make no negative row
WINDOW_SAMPLES = 16  # images among which partners are chosen; 2 * negatives if that is more
MAX_VIEW_PIXELS = 2**29  # pixels of views kept in memory; about 300 MB encoded
NEGATIVES = "Negative rows (different images) per positive row; 0 for losses with negatives from the batch (NT-Xent)."


class ViewPreset(StrEnum):
    """The method whose views are drawn."""

    simclr = "simclr"
    moco2 = "moco-v2"
    moco3 = "moco-v3"
    byol = "byol"


@dataclass(frozen=True)
class AugmentPairs(augment.ViewOptions, ImageTask):
    """Pair augmented views of one image or of two images; the label is whether both views are of the same image.

    `label` is 1 (positive) if both views are of the same image. Both views are drawn with the preset's parameters. A
    negative row combines encoded views of two positive rows. The two images are of the same shard and split and are not
    similar: their difference hashes differ in more than 8 of 64 bits, mirrored or not. If too few of the images read
    together differ enough, negative rows are missing. `pseudolabel.transforms.image.augment.make_view` makes each view
    again from the source and the stored parameters. Crops follow the code of the method (SimCLR: at least a tenth of
    the image). Colours always follow torchvision; SimCLR's and BYOL's code has other operations of the same strength.
    With `--copies`, let each epoch take the rows of one copy, in random order: a contrastive loss would treat two
    copies of an image in one batch as different images.
    """

    name: ClassVar[str] = "augment-pairs"
    description = Description(
        paper="Chen et al. 2020, https://arxiv.org/abs/2002.05709",
        told_by=lambda task: {
            **dict.fromkeys(PICTURE_FACTS, "views of one image look alike"),
            "earlier rows of the sample": "each image gives one row of the same image and --negatives others",
        },
    )

    preset: Annotated[ViewPreset, Option(help=augment.describe_presets(*ViewPreset))] = ViewPreset.simclr
    negatives: Annotated[int, Option(min=0, max=1000, help=NEGATIVES)] = 1
    size: Annotated[int | None, Option(min=8, max=8192, help="Side of a view in pixels. [224]")] = None
    min_area: Annotated[float | None, Option(min=0.001, max=1, help="Smallest share of the image in a view.")] = None
    max_area: Annotated[float | None, Option(min=0.001, max=1, help="Largest share of the image in a view.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipes  # noqa: B018 - raises `UserError` for invalid options

    @cached_property
    def recipes(self) -> tuple[augment.AugmentParams, ...]:
        """Return the parameters of the first and of the second view."""
        return tuple(map(self.with_given_options, augment.PRESETS[self.preset]))

    def options(self) -> Mapping[str, Any]:
        own = {name: value for name, value in super().options().items() if name not in augment.AugmentParams._fields}
        return {**own, "recipes": [recipe._asdict() for recipe in self.recipes]}

    def columns(self) -> Sequence[Column]:
        partner = "The key of the image of `view_2`; `key` is the key of the image of `view_1`."
        return (
            Column("label", "class", "label", "Whether both views are of the same image.", ("different", "same")),
            *([Column("partner", "string", "about", partner)] if self.negatives else []),
            Column("view_1", "image", "input", "A view of the image."),
            Column("view_2", "image", "input", "Another view of the image, or a view of a different image."),
            *augment.VIEW_COLUMNS,
        )

    def min_shard_extents(self) -> int:
        return self.company if self.negatives else 1

    @property
    def company(self) -> int:
        """Return the number of images among which partners are chosen."""
        return max(WINDOW_SAMPLES, 2 * self.negatives)

    def suffices(self, height: int, width: int) -> bool:
        return augment.suffices(self.recipes, height, width)

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> one row with two views of the image."""
        (one, two), columns = augment.draw_views(image, self.recipes, rng, self.exact)
        yield {"label": 1, "view_1": one, "view_2": two, **columns}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if the label contradicts the keys, or a view does not match the view made again."""
        if self.negatives and row["label"] != (row["partner"] == row["key"]):
            return "`label` contradicts `partner` and `key`"
        if not self.negatives and not row["label"]:
            return "`label` is 0 (different), but --negatives 0 makes only pairs of the same image"
        if source is not None:
            for number, view, recipe in zip((1, 2), augment.read_views(row), self.recipes, strict=True):
                made = augment.make_view(source, view, recipe, self.exact)
                if (number == 1 or row["label"]) and not ops.equal_up_to_jpeg(
                    codec.decode_stored(row[f"view_{number}"]), made
                ):
                    return f"`view_{number}` does not match the view made again from the source"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the two views."""
        yield Tiles("", [codec.decode_stored(row[name]) for name in ("view_1", "view_2")], 2)

    def labeler(self, artefacts: Path) -> Labeler:
        columns = self.columns()
        return PairLabeler(self, columns) if self.negatives else PerSampleLabeler(self, columns)


class SeenPicture(NamedTuple):
    """An image that was read: hashes, and per copy a positive row and its random number generator."""

    looks: tuple[int, int]  # difference hashes of the image and of the mirrored image
    rows: list[Row]
    chances: list[np.random.Generator]


class PairLabeler(PerSampleLabeler):
    """The labeler that yields positive rows, and negative rows that combine two images read together."""

    task: AugmentPairs

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        task = self.task
        if 4 * task.company * copies * task.recipes[0].size ** 2 > MAX_VIEW_PIXELS:
            what = f"--copies {copies} with --size {task.recipes[0].size} and --negatives {task.negatives}"
            raise UserError(f"{what}: the views do not fit into memory; give fewer --copies or --negatives 0")
        group: list[SeenPicture] = []
        before: list[SeenPicture] = []
        for sample in samples:
            seen = or_skipped(partial(self._see, sample, chance, copies), sample.key)
            del sample  # free a possibly large image before the next one is decoded
            if isinstance(seen, Skipped):
                yield seen
                continue
            group.append(seen)
            if len(group) == task.company:
                yield from self._pair(group, group)
                group, before = [], group
        yield from self._pair(group, [*before, *group][-task.company :])

    def _see(self, sample: Sample, chance: Chance, copies: int) -> SeenPicture:
        chances = [chance(sample.key, copy) for copy in range(copies)]
        rows = [
            self.finish({"key": sample.key, "copy": copy, "partner": sample.key, **row}, sample.payload)
            for copy, rng in enumerate(chances)
            for row in self.task.rows(sample.payload, rng)
        ]
        return SeenPicture(ops.dhash(sample.payload), rows, chances)

    def _pair(self, group: Sequence[SeenPicture], pool: Sequence[SeenPicture]) -> Iterator[Rows | Skipped]:
        looks = np.array([seen.looks[0] for seen in pool], np.uint64)
        for seen in group:
            apart = [np.bitwise_count(looks ^ np.uint64(look)) for look in seen.looks]
            unlike = np.flatnonzero(np.minimum(*apart) > DUPLICATE_BITS)
            count = min(self.task.negatives, len(unlike))
            rows = []
            for row, rng in zip(seen.rows, seen.chances, strict=True):
                others = rng.choice(unlike, count, replace=False).tolist() if count else ()
                pairs = [row, *(different(row, pool[other].rows[row["copy"]]) for other in others)]
                rows += [pairs[i] for i in rng.permutation(len(pairs))]  # a fixed order would tell the label
            yield Rows(rows, 1)
            if lacking := len(seen.rows) * (self.task.negatives - count):
                reason = (
                    f"too few images read together differ enough from this one, {lacking} negative rows are missing"
                )
                yield Skipped(seen.rows[0]["key"], reason, unusable=False, count=0, rows=lacking)


def different(one: Row, other: Row) -> Row:
    """Return a negative row: the first view of row `one` and the second view of row `other`."""
    parted = {column.name: [one[column.name][0], other[column.name][1]] for column in augment.VIEW_COLUMNS}
    return {**one, "label": 0, "partner": other["key"], "view_2": other["view_2"], **parted}
