"""Which labels of image, text and sound tasks are guessed from trivial facts of the rows, on sources without signal.

Sources are made here, and rows by the package; facts and the linear model are those of `pseudolabel audit`, all kinds
of facts at once. Films: `leaks_time.py`. `python tests/slow/leaks.py` prints a table.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import soundfile

from pseudolabel import (
    AugmentPairs,
    Colorize,
    CropViews,
    Jigsaw,
    MaskAudio,
    MaskPatches,
    OrderSentences,
    PredictContext,
    Rotate,
    Task,
    rows,
)
from pseudolabel.inspection.audit.guess import Rate, chance_of, guess, holm
from pseudolabel.inspection.audit.image_facts import image_facts, patch_facts
from pseudolabel.inspection.audit.questions import place_facts
from pseudolabel.inspection.audit.text_facts import token_facts
from pseudolabel.transforms.image.codec import decode_stored

PLAIN = {"jitter": 0, "gray": 0, "blur": 0, "solarise": 0}  # nothing is done to the colours


class Measured(NamedTuple):
    """How often a label is guessed, and how often the commonest one is right."""

    name: str
    rate: Rate
    chance: float

    def __str__(self) -> str:
        rate = self.rate
        return f"{self.name:48} {rate.rate:.3f} [{rate.low:.3f} {rate.high:.3f}]  chance {self.chance:.3f}"


class Facts:
    """Features, labels and groups, collected row by row."""

    def __init__(self) -> None:
        self.features: list[np.ndarray] = []
        self.labels: list[Any] = []
        self.groups: list[str] = []

    def add(self, features: Iterable[float], label: Any, group: str) -> None:
        self.features.append(np.fromiter(features, float))
        self.labels.append(label)
        self.groups.append(group)

    def measure(self, name: str) -> Measured:
        labels = np.array(self.labels)
        return Measured(name, guess(np.array(self.features), labels, np.array(self.groups)), chance_of(labels))


# --- sources ---------------------------------------------------------------------------------------------------------


def white(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise in which every pixel is independent."""
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def pink(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise with the spectrum of photographs, on a torus: no place and no direction is special."""
    across, down = np.fft.fftfreq(width)[None], np.fft.fftfreq(height)[:, None]
    falls = 1 / np.maximum(np.hypot(across, down), 1 / max(height, width))
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, height, width))) * falls).real
    shown: np.ndarray = (128 + 40 * waves / waves.std()).clip(0, 255)
    return np.moveaxis(shown.astype(np.uint8), 0, 2)


def lightness(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lightness and colour (CIE Lab) independent of each other; each picture leans to one of four colours."""
    lean = rng.choice([-16.0, 16.0], 2)
    noise = rng.normal(size=(height, width, 3)) * (8, 4, 4) + (55, *lean)
    shown = cv2.cvtColor(noise.clip((35, -30, -30), (75, 30, 30)).astype(np.float32), cv2.COLOR_Lab2RGB)
    return (shown.clip(0, 1) * 255).round().astype(np.uint8)


Noise = Callable[[np.random.Generator, int, int], np.ndarray]


def pictures(folder: Path, noise: Noise, count: int, height: int, width: int, kind: str = "png") -> Path:
    """Write `count` pictures; `kind`: png, or the sampling of a JPEG of quality 95, such as 422."""
    rng = np.random.default_rng(0)
    for i in range(count):
        image = cv2.cvtColor(noise(rng, height, width), cv2.COLOR_RGB2BGR)
        options, suffix = [], "png"
        if kind != "png":
            factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{kind}")
            options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
            suffix = "jpg"
        cv2.imwrite(str(folder / f"{i:04d}.{suffix}"), image, options)
    return folder


def documents(folder: Path, count: int) -> Path:
    """Write documents of random words in sentences of random lengths."""
    rng, letters = np.random.default_rng(0), np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(300)]
    for i in range(count):
        sentences = [" ".join(rng.choice(words, rng.integers(3, 25))).capitalize() for _ in range(60)]
        (folder / f"{i:04d}.txt").write_text(". ".join(sentences) + ".", "utf-8")
    return folder


def utterances(folder: Path, count: int) -> Path:
    """Write noise of 0.3 to 0.8 s, as spoken digits last."""
    rng = np.random.default_rng(0)
    for i in range(count):
        wave = rng.normal(0, 0.1, int(16_000 * rng.uniform(0.3, 0.8)))
        soundfile.write(folder / f"{i:04d}.wav", wave.astype(np.float32), 16_000)
    return folder


