"""Shuffled frames: are three frames of a film of signs in order? The probe names digits.

No folder here has labelled films. The encoder of the frames is therefore judged by pictures of what the films show: the
hands of others, that sign digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from torch import nn

from pseudolabel import ShuffleFrames
from teaching import views
from teaching.experiment import LOADER, Batch, Budget, Case, Family, Setup, fresh_batches
from teaching.pictures import WIDTH, Encoder, classification_loss, normalize, probe_of, stored_batches
from teaching.places import SEEN, Places, decode_pictures, labelled_pictures

FRAMES, SPAN, GAP, EVERY, RESIZED = 3, 5, 0.15, 0.1, 40  # of a clip of 5; seconds; pixels before the crop
SHOWN = np.array([(1, 0, 3), (1, 4, 3), (1, 2, 3)])  # Misra et al. 2016: out of order, out of order, in order
IN_ORDER = 0.25  # of the rows
PAIRS = list(combinations(range(FRAMES), 2))
COPIES = 60  # of the rows; of 5, the network learns the few films by heart, and the probe gains nothing
LEAST_MOTION = 1.0  # gray levels; the task's own default


class Sorter(Encoder):
    """Whether the second frame lies between the others, predicted from the differences of their maps."""

    def __init__(self) -> None:
        super().__init__()
        pairs = len(PAIRS)
        self.head = nn.Sequential(nn.Linear(pairs * 4 * WIDTH, 64), nn.ReLU(), nn.Linear(64, 2))

    def classify(self, frames: torch.Tensor) -> torch.Tensor:
        """(n, FRAMES, H, W, 3) uint8 -> (n, 2)"""
        made = self(normalize(frames.flatten(0, 1))).reshape(len(frames), FRAMES, -1)
        return self.head(torch.cat([(made[:, a] - made[:, b]).abs() for a, b in PAIRS], 1))


def rows_of(places: Places) -> dict[str, np.ndarray]:
    def make() -> dict[str, np.ndarray]:
        sizes = {"size": SEEN, "resize": RESIZED}
        task = ShuffleFrames(preset="verify", gap_seconds=GAP, every_seconds=EVERY, **sizes)
        table = places.rows("shuffle-frames", task, places.real("video/asl_gestures"), COPIES)
        columns = {name: table[name].to_numpy() for name in ("copy", "label")}
        return {**columns, "frames": decode_pictures(table["frames"].to_pylist())}

    return places.arrays("shuffle-frames", make)


def films_of(places: Places) -> list[tuple[np.ndarray, float]]:
    """Return each film as (n, H, W, 3) uint8, its short side RESIZED pixels, and its frames a second."""
    import av
    from PIL import Image

    def make() -> dict[str, np.ndarray]:
        found = {}
        for path in sorted(places.real("video/asl_gestures").glob("*.mkv")):
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                shown = [
                    views.resize(Image.fromarray(f.to_ndarray(format="rgb24")), RESIZED)
                    for f in container.decode(stream)
                ]
                found[path.stem] = np.stack([np.asarray(frame) for frame in shown])
                found[f"{path.stem} rate"] = np.array(float(stream.average_rate or 25))
        return found

    kept = places.arrays("films", make)
    return [(frames, float(kept[f"{name} rate"])) for name, frames in kept.items() if not name.endswith(" rate")]


def loader_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield clips that begin at any frame, cut alike, their frames shuffled; where nothing moves, another is drawn."""
    rng, films = np.random.default_rng(case.seed), films_of(places)

    def make(i: int) -> tuple[np.ndarray, int]:
        frames, rate = films[i % len(films)]
        gap = max(1, round(GAP * rate))
        while True:
            start = int(rng.integers(len(frames) - (SPAN - 1) * gap))
            top, left = (int(rng.integers(side - SEEN + 1)) for side in frames.shape[1:3])
            clip = frames[start : start + SPAN * gap : gap, top : top + SEEN, left : left + SEEN]
            gray = clip.mean(-1)
            if min(np.abs(gray[a] - gray[b]).mean() for a in range(SPAN) for b in range(a)) >= LEAST_MOTION:
                kind = 2 if rng.random() < IN_ORDER else int(rng.integers(2))
                return clip[SHOWN[kind][:: rng.choice((1, -1))]], int(kind == 2)

    size = int((rows_of(places)["copy"] == 0).sum())  # an epoch has as many clips as one copy of the rows
    return fresh_batches(make, size, batch, rng)


def prepare(places: Places, folds: int) -> dict[str, float]:
    rows_of(places)
    films_of(places)
    labelled_pictures(places, "sign_digits")
    return {"megabytes_per_copy": places.megabytes_per_copy("shuffle-frames", COPIES), "copies": COPIES}


def setup(places: Places, case: Case, batch: int) -> Setup:
    if case.arm == LOADER:
        batches = loader_batches(places, case, batch)
    else:
        batches = stored_batches(rows_of(places), ["frames"], "label", case, batch, COPIES)
    return Setup(Sorter(), classification_loss, batches, probe_of(places, "sign_digits"))


FAMILIES = (
    Family(
        "shuffle-frames",
        "20 videos of American signs",
        "10 digits that other hands sign, in images",
        f"--preset verify --size {SEEN} --resize {RESIZED} "
        f"--gap-seconds {GAP} --every-seconds {EVERY} --copies {COPIES}",
        Budget(300, 32, 2e-3),
        prepare,
        setup,
    ),
)
