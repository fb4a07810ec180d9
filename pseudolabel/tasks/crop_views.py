"""Multi-crop: large and small crops of one image. Caron et al. 2020 (SwAV), Caron et al. 2021 (DINO)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from typer import Option

from pseudolabel.contracts import KEY, Column, Piece, Tiles
from pseudolabel.readers.image.reader import ImageOptions
from pseudolabel.tasks.base.task import PICTURE_FACTS, Description, ImageTask, Row
from pseudolabel.transforms.image import augment, codec, ops


class CropPreset(StrEnum):
    """The method whose crops are drawn."""

    swav = "swav"
    dino = "dino"


LOCAL_COUNTS = {CropPreset.swav: 6, CropPreset.dino: 8}


@dataclass(frozen=True)
class CropViews(augment.ViewOptions, ImageTask):
    """Augment two large and several small crops of each image; the label is the image they are cut from.

    Rows of one `key` hold crops of one image. Columns of parameters have a value per crop: `global_crops` first, then
    `local_crops`. `pseudolabel.transforms.image.augment.make_view` makes each crop again from the source and the row.
    """

    name: ClassVar[str] = "crop-views"
    description = Description(
        paper="Caron et al. 2020, https://arxiv.org/abs/2006.09882; Caron et al. 2021 (DINO)",
        chance_level="1 in N, guessing the image of a crop among N images",
        told_by=lambda task: dict.fromkeys(PICTURE_FACTS, "crops of one image look alike"),
    )

    preset: Annotated[CropPreset, Option(help=augment.describe_presets(*CropPreset))] = CropPreset.swav
    locals: Annotated[int | None, Option(min=0, max=100, help="Small crops per image. [6; dino: 8]")] = None
    global_size: Annotated[int | None, Option(min=8, max=8192, help="Side of a large crop in pixels. [224]")] = None
    local_size: Annotated[int | None, Option(min=8, max=8192, help="Side of a small crop in pixels. [96]")] = None
    global_area: Annotated[
        tuple[float, float] | None,
        Option(help="Smallest and largest share of the image in a large crop. [0.14 1; dino: 0.4 1]"),
    ] = None
    local_area: Annotated[
        tuple[float, float] | None,
        Option(help="Smallest and largest share of the image in a small crop. [0.05 0.14; dino: 0.05 0.4]"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.recipes  # noqa: B018 - raises `UserError` for invalid options

    @cached_property
    def recipes(self) -> tuple[augment.AugmentParams, ...]:
        """Return the parameters of each crop: two large crops, then the small crops."""
        *large, small = augment.PRESETS[self.preset]
        large = [self._with_size(recipe, self.global_size, self.global_area) for recipe in large]
        count = LOCAL_COUNTS[self.preset] if self.locals is None else self.locals
        return (*large, *[self._with_size(small, self.local_size, self.local_area)] * count)

    def _with_size(
        self, recipe: augment.AugmentParams, size: int | None, area: tuple[float, float] | None
    ) -> augment.AugmentParams:
        least, most = area or (recipe.min_area, recipe.max_area)
        return self.with_given_options(recipe._replace(size=size or recipe.size, min_area=least, max_area=most))

    def options(self) -> Mapping[str, Any]:
        shown = {"preset": self.preset, "exact": self.exact, **asdict(ImageOptions(self.range, self.max_pixels))}
        return {**shown, "recipes": [recipe._asdict() for recipe in self.recipes]}

    def columns(self) -> Sequence[Column]:
        return (
            KEY._replace(role="label", meaning="The image: crops with the same key are of the same image."),
            Column("global_crops", "list<image>", "input", "Large crops of the image, augmented."),
            Column("local_crops", "list<image>", "input", "Small crops of the image, augmented."),
            *augment.VIEW_COLUMNS,
        )

    def suffices(self, height: int, width: int) -> bool:
        return augment.suffices(self.recipes, height, width)

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> one row with all crops of an image."""
        crops, columns = augment.draw_views(image, self.recipes, rng, self.exact)
        yield {"global_crops": crops[:2], "local_crops": crops[2:], **columns}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if a crop does not match the view made again from the source."""
        crops = [*row["global_crops"], *row["local_crops"]]
        if len(crops) != len(self.recipes):
            return f"the row has {len(crops)} crops instead of {len(self.recipes)}"
        for number, (crop, view, recipe) in enumerate(zip(crops, augment.read_views(row), self.recipes, strict=True)):
            if source is not None and not ops.equal_up_to_jpeg(
                codec.decode_stored(crop), augment.make_view(source, view, recipe, self.exact)
            ):
                return f"crop {number} does not match the view made again from the source"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the large crops, and the small crops."""
        yield Tiles("large crops", [codec.decode_stored(crop) for crop in row["global_crops"]], 2)
        yield Tiles("small crops", [codec.decode_stored(crop) for crop in row["local_crops"]], 4)
