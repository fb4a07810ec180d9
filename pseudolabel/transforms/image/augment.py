"""Views of a picture for contrastive learning: what is done to it is drawn first, then done, and can be done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Options, UserError
from pseudolabel.transforms.image import color, ops
from pseudolabel.transforms.image.crops import Box, CropRule, crop

UNCHANGED = (1.0, 1.0, 1.0, 0.0)  # factors


class AugmentParams(NamedTuple):
    """How one kind of view is drawn."""

    rule: CropRule = CropRule.torchvision
    cubic: bool = False  # how a crop is enlarged
    size: int = 224
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
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels of the blur


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
}  # of each view; of swav and dino, of the two global crops and of all local ones


def describe_presets(*presets: str) -> str:
    """What presets have, and what their views differ in: `byol: area 0.08 to 1, ..., blur 1 and 0.1`."""

    def values(name: str, recipes: Sequence[AugmentParams]) -> str:
        each = [f"{getattr(recipe, name):g}" for recipe in recipes]
        return f"{name} {' and '.join(each if len(set(each)) > 1 else each[:1])}"

    lines = []
    for preset in presets:
        recipes = PRESETS[preset]
        areas = list(dict.fromkeys(f"{recipe.min_area:g} to {recipe.max_area:g}" for recipe in recipes))
        names = ("brightness", "contrast", "saturation", "hue", "blur", "solarise")
        lines.append(f"{preset}: area {' and '.join(areas)}, {', '.join(values(name, recipes) for name in names)}")
    return f"Whose views; what is given goes before. {'. '.join(lines)}."


@dataclass(frozen=True)
class ViewOptions(Options):
    """How views are drawn. A preset sets all of it; what is given goes before, for all views alike."""

    jitter: Annotated[float | None, Option(min=0, max=1, help="Share of views whose colours are jittered. [0.8]")] = (
        None
    )
    brightness: Annotated[float | None, Option(min=0, max=10, help="Brightness is times 1 - X to 1 + X.")] = None
    contrast: Annotated[float | None, Option(min=0, max=10, help="Contrast is times 1 - X to 1 + X.")] = None
    saturation: Annotated[float | None, Option(min=0, max=10, help="Saturation is times 1 - X to 1 + X.")] = None
    hue: Annotated[float | None, Option(min=0, max=0.5, help="Hue is turned by up to X of the circle, either way.")] = (
        None
    )
    gray: Annotated[float | None, Option(min=0, max=1, help="Share of views made gray. [0.2]")] = None
    blur: Annotated[float | None, Option(min=0, max=1, help="Share of views blurred.")] = None
    sigma: Annotated[tuple[float, float] | None, Option(help="Pixels of the blur, at least and at most. [0.1 2]")] = (
        None
    )
    solarise: Annotated[float | None, Option(min=0, max=1, help="Share of views whose bright parts are inverted.")] = (
        None
    )
    flip: Annotated[float | None, Option(min=0, max=1, help="Share of views mirrored. [0.5]")] = None
    exact: Annotated[
        bool, Option("--exact", help="Colours as floats until the view is done, not rounded after each step.")
    ] = False

    def with_given_options(self, recipe: AugmentParams) -> AugmentParams:
        """The recipe, with whatever options are given in the preset's place. Refused where it cannot be drawn."""
        given = {name: getattr(self, name, None) for name in AugmentParams._fields}
        recipe = recipe._replace(**{name: value for name, value in given.items() if value is not None})
        if not 0 < recipe.min_area <= recipe.max_area <= 1:
            wrong = f"{recipe.min_area:g} to {recipe.max_area:g}"
            raise UserError(f"crops of {wrong} of a picture: give the least share first, both above 0 and up to 1")
        if not 0 < recipe.sigma[0] <= recipe.sigma[1] <= 100:
            raise UserError(f"--sigma {recipe.sigma[0]:g} {recipe.sigma[1]:g}: give the least first, both above 0")
        return recipe


