"""Augmented views for contrastive learning: draw parameters, apply them, store them, and apply them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Options, UserError
from pseudolabel.transforms.image import color, ops
from pseudolabel.transforms.image.crops import Box, CropRule, crop, least_sides

UNCHANGED = (1.0, 1.0, 1.0, 0.0)  # factors of a view without colour jitter


class AugmentParams(NamedTuple):
    """The ranges, probabilities and sizes from which the parameters of one kind of view are drawn."""

    rule: CropRule = CropRule.torchvision
    cubic: bool = False  # enlarge a crop by bicubic interpolation
    size: int = 224  # pixels of the view's side
    min_area: float = 0.08
    max_area: float = 1.0
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    gray: float = 0.2
    blur: float = 0.5
    solarise: float = 0.0
    flip: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels; range of the blur


STRONG = AugmentParams(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
MOCO3 = AugmentParams()
BYOL = AugmentParams(rule=CropRule.byol, cubic=True)
DINO = AugmentParams(cubic=True, min_area=0.4)
PRESETS = {
    # google-research/simclr, data_util.py, preprocess_for_train and batch_random_blur
    "simclr": (STRONG._replace(rule=CropRule.tensorflow, cubic=True),) * 2,
    # facebookresearch/moco, main_moco.py, --aug-plus
    "moco-v2": (AugmentParams(min_area=0.2, saturation=0.4),) * 2,
    # facebookresearch/moco-v3, main_moco.py, augmentation1 and augmentation2
    "moco-v3": (MOCO3._replace(blur=1.0), MOCO3._replace(blur=0.1, solarise=0.2)),
    # google-deepmind/deepmind-research, byol/utils/augmentations.py, augment_config
    "byol": (BYOL._replace(blur=1.0), BYOL._replace(blur=0.1, solarise=0.2)),
    # facebookresearch/swav, src/multicropdataset.py and scripts/swav_800ep_pretrain.sh
    "swav": (STRONG._replace(min_area=0.14),) * 2 + (STRONG._replace(size=96, min_area=0.05, max_area=0.14),),
    # facebookresearch/dino, main_dino.py, DataAugmentationDINO
    "dino": (
        DINO._replace(blur=1.0),
        DINO._replace(blur=0.1, solarise=0.2),
        DINO._replace(size=96, min_area=0.05, max_area=0.4),
    ),
}  # one entry per view; swav and dino: two global crops, then one entry for all local crops


def describe_presets(*presets: str) -> str:
    """Return a help text with the parameters of presets: `byol: area 0.08 to 1, ..., blur 1 and 0.1`."""

    def values(name: str, recipes: Sequence[AugmentParams]) -> str:
        each = [f"{getattr(recipe, name):g}" for recipe in recipes]
        return f"{name} {' and '.join(each if len(set(each)) > 1 else each[:1])}"

    lines = []
    for preset in presets:
        recipes = PRESETS[preset]
        areas = list(dict.fromkeys(f"{recipe.min_area:g} to {recipe.max_area:g}" for recipe in recipes))
        names = ("brightness", "contrast", "saturation", "hue", "blur", "solarise")
        lines.append(f"{preset}: area {' and '.join(areas)}, {', '.join(values(name, recipes) for name in names)}")
    return f"Method whose augmentation is used; given options override it. {'. '.join(lines)}."


@dataclass(frozen=True)
class ViewOptions(Options):
    """Options for drawing views. A preset sets all values; a given option overrides its value for all views."""

    jitter: Annotated[float | None, Option(min=0, max=1, help="Share of views with colour jitter. [0.8]")] = None
    brightness: Annotated[float | None, Option(min=0, max=10, help="Random brightness factor: 1 - X to 1 + X.")] = None
    contrast: Annotated[float | None, Option(min=0, max=10, help="Random contrast factor: 1 - X to 1 + X.")] = None
    saturation: Annotated[float | None, Option(min=0, max=10, help="Random saturation factor: 1 - X to 1 + X.")] = None
    hue: Annotated[float | None, Option(min=0, max=0.5, help="Random hue shift: -X to X of the colour circle.")] = None
    gray: Annotated[float | None, Option(min=0, max=1, help="Share of views converted to gray. [0.2]")] = None
    blur: Annotated[float | None, Option(min=0, max=1, help="Share of views blurred.")] = None
    sigma: Annotated[tuple[float, float] | None, Option(help="Range of the blur's sigma in pixels. [0.1 2]")] = None
    solarise: Annotated[float | None, Option(min=0, max=1, help="Share of views with bright values inverted.")] = None
    flip: Annotated[float | None, Option(min=0, max=1, help="Share of views mirrored left to right. [0.5]")] = None
    exact: Annotated[bool, Option("--exact", help="Compute colours as floats; round only once, at the end.")] = False

    def with_given_options(self, recipe: AugmentParams) -> AugmentParams:
        """Return the parameters with the given options in place. Raise `UserError` for an invalid range."""
        recipe = recipe._replace(**self.given(AugmentParams._fields))
        if not 0 < recipe.min_area <= recipe.max_area <= 1:
            wrong = f"{recipe.min_area:g} to {recipe.max_area:g}"
            raise UserError(f"crop area {wrong} is no range; give shares with 0 < smallest <= largest <= 1")
        if not 0 < recipe.sigma[0] <= recipe.sigma[1] <= 100:
            raise UserError(
                f"--sigma {recipe.sigma[0]:g} {recipe.sigma[1]:g} is no range; "
                "give the smaller value first, above 0 and up to 100"
            )
        return recipe


class View(NamedTuple):
    """The parameters of one view, in the order of application."""

    box: Box
    flip: bool
    factors: tuple[float, ...]  # brightness, contrast, saturation, hue
    order: tuple[int, ...]  # indices of the factors in the order of application; empty without colour jitter
    gray: bool
    sigma: float  # pixels of the blur; 0 without blur
    solarise: bool


def draw_view(recipe: AugmentParams, height: int, width: int, rng: np.random.Generator) -> View:
    """Draw the parameters of a view, rounded as the columns store them: a stored row reproduces the view exactly."""
    box = crop(recipe.rule, height, width, (recipe.min_area, recipe.max_area), rng)
    flip, jitter, gray, blur, solarise, sigma, *chances = rng.random(10).tolist()
    order = tuple(rng.permutation(4).tolist()) if jitter < recipe.jitter else ()
    strengths = (recipe.brightness, recipe.contrast, recipe.saturation)
    spans = [(max(1 - strength, 0), 1 + strength) for strength in strengths] + [(-recipe.hue, recipe.hue)]
    factors = [low + chance * (high - low) for (low, high), chance in zip(spans, chances, strict=True)]
    return View(
        box,
        flip < recipe.flip,
        tuple(map(_as_float32, factors)) if order else UNCHANGED,
        order,
        gray < recipe.gray,
        _as_float32(recipe.sigma[0] + sigma * (recipe.sigma[1] - recipe.sigma[0])) if blur < recipe.blur else 0.0,
        solarise < recipe.solarise,
    )


def suffices(recipes: Sequence[AugmentParams], height: int, width: int) -> bool:
    """Return whether an image of this size has enough pixels for any view."""
    return all(min(least_sides(one.rule, height, width, one.min_area)) >= one.size for one in set(recipes))


def _as_float32(number: float) -> float:
    """Round a number to float32, as columns store it."""
    return float(np.float32(number))


def make_view(image: np.ndarray, view: View, recipe: AugmentParams, exact: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 -> (size, size, 3) uint8. `exact`: compute in float32 until the end, as TensorFlow and JAX do.

    All references crop, flip, jitter, gray, blur and solarise in this order; MoCo flips last, with the same result.
    Contrast is relative to the image's mean gray, saturation to each pixel's gray, as in torchvision. SimCLR's and
    BYOL's code use each channel's mean and the saturation of HSV; for brightness, BYOL's code adds a number.
    """
    out = ops.resize(ops.crop(image, view.box), recipe.size, recipe.size, recipe.cubic)
    out = out.astype(np.float32) if exact else out
    out = ops.mirror(out) if view.flip else out
    out = color.jitter(out, view.factors, view.order)
    out = color.to_gray(out) if view.gray else out
    out = color.blur(out, view.sigma) if view.sigma else out
    out = color.solarise(out) if view.solarise else out
    return np.rint(out).astype(np.uint8) if exact else out


