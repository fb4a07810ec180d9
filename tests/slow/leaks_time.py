"""Which labels of the tasks over time file sizes tell: `python tests/slow/leaks_time.py`, some minutes.

Still scenes with grain hold no time, so that only the encoder can tell their labels. Real films are cut anew, each cut
encoded by itself. Facts of a row: `sizes` are the bytes of its frames in the order shown, of tubes what the patches
show; `steps` are the sizes and the squares and cubes of their differences. Rates are those of a linear model over five
folds of films, with a 95 % interval, and the p-value that they are above chance, corrected for their number (Holm).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as a program, not by pytest

from drawn import opened
from reels import HEIGHT, WIDTH, write
from runs import FIXTURES, SHARED

from pseudolabel import ArrowOfTime, MaskTubes, PredictPace, ShuffleClips, ShuffleFrames, Task, rows
from pseudolabel.inspection.audit.guess import Rate, chance_of, guess, holm
from pseudolabel.inspection.audit.image_facts import patch_facts

LENGTH = 72  # frames of a film
ENCODERS = {"short groups": {"g": "24", "bf": "2"}, "one group": {"g": "250", "bf": "3"}}
EVERYTHING = {"min_motion": 0.0, "max_cut": 1.0}
TASKS: tuple[Task, ...] = (
    ArrowOfTime(frames=8, gap=1, **EVERYTHING),
    PredictPace(frames=8, **EVERYTHING),
    ShuffleFrames(frames=3, gap=4, **EVERYTHING),
    ShuffleClips(frames=4, interval=2, **EVERYTHING),
    MaskTubes(frames=4, gap=2, size=112, resize=128, ratio=0.5, **EVERYTHING),
)


class Guess(NamedTuple):
    """How often a label was guessed right from one kind of facts."""

    source: str
    task: str
    facts: str
    count: int  # rows
    chance: float
    rate: Rate


def still_scenes(folder: Path, count: int, encoder: dict[str, str]) -> Path:
    """Films in which nothing but the grain changes."""
    folder.mkdir()
    for i in range(count):
        rng = np.random.default_rng(i)
        scene = cv2.resize(rng.uniform(40, 215, (9, 10, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        frames = [(scene + rng.normal(0, 8, scene.shape)).clip(0, 255).astype(np.uint8) for _ in range(LENGTH)]
        write(folder / f"{i:03d}.mp4", frames, **encoder)
    return folder


def real_films(folder: Path, cuts: int, encoder: dict[str, str]) -> Path:
    """The shared and the fixtures' films, `cuts` of each from anywhere in it, encoded anew; a folder for each film."""
    found = [*(SHARED / "video").glob("*/*.m*"), *(FIXTURES / "video").rglob("*.*")]
    for path in sorted(path for path in found if path.suffix in (".mp4", ".mkv", ".webm")):
        frames = list(small_frames(path))
        rng, length = np.random.default_rng(len(frames)), min(LENGTH, len(frames))
        for cut in range(cuts if length > 40 else 0):
            first = int(rng.integers(len(frames) - length + 1))
            place = folder / f"{path.parent.name}-{path.stem}"
            place.mkdir(parents=True, exist_ok=True)
            write(place / f"{cut}.mp4", frames[first : first + length], **encoder)
    return folder


def small_frames(path: Path, most: int = 400) -> Iterator[np.ndarray]:
    """The first frames of a film, 128 pixels high or wide, decoded by PyAV alone; none of a broken film."""
    try:
        with av.open(str(path)) as container:
            for frame, _ in zip(container.decode(video=0), range(most), strict=False):
                scale = 64 / min(frame.width, frame.height)
                width, height = (2 * round(side * scale) for side in (frame.width, frame.height))
                yield frame.reformat(width, height, "rgb24").to_ndarray()
    except (av.error.FFmpegError, IndexError):
        return