# --- facts -----------------------------------------------------------------------------------------------------------


def facts(media: dict[str, Any]) -> np.ndarray:
    """Return trivial facts of a stored picture."""
    return np.concatenate(list(image_facts(decode_stored(media), media["bytes"]).values()))


def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the facts of two pictures, and how they differ."""
    return np.concatenate([one, other, np.abs(one - other)])


# --- tasks -----------------------------------------------------------------------------------------------------------


def rotate(source: Path, task: Task) -> Facts:
    found = Facts()
    for row in rows(task, source):
        found.add(facts(row["image"]), row["label"], row["key"])
    return found


def rotate_chroma(source: Path, task: Task) -> Facts:
    """The rotation, from the gradients of the chroma alone."""
    found = Facts()
    for row in rows(task, source):
        found.add(image_facts(decode_stored(row["image"]))["chroma"], row["label"], row["key"])
    return found


def jigsaw(source: Path, task: Task) -> Facts:
    """The home of one tile."""
    found = Facts()
    for row in rows(task, source):
        for home, tile in zip(row["permutation"], row["tiles"], strict=True):
            found.add(facts(tile), home, row["key"])
    return found


def predict_context(source: Path, task: Task) -> Facts:
    found = Facts()
    for row in rows(task, source):
        found.add(both(facts(row["patch"]), facts(row["neighbour"])), row["label"], row["key"])
    return found


def augment_pairs(source: Path, task: AugmentPairs) -> Facts:
    """Whether views are of one picture. Groups are the pictures among which partners are chosen."""
    found = Facts()
    for i, row in enumerate(rows(task, source)):
        found.add(both(facts(row["view_1"]), facts(row["view_2"])), row["label"], str(i // (2 * task.company)))
    return found


def crop_views(source: Path, task: Task) -> Facts:
    """Whether two crops are of one picture, among two pictures: no crop is in two folds."""
    found = Facts()
    each = [(row["key"], *map(facts, (row["global_crops"][0], row["local_crops"][0]))) for row in rows(task, source)]
    for two in zip(each[::2], each[1::2], strict=False):
        for key, large, _ in two:
            for other, _, small in two:
                found.add(both(large, small), key == other, two[0][0])
    return found


def colorize(source: Path, task: Task) -> Facts:
    """To which of four colours a picture leans, from its lightness."""
    from pseudolabel.transforms.image.color import bin_centers

    found = Facts()
    for row in rows(task, source):
        a, b = bin_centers()[row["bins"]].mean(0) > 0
        found.add(facts(row["image"]), f"{a} {b}", row["key"])
    return found


def mask_patches(source: Path, task: Task) -> Facts:
    """Whether a patch is hidden, from what it shows."""
    found = Facts()
    for row in rows(task, source):
        image = decode_stored(row["image"])
        sides = image.shape[0] // task.patch, image.shape[1] // task.patch
        for place, hidden in enumerate(row["mask"]):
            found.add([*patch_facts(image, place, sides), len(row["image"]["bytes"])], hidden, row["key"])
    return found


def order_of_rows(source: Path, task: Task, label: str = "label") -> Facts:
    """The label, from the place of the row among those of its sample."""
    found, before, place = Facts(), "", 0
    for row in rows(task, source):
        place = place + 1 if row["key"] == before else 0
        before = row["key"]
        found.add(np.arange(4) == place, row[label], row["key"])
    return found


def order_sentences(source: Path, task: Task) -> Facts:
    """Whether segments are swapped, from their lengths and whether whole sentences are at their ends."""
    found = Facts()
    for row in rows(task, source):
        kinds = token_facts({name: row[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
        found.add(np.concatenate(list(kinds.values())), row["sentence_order_label"], row["key"])
    return found


def mask_audio(source: Path, task: Task) -> Facts:
    """Whether a frame is masked, from its place and the length of the utterance."""
    found = Facts()
    for row in rows(task, source):
        length = len(row["mask"])
        for place, hidden in enumerate(row["mask"]):
            found.add([*place_facts(place, length, None), length**2], hidden, row["key"])
    return found


# --- all -------------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A task on a source."""

    name: str
    facts: Callable[..., Facts]
    task: Task
    source: Callable[[Path, int], Path]  # (folder, samples) -> the folder, filled
    count: int = 300  # samples


def _of(noise: Noise, height: int, width: int, kind: str = "png") -> Callable[[Path, int], Path]:
    return lambda folder, count: pictures(folder, noise, count, height, width, kind)


