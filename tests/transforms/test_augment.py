"""Views are drawn as the references draw them, made as they make them, and made again from what is stored."""

from __future__ import annotations

from itertools import pairwise, permutations
from math import exp, log, sqrt

import cv2
import numpy as np
import pytest
from drawn import far, photograph
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from pseudolabel.contracts import UnusableSample
from pseudolabel.transforms.image import augment, color
from pseudolabel.transforms.image.augment import PRESETS, AugmentParams, View, draw_view, make_view
from pseudolabel.transforms.image.crops import CROPS, Box, CropRule, crop, square
from pseudolabel.transforms.image.ops import dhash

DRAWS = 2000


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


# --- crops: against the references' own steps, one draw at a time ----------------------------------------------------


def torchvision_reference(h: int, w: int, scale: tuple[float, float], rng: np.random.Generator) -> tuple[int, ...]:
    """pytorch/vision, torchvision/transforms/transforms.py, RandomResizedCrop.get_params: i, j, h, w."""
    area = h * w
    for _ in range(10):
        target = area * rng.uniform(*scale)
        aspect = exp(rng.uniform(log(3 / 4), log(4 / 3)))
        width, height = round(sqrt(target * aspect)), round(sqrt(target / aspect))
        if 0 < width <= w and 0 < height <= h:
            return int(rng.integers(0, h - height + 1)), int(rng.integers(0, w - width + 1)), height, width
    ratio = w / h
    if ratio < 3 / 4:
        width, height = w, round(w / (3 / 4))
    elif ratio > 4 / 3:
        width, height = round(h * (4 / 3)), h
    else:
        width, height = w, h
    return (h - height) // 2, (w - width) // 2, height, width


def tensorflow_reference(h: int, w: int, scale: tuple[float, float], rng: np.random.Generator) -> tuple[int, ...]:
    """tensorflow/core/kernels/image/sample_distorted_bounding_box_op.cc, GenerateRandomCrop; the object is all."""
    for _ in range(100):
        aspect = rng.random() * (4 / 3 - 3 / 4) + 3 / 4
        least, most = scale[0] * h * w, scale[1] * h * w
        height, top = int(np.rint(sqrt(least / aspect))), int(np.rint(sqrt(most / aspect)))
        if np.rint(top * aspect) > w:
            top = int((w + 0.5 - 1e-7) / aspect)
            top -= np.rint(top * aspect) > w
        top = min(top, h)
        if height >= top:
            height = top
        if height < top:
            height += int(rng.integers(top - height + 1))
        width = int(np.rint(height * aspect))
        if width * height < least:
            height += 1
            width = int(np.rint(height * aspect))
        if width * height > most:
            height -= 1
            width = int(np.rint(height * aspect))
        if least <= width * height <= most and 0 < width <= w and 0 < height <= h and width * height >= 0.1 * h * w:
            return int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1)), height, width
    return 0, 0, h, w


def byol_reference(h: int, w: int, scale: tuple[float, float], rng: np.random.Generator) -> tuple[int, ...]:
    """google-deepmind/deepmind-research, byol/utils/dataset.py, _decode_and_random_crop."""
    target = rng.uniform(*scale) * h * w
    aspect = exp(rng.uniform(log(3 / 4), log(4 / 3)))
    width, height = min(round(sqrt(target * aspect)), w), min(round(sqrt(target / aspect)), h)
    return int(rng.integers(0, h - height + 1)), int(rng.integers(0, w - width + 1)), height, width


REFERENCES = {
    CropRule.torchvision: torchvision_reference,
    CropRule.tensorflow: tensorflow_reference,
    CropRule.byol: byol_reference,
}


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov and Smirnov's statistic of two samples over what it may be at p = 0.001: alike where below 1."""
    both = np.sort(np.concatenate([one, other]))
    gap = np.abs(
        np.searchsorted(np.sort(one), both, "right") / len(one)
        - np.searchsorted(np.sort(other), both, "right") / len(other)
    )
    return float(gap.max() / (1.95 * sqrt((len(one) + len(other)) / len(one) / len(other))))


@pytest.mark.parametrize(("height", "width"), [(400, 533), (300, 900)])
@pytest.mark.parametrize("rule", list(CropRule))
def test_crops_are_distributed_as_the_references(rule: CropRule, height: int, width: int) -> None:
    area, rng, others = (0.08, 1.0), generator(1), generator(2)
    ours = np.array([crop(rule, height, width, area, rng) for _ in range(DRAWS)], float)
    left, top, right, bottom = ours.T
    theirs = np.array([REFERENCES[rule](height, width, area, others) for _ in range(10 * DRAWS)], float)
    i, j, h, w = theirs.T
    assert (left >= 0).all() and (top >= 0).all() and (right <= width).all() and (bottom <= height).all()  # noqa: PT018
    assert apart((right - left) * (bottom - top), h * w) < 1
    assert apart((right - left) / (bottom - top), w / h) < 1
    assert apart(left, j) < 1
    assert apart(top, i) < 1


