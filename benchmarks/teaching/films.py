"""Shuffled frames: the order of three frames, or its reverse, of films of signs; the probe names digits.

No folder here has labelled films. The encoder of the frames is therefore judged by pictures of what the films show: the
hands of others, that sign digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from pseudolabel import ShuffleFrames
from teaching import views
from teaching.experiment import LOADER, Batch, Budget, Case, Family, Setup, fresh
from teaching.pictures import HEADLINE, Classifier, classified, probe_of, stored
from teaching.places import SEEN, Places, decoded, labelled_pictures

FRAMES, GAP, EVERY, RESIZED = 3, 0.2, 0.1, 40  # seconds between frames, and between clips; pixels before the crop
LEAST_MOTION = 1.0  # gray levels; the task's own default


def rows_of(places: Places) -> dict[str, np.ndarray]:
    def make() -> dict[str, np.ndarray]:
        sizes = {"size": SEEN, "resize": RESIZED, "place": "random", "jitter": 0}
        task = ShuffleFrames(preset="opn", frames=FRAMES, gap_seconds=GAP, every_seconds=EVERY, **sizes)
        table = places.rows("shuffle-frames", task, places.real("video/asl_gestures"), HEADLINE)
        columns = {name: table[name].to_numpy() for name in ("copy", "label")}
        return {**columns, "frames": decoded(table["frames"])}

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
                    views.resized(Image.fromarray(f.to_ndarray(format="rgb24")), RESIZED)
                    for f in container.decode(stream)
                ]
                found[path.stem] = np.stack([np.asarray(frame) for frame in shown])
                found[f"{path.stem} rate"] = np.array(float(stream.average_rate or 25))
        return found

    kept = places.arrays("films", make)
    return [(frames, float(kept[f"{name} rate"])) for name, frames in kept.items() if not name.endswith(" rate")]


def loaded(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield clips that begin at any frame, cut alike, their frames shuffled; where nothing moves, another is drawn."""
    rng, films, orders = np.random.default_rng(case.seed), films_of(places), list(permutations(range(FRAMES)))
    middle = [order.index(1) for order in orders]  # of three frames, an order and its reverse have one middle

    def make(i: int) -> tuple[np.ndarray, int]:
        frames, rate = films[i % len(films)]
        gap = max(1, round(GAP * rate))
        while True:
            start = int(rng.integers(len(frames) - (FRAMES - 1) * gap))
            top, left = (int(rng.integers(side - SEEN + 1)) for side in frames.shape[1:3])
            clip = frames[start : start + FRAMES * gap : gap, top : top + SEEN, left : left + SEEN]
            gray = clip.mean(-1).reshape(FRAMES, 8, SEEN // 8, 8, SEEN // 8).mean((2, 4))
            if min(np.abs(gray[a] - gray[b]).mean() for a in range(FRAMES) for b in range(a)) >= LEAST_MOTION:
                label = int(rng.integers(len(orders)))
                return clip[list(orders[label])], middle[label]

    size = int((rows_of(places)["copy"] == 0).sum())  # an epoch has as many clips as one copy of the rows
    return fresh(make, size, batch, rng)


def prepare(places: Places, folds: int) -> dict[str, float]:
    rows_of(places)
    films_of(places)
    labelled_pictures(places, "sign_digits")
    return {"megabytes_per_copy": places.megabytes("shuffle-frames", HEADLINE) / HEADLINE, "copies": HEADLINE}


def setup(places: Places, case: Case, batch: int) -> Setup:
    model = Classifier(FRAMES, together=FRAMES)
    if case.arm == LOADER:
        batches = loaded(places, case, batch)
    else:
        batches = stored(rows_of(places), ["frames"], "label", case, batch, HEADLINE)
    return Setup(model, classified, batches, probe_of(places, "sign_digits"))


FAMILIES = (
    Family(
        "shuffle-frames",
        "20 films of American signs",
        "10 digits that other hands sign, in pictures",
        f"--preset opn --frames {FRAMES} --size {SEEN} --resize {RESIZED} --place random --jitter 0 "
        f"--gap-seconds {GAP} --every-seconds {EVERY} --copies {HEADLINE}",
        Budget(300, 32, 2e-3),
        prepare,
        setup,
    ),
)