def draw_views(
    image: np.ndarray, recipes: Sequence[AugmentParams], rng: np.random.Generator, exact: bool
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """(H, W, 3) uint8 -> a random view for each recipe, and the values of `VIEW_COLUMNS`."""
    height, width, _ = image.shape
    drawn = [draw_view(recipe, height, width, rng) for recipe in recipes]
    made = [make_view(image, view, recipe, exact) for view, recipe in zip(drawn, recipes, strict=True)]
    return made, view_columns(drawn)


def view_columns(views: Sequence[View]) -> dict[str, Any]:
    """Return the values of `VIEW_COLUMNS`, one entry per view."""
    parts = (list(part) for part in zip(*views, strict=True))
    return {column.name: list(map(_plain, part)) for column, part in zip(VIEW_COLUMNS, parts, strict=True)}


def read_views(row: Mapping[str, Any]) -> list[View]:
    """Return the views of a row: the inverse of `view_columns`."""
    parts = zip(*(row[column.name] for column in VIEW_COLUMNS), strict=True)
    return [View(Box(*box), flip, tuple(factors), tuple(order), *rest) for box, flip, factors, order, *rest in parts]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


VIEW_COLUMNS = (
    Column("boxes", "list<list<int32>>", "about", "Crop of each view: left, top, right, bottom in the upright image."),
    Column("flips", "list<bool>", "about", "Whether each view was mirrored left to right."),
    Column(
        "factors",
        "list<list<float32>>",
        "about",
        "Factors of brightness, contrast, saturation (1: unchanged) and hue shift (0: unchanged) of each view.",
    ),
    Column("orders", "list<list<int8>>", "about", "Order of the four factors of each view, as indices; empty: unused."),
    Column("grays", "list<bool>", "about", "Whether each view was converted to gray."),
    Column("sigmas", "list<float32>", "about", "Blur of each view in pixels; 0: none."),
    Column("solarised", "list<bool>", "about", "Whether the bright values of each view were inverted."),
)