def test_the_rules_differ_enough_to_be_told_apart() -> None:
    areas = {}
    for rule in CropRule:
        boxes = [crop(rule, 400, 533, (0.08, 1.0), generator(i)) for i in range(DRAWS)]
        areas[rule] = np.array([(box.right - box.left) * (box.bottom - box.top) for box in boxes])
    assert min(apart(areas[a], areas[b]) for a, b in permutations(CropRule, 2)) > 1


@pytest.mark.parametrize("rule", list(CropRule))
def test_crops_have_the_shape_of_what_they_become(rule: CropRule) -> None:
    boxes = np.array([CROPS[rule](500, 900, (0.2, 0.4), generator(i), 2.0) for i in range(300)])
    shape = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1]) / 2
    assert shape.min() > 0.74
    assert shape.max() < 1.35
    assert shape.min() < 0.8
    assert shape.max() > 1.25


@pytest.mark.parametrize("rule", list(CropRule))
@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 4000), (4000, 17), (20, 40_000)])
def test_crops_of_odd_pictures_lie_inside(rule: CropRule, height: int, width: int) -> None:
    for i in range(50):
        left, top, right, bottom = crop(rule, height, width, (0.08, 1.0), generator(i))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        left, top, right, bottom = CROPS[rule](20, 400, (0.2, 1.0), generator(i), 64.0)  # for a very wide picture
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 20


def test_areas_are_kept_to_whatever_they_are() -> None:
    """Where TensorFlow's rule gives up, as below a tenth, it is not the whole picture that is taken."""
    for area in ((0.02, 0.09), (0.5, 0.5), (0.999, 1.0)):
        for i in range(100):
            left, top, right, bottom = crop(CropRule.tensorflow, 400, 533, area, generator(i))
            share = (right - left) * (bottom - top) / (400 * 533)
            assert area[0] * 0.98 <= share <= area[1] * 1.02 or area[0] > 0.9


def test_too_small_a_picture_is_unusable() -> None:
    with pytest.raises(UnusableSample, match="900 x 15 pixels, too small"):
        crop(CropRule.byol, 15, 900, (0.08, 1.0), generator())
    with pytest.raises(UnusableSample, match="1 x 1 pixels, too small"):
        square(1, 1, 0.9, generator())


def test_squares_wander_over_the_whole_picture() -> None:
    boxes = np.array([square(256, 400, 224 / 256, generator(i)) for i in range(400)])
    assert (boxes[:, 2] - boxes[:, 0] == 224).all()
    assert (boxes[:, 3] - boxes[:, 1] == 224).all()
    assert (boxes[:, 0].min(), boxes[:, 0].max()) == (0, 176)
    assert (boxes[:, 1].min(), boxes[:, 1].max()) == (0, 32)


# --- what else is drawn ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(PRESETS))
def test_views_are_distributed_as_the_preset_says(preset: str) -> None:
    for recipe in PRESETS[preset]:
        rng = generator(3)
        drawn = [draw_view(recipe, 400, 533, rng) for _ in range(DRAWS)]

        def share(flags: list[bool], expected: float) -> None:
            assert abs(np.mean(flags) - expected) <= 3.3 * sqrt(expected * (1 - expected) / DRAWS)

        share([view.flip for view in drawn], recipe.flip)
        share([view.gray for view in drawn], recipe.gray)
        share([view.solarise for view in drawn], recipe.solarise)
        share([view.sigma > 0 for view in drawn], recipe.blur)
        share([bool(view.order) for view in drawn], recipe.jitter)
        jittered = [view for view in drawn if view.order]
        counts = np.array([sum(view.order == order for view in jittered) for order in permutations(range(4))])
        expected = len(jittered) / 24
        assert ((counts - expected) ** 2 / expected).sum() < 49.7  # chi-square of 23 degrees, p = 0.001
        factors = np.array([view.factors for view in jittered])
        for i, name in enumerate(("brightness", "contrast", "saturation", "hue")):
            strength, centre = getattr(recipe, name), float(name != "hue")
            low = max(centre - strength, 0) if centre else -strength
            assert apart(factors[:, i], np.linspace(low, centre + strength, 20_000)) < 1
        assert all(view.factors == (1, 1, 1, 0) for view in drawn if not view.order)
        if recipe.blur:
            assert apart(np.array([view.sigma for view in drawn if view.sigma]), np.linspace(0.1, 2, 20_000)) < 1