AT_CHANCE = (
    Case("rotate, white noise", rotate, Rotate(size=98), _of(white, 112, 128)),
    Case("rotate, 4:2:0", rotate, Rotate(size=98), _of(white, 112, 128, "420")),
    Case("rotate, 4:2:2", rotate, Rotate(size=98), _of(white, 112, 128, "422")),
    Case("rotate, 4:4:0", rotate, Rotate(size=98), _of(white, 112, 128, "440")),
    Case("rotate, 4:1:1", rotate, Rotate(size=98), _of(white, 112, 128, "411")),
    Case("rotate, pink noise, 4:2:2, resized", rotate, Rotate(size=160), _of(pink, 256, 256, "422"), 150),
    *(
        Case(f"rotate, {kind}, decoded at 1 / {factor}", rotate, Rotate(size=size), _of(white, 224, 256, kind))
        for kind, factor, size in (("420", 2, 98), ("420", 8, 24), ("422", 2, 49), ("440", 2, 49), ("422", 4, 24))
    ),
    Case("jigsaw, 4:2:0, decoded at 1 / 2", jigsaw, Jigsaw(gray=0, tile=32, cell=38), _of(white, 400, 500, "420"), 150),
    Case("jigsaw, white noise 500 x 400", jigsaw, Jigsaw(gray=0), _of(white, 400, 500)),
    Case("jigsaw, white noise 180 x 150", jigsaw, Jigsaw(gray=0), _of(white, 150, 180)),
    Case("jigsaw code255, white noise 500 x 400", jigsaw, Jigsaw(preset="code255", gray=0), _of(white, 400, 500)),
    Case("jigsaw, pink noise 500 x 400", jigsaw, Jigsaw(gray=0), _of(pink, 400, 500), 150),
    Case("predict-context, white noise 500 x 400", predict_context, PredictContext(), _of(white, 400, 500), 150),
    Case("predict-context, colours kept", predict_context, PredictContext(colour="keep"), _of(white, 400, 500), 150),
    Case("augment-pairs, white noise", augment_pairs, AugmentPairs(size=64, **PLAIN), _of(white, 112, 128)),
    Case("augment-pairs, pink noise, colours changed", augment_pairs, AugmentPairs(size=64), _of(pink, 112, 128)),
    Case(
        "crop-views, white noise",
        crop_views,
        CropViews(global_size=64, local_size=32, locals=1, **PLAIN),
        _of(white, 112, 128),
    ),
    Case("colorize, lightness and colour independent", colorize, Colorize(size=80, stride=8), _of(lightness, 112, 128)),
    *(
        Case(
            f"mask-patches {strategy}",
            mask_patches,
            MaskPatches(strategy=strategy, ratio=0.5, height=96, width=96),
            _of(white, 112, 128),
            150,
        )
        for strategy in ("random", "block", "grid")
    ),
    Case("rotate, place among the rows of a sample", order_of_rows, Rotate(size=8), _of(white, 40, 40)),
    Case("augment-pairs, the same", order_of_rows, AugmentPairs(size=8), _of(white, 40, 40)),
)
BY_THE_RULE = {  # what the published rule itself tells -> the highest rate
    Case("order-sentences, lengths and ends", order_sentences, OrderSentences(), documents, 150): 0.62,
    Case("mask-audio, 0.3 to 0.8 s", mask_audio, MaskAudio(clusters=8, min_seconds=0.1), utterances, 300): 0.80,
}
# all facts at once vary too much with so few pictures: .21 to .41 in six sets of 110, .23 in a set of 900
QUICK = Case("rotate, 4:2:2, small, chroma", rotate_chroma, Rotate(size=49), _of(white, 56, 64, "422"), 110)


def measure(case: Case) -> Measured:
    """Make the source and the rows of a case, and guess its labels."""
    with tempfile.TemporaryDirectory() as folder:
        return case.facts(case.source(Path(folder), case.count), case.task).measure(case.name)


def suspects(measured: Iterable[Measured], level: float = 0.01) -> Iterator[Measured]:
    """Yield what is told above chance, corrected for the number of questions."""
    every = list(measured)
    for one, p in zip(every, holm([one.rate.p_above(one.chance) for one in every]), strict=True):
        if p < level:
            yield one


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for case in (*AT_CHANCE, *BY_THE_RULE, QUICK):
        if not wanted or any(word in case.name for word in wanted):
            print(measure(case), flush=True)