def from_the_top(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A loader that begins with the first frame, as a control: sizes, labels and films of an arrow of time."""
    films = sorted(source.glob("*.mp4"))
    shown = [[len(cv2.imencode(".jpg", f)[1]) for f in small_frames(path, most=8)] for path in films]
    labels = np.random.default_rng(0).integers(2, size=len(films))
    sizes = np.log([sizes[:: -1 if label else 1] for sizes, label in zip(shown, labels, strict=True)])
    return sizes, labels, np.arange(len(films))


def sizes(row: dict[str, Any]) -> np.ndarray:
    """The logarithms of the file sizes of a row's frames, in the order shown."""
    shown = row.get("clip") or row.get("frames") or [frame for clip in row["clips"] for frame in clip]
    return np.log([len(frame["bytes"]) for frame in shown])


def steps(row: dict[str, Any]) -> np.ndarray:
    """The sizes, and what tells a jump from a slope."""
    values = sizes(row)
    between = np.diff(values)
    return np.concatenate([values, between**2, between**3])


def patches(row: dict[str, Any]) -> np.ndarray:
    """(patches, 6): facts of each patch, and its place."""
    image = opened(row["clip"][0])
    return np.array([[*patch_facts(image, at, (7, 7)), *divmod(at, 7)] for at in range(49)])


def measure(name: str, task: Task, source: Path, seeds: int) -> Iterator[Guess]:
    """Yield a guess from each kind of facts. More seeds draw other clips of the same films."""
    made = [row for seed in range(seeds) for row in rows(task, source, seed=seed)]
    films = [row["key"].partition("#")[0] for row in made]
    films = [film.partition("/")[0] for film in films]  # all cuts of a real film together
    if task.name == "mask-tubes":
        facts = np.concatenate([patches(row) for row in made])
        labels = np.concatenate([row["bool_masked_pos"][:49] for row in made])
        yield Guess(name, task.name, "sizes", len(made), chance_of(labels), guess(facts, labels, np.repeat(films, 49)))
        return
    labels = np.array([row["label"] for row in made])
    kinds: dict[str, Callable[[dict[str, Any]], np.ndarray]] = {"sizes": sizes, "steps": steps}
    for kind, facts_of in kinds.items():
        rate = guess(np.stack([facts_of(row) for row in made]), labels, np.array(films))
        yield Guess(name, task.name, kind, len(made), chance_of(labels), rate)


SOURCES: dict[str, Callable[[Path, int], Path]] = {  # name -> write so many scenes, or cuts of each real film, there
    **{f"still, {name}": partial(still_scenes, encoder=encoder) for name, encoder in ENCODERS.items()},
    "real films": partial(real_films, encoder=ENCODERS["short groups"]),
}


def measure_all(name: str, folder: Path, count: int, seeds: int) -> list[Guess]:
    """Write the source of this name to `folder` and measure every task on it."""
    source = SOURCES[name](folder, count)
    return [guess for task in TASKS for guess in measure(name, task, source, seeds)]


def corrected(guesses: list[Guess]) -> list[float]:
    """The p-value of each guess that its rate is above chance, corrected for their number."""
    return holm([one.rate.p_above(one.chance) for one in guesses])


def main() -> None:
    with TemporaryDirectory() as folder:
        counts = {
            name: 4 if name == "real films" else 120 for name in SOURCES if name != "real films" or SHARED.exists()
        }
        guesses = [g for name, count in counts.items() for g in measure_all(name, Path(folder) / name, count, seeds=4)]
        for one, p in zip(guesses, corrected(guesses), strict=True):
            about = f"{one.source:20} {one.task:15} {one.facts:6} {one.count:5} rows, chance {one.chance:.3f}:"
            print(f"{about} {one.rate.rate:.3f} [{one.rate.low:.3f}, {one.rate.high:.3f}], p {p:.2g}")
        for place in sorted(Path(folder).glob("still*")):
            print(f"{place.name}, arrow of the first 8 frames: {guess(*from_the_top(place))}")


if __name__ == "__main__":
    main()