def test_presets_are_the_published_ones() -> None:
    """The table of the references, by hand: crop area, jitter, gray, blur, solarise, size."""
    table = {
        "simclr": [(0.08, 1, 0.8, 0.8, 0.8, 0.2, 0.5, 0, 224)] * 2,
        "moco-v2": [(0.2, 1, 0.4, 0.4, 0.4, 0.1, 0.5, 0, 224)] * 2,
        "moco-v3": [(0.08, 1, 0.4, 0.4, 0.2, 0.1, 1, 0, 224), (0.08, 1, 0.4, 0.4, 0.2, 0.1, 0.1, 0.2, 224)],
        "byol": [(0.08, 1, 0.4, 0.4, 0.2, 0.1, 1, 0, 224), (0.08, 1, 0.4, 0.4, 0.2, 0.1, 0.1, 0.2, 224)],
        "swav": [(0.14, 1, 0.8, 0.8, 0.8, 0.2, 0.5, 0, 224)] * 2 + [(0.05, 0.14, 0.8, 0.8, 0.8, 0.2, 0.5, 0, 96)],
        "dino": [
            (0.4, 1, 0.4, 0.4, 0.2, 0.1, 1, 0, 224),
            (0.4, 1, 0.4, 0.4, 0.2, 0.1, 0.1, 0.2, 224),
            (0.05, 0.4, 0.4, 0.4, 0.2, 0.1, 0.5, 0, 96),
        ],
    }
    names = ("min_area", "max_area", "brightness", "contrast", "saturation", "hue", "blur", "solarise", "size")
    assert {p: [tuple(getattr(r, name) for name in names) for r in recipes] for p, recipes in PRESETS.items()} == table
    assert all((r.jitter, r.gray, r.flip, r.sigma) == (0.8, 0.2, 0.5, (0.1, 2)) for rs in PRESETS.values() for r in rs)
    assert {preset for preset, recipes in PRESETS.items() if recipes[0].cubic} == {"simclr", "byol", "dino"}
    assert [PRESETS[name][0].rule for name in ("simclr", "byol", "moco-v3")] == list(
        map(CropRule, ("tensorflow", "byol", "torchvision"))
    )


# --- colours: against Pillow, and against floats clipped after each step ---------------------------------------------

PICTURES = [photograph(160, 120, seed) for seed in range(3)]
FACTORS = (0.2, 0.7, 1.0, 1.3, 1.8)


@pytest.mark.parametrize("image", PICTURES)
@pytest.mark.parametrize("factor", FACTORS)
def test_colour_operations_are_pillows(image: np.ndarray, factor: float) -> None:
    for ours, theirs in (
        (color.brightness, ImageEnhance.Brightness),
        (color.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
    ):
        expected = np.asarray(theirs(Image.fromarray(image)).enhance(factor))
        assert np.abs(ours(image, factor).astype(int) - expected).max() <= 2
        assert np.abs(ours(image.astype(np.float32), factor) - expected).max() <= 2
    if factor == 1:
        assert (color.jitter(image, (1, 1, 1, 0), (3, 1, 0, 2)) == image).all()


@pytest.mark.parametrize("turn", [-0.5, -0.2, -0.01, 0.1, 0.25])
def test_hue_turns_the_circle(turn: float) -> None:
    """Against the floats of colorsys, whatever the type of the picture."""
    import colorsys

    image = PICTURES[0][::8, ::8]
    expected = np.empty(image.shape)
    for at in np.ndindex(image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(image[at] / 255))
        expected[at] = np.multiply(colorsys.hsv_to_rgb((h + turn) % 1, s, v), 255)
    assert np.abs(color.hue(image.astype(np.float32), turn) - expected).max() < 0.5
    # of 256 hues the picture's is off by up to a half and the turn's by another: 6 of 255 for a full colour; and
    # saturation and value are rounded as well
    assert np.abs(color.hue(image, turn).astype(int) - expected).max() < 12
    assert far(color.hue(image, turn), expected) < 1.5


def test_gray_blur_and_solarise_are_pillows() -> None:
    image = PICTURES[1]
    picture = Image.fromarray(image)
    gray = np.asarray(picture.convert("L"))
    assert np.abs(color.to_gray(image).astype(int) - gray[..., None]).max() <= 1
    assert (color.solarise(image) == np.asarray(ImageOps.solarize(picture, 128))).all()
    for sigma in (0.3, 1.0, 2.0):
        blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)))
        assert far(color.blur(image, sigma), blurred) < 1.5  # Pillow's is three boxes
        taps = np.exp(-(np.arange(-11, 12) ** 2) / (2 * sigma**2))  # SimCLR's: 23 taps at 224 pixels
        exact = cv2.sepFilter2D(image.astype(np.float64), -1, taps / taps.sum(), taps / taps.sum())
        assert np.abs(color.blur(image, sigma) - exact)[12:-12, 12:-12].max() <= 1