class View(NamedTuple):
    """What was done to a picture, in this order, to make a view of it."""

    box: Box
    flip: bool
    factors: tuple[float, ...]  # of brightness, contrast, saturation, hue
    order: tuple[int, ...]  # in which these were applied; empty where none was
    gray: bool
    sigma: float  # of the blur; 0 where there was none
    solarise: bool


def draw_view(recipe: AugmentParams, height: int, width: int, rng: np.random.Generator) -> View:
    """Draw a view of a picture. Numbers are rounded to what is stored, so that a row makes the very view again."""
    box = crop(recipe.rule, height, width, (recipe.min_area, recipe.max_area), rng)
    flip, jitter, gray, blur, solarise, sigma, *chances = rng.random(10).tolist()
    order = tuple(rng.permutation(4).tolist()) if jitter < recipe.jitter else ()
    strengths = (recipe.brightness, recipe.contrast, recipe.saturation)
    spans = [(max(1 - strength, 0), 1 + strength) for strength in strengths] + [(-recipe.hue, recipe.hue)]
    factors = [low + chance * (high - low) for (low, high), chance in zip(spans, chances, strict=True)]
    return View(
        box,
        flip < recipe.flip,
        tuple(map(_stored, factors)) if order else UNCHANGED,
        order,
        gray < recipe.gray,
        _stored(recipe.sigma[0] + sigma * (recipe.sigma[1] - recipe.sigma[0])) if blur < recipe.blur else 0.0,
        solarise < recipe.solarise,
    )


def _stored(number: float) -> float:
    """Rounded to 32 bits, as the column keeps it."""
    return float(np.float32(number))


def make_view(image: np.ndarray, view: View, recipe: AugmentParams, exact: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 -> (size, size, 3) uint8. `exact`: in float32 until the end, as TensorFlow and JAX do.

    Crop, flip, jitter, gray, blur, solarise: as in every reference, but that MoCo's flip comes last, which is the same.
    Contrast is about the picture's mean gray and saturation about each pixel's, as in torchvision; the code of SimCLR
    and of BYOL has each channel's mean and HSV's saturation, and BYOL adds to the brightness instead.
    """
    left, top, right, bottom = view.box
    out = ops.resize(image[top:bottom, left:right], recipe.size, recipe.size, recipe.cubic)
    out = out.astype(np.float32) if exact else out
    out = ops.mirror(out) if view.flip else out
    out = color.jitter(out, view.factors, view.order)
    out = color.to_gray(out) if view.gray else out
    out = color.blur(out, view.sigma) if view.sigma else out
    out = color.solarise(out) if view.solarise else out
    return np.rint(out).astype(np.uint8) if exact else out


def view_columns(views: Sequence[View]) -> dict[str, Any]:
    """The columns that say what was done, an entry for each view."""
    parts = (list(part) for part in zip(*views, strict=True))
    return {column.name: list(map(_plain, part)) for column, part in zip(VIEW_COLUMNS, parts, strict=True)}


def read_views(row: Mapping[str, Any]) -> list[View]:
    """What was done, read back from a row."""
    parts = zip(*(row[column.name] for column in VIEW_COLUMNS), strict=True)
    return [View(Box(*box), flip, tuple(factors), tuple(order), *rest) for box, flip, factors, order, *rest in parts]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


VIEW_COLUMNS = (
    Column("boxes", "list<list<int32>>", "about", "Of each view: left, top, right, bottom in the upright picture."),
    Column("flips", "list<bool>", "about", "Of each view: whether it was mirrored, left to right."),
    Column(
        "factors",
        "list<list<float32>>",
        "about",
        "Of each view: of brightness, contrast, saturation (1: as it was), hue.",
    ),
    Column("orders", "list<list<int8>>", "about", "Of each view: in which order these four were applied; empty: not."),
    Column("grays", "list<bool>", "about", "Of each view: whether it was made gray."),
    Column("sigmas", "list<float32>", "about", "Of each view: pixels of the blur, 0 for none."),
    Column("solarised", "list<bool>", "about", "Of each view: whether its bright parts were inverted."),
)