def float_reference(image: np.ndarray, factors: tuple[float, ...], order: tuple[int, ...]) -> np.ndarray:
    """torchvision/transforms/_functional_tensor.py, adjust_*, on floats of 0 to 1, clipped after each step."""
    import colorsys

    x = image / 255
    for step in order:
        luma = x @ (0.299, 0.587, 0.114)
        if step == 3:
            for at in np.ndindex(x.shape[:2]):
                h, s, v = colorsys.rgb_to_hsv(*x[at])
                x[at] = colorsys.hsv_to_rgb((h + factors[3]) % 1, s, v)
        else:
            other = (0.0, luma.mean(), luma[..., None])[step]
            x = np.clip(factors[step] * x + (1 - factors[step]) * other, 0, 1)
    return x * 255


def test_jitter_is_the_reference_clipped_after_each_step() -> None:
    """Floats are it, but for the last bits; the default differs by the rounding of four steps, and by 256 hues."""
    rng, gaps = generator(5), []
    for i in range(40):
        image, recipe = PICTURES[i % 3][::5, ::5].copy(), PRESETS["simclr"][0]._replace(jitter=1.0)
        view = draw_view(recipe, *image.shape[:2], rng)
        expected = float_reference(image, view.factors, view.order)
        assert np.abs(color.jitter(image.astype(np.float32), view.factors, view.order) - expected).max() < 0.6
        gaps.append(far(color.jitter(image, view.factors, view.order), expected))
    assert np.mean(gaps) < 1
    assert max(gaps) < 4


# --- made, and made again --------------------------------------------------------------------------------------------


def test_a_view_is_its_steps_in_order() -> None:
    """Crop, flip, jitter, gray, blur, solarise, each done here by Pillow."""
    image = photograph(300, 410)
    view = View(Box(60, 20, 360, 220), True, (1.3, 0.6, 1.5, 0.0), (2, 0, 1), False, 1.2, True)
    picture = Image.fromarray(image).crop((60, 20, 360, 220)).resize((96, 96), Image.Resampling.BILINEAR)
    picture = ImageOps.mirror(picture)
    picture = ImageEnhance.Color(picture).enhance(1.5)
    picture = ImageEnhance.Brightness(picture).enhance(1.3)
    picture = ImageEnhance.Contrast(picture).enhance(0.6)
    picture = ImageOps.solarize(picture.filter(ImageFilter.GaussianBlur(1.2)), 128)
    made = make_view(image, view, AugmentParams(size=96))
    assert far(made, np.asarray(picture)) < 4
    wrong = make_view(image, view._replace(order=(1, 0, 2)), AugmentParams(size=96))
    assert far(made, wrong) > 5
    assert far(made, make_view(image, view._replace(flip=False), AugmentParams(size=96))) > 10

    view = View(
        Box(0, 0, 40, 40), False, (1.0, 1.0, 1.0, 0.4), (3,), True, 0.0, False
    )  # gray is the gray of the new hue
    larger = cv2.resize(image[:40, :40], (96, 96), interpolation=cv2.INTER_CUBIC)
    expected = np.asarray(Image.fromarray(color.hue(larger, 0.4)).convert("L"))
    assert np.abs(make_view(image, view, AugmentParams(size=96, cubic=True))[..., 0].astype(int) - expected).max() <= 1
    assert np.abs(make_view(image, view, AugmentParams(size=96))[..., 0].astype(int) - expected).max() > 3


def test_what_is_stored_makes_the_view_again() -> None:
    image, rng = photograph(200, 260), generator(6)
    recipe = PRESETS["simclr"][0]._replace(size=64, solarise=0.5)
    drawn = [draw_view(recipe, 200, 260, rng) for _ in range(40)]
    for view, again in zip(drawn, augment.read_views(augment.view_columns(drawn)), strict=True):
        assert view == again
        assert (make_view(image, view, recipe) == make_view(image, again, recipe)).all()


def test_hashes_tell_pictures_apart_and_know_copies() -> None:
    hashes = [dhash(photograph(300, 400, seed)) for seed in range(20)]
    looks = [look for look, _ in hashes]
    assert min((a ^ b).bit_count() for a, b in permutations(looks, 2)) > 12
    assert [dhash(photograph(300, 400, seed)[:, ::-1])[0] for seed in range(20)] == [mirror for _, mirror in hashes]
    image = photograph(300, 400, 0)
    for copy in (
        cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA),
        cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR),
        color.brightness(image, 0.8),
    ):
        assert (dhash(copy)[0] ^ looks[0]).bit_count() <= 4
    cells = np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    bits = "".join(str(int(left > right)) for line in cells for left, right in pairwise(line))
    assert (int(bits, 2) ^ looks[0]).bit_count() <= 2  # as its paper makes it, from all pixels
