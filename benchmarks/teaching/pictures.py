"""Rotations, pairs of views, jigsaws and clusters of pictures: one small convolutional network, several heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pseudolabel import AugmentPairs, Cluster, Jigsaw, Rotate
from teaching import views
from teaching.experiment import LOADER, SHUFFLED, Batch, Budget, Case, Family, Probe, Setup, epochs, fresh_batches
from teaching.places import SEEN, Places, decode_picture, decode_pictures, labelled_pictures, picture_source

CLOTHING = "1,000 photographs of clothes"
GARMENTS = "10 garments in other photographs"
CLUSTERS, PERMUTATIONS, COPIES = 50, 30, (1, 2, 5, 10)
HEADLINE = 5  # copies of the arm "rows"
WIDTH, TEMPERATURE = 128, 0.5  # NT-Xent
CELL, TILE = 20, 16  # pixels, of a jigsaw


class Encoder(nn.Module):
    """Three convolutions of stride 2. Groups are normalised, not batches, so that random weights need no statistics."""

    def __init__(self) -> None:
        super().__init__()
        sizes, layers = (3, 32, 64, WIDTH), []
        for one, two in pairwise(sizes):
            layers += [nn.Conv2d(one, two, 3, 2, 1), nn.GroupNorm(8, two), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> (n, 4 WIDTH): the maps, averaged over each quarter of the picture."""
        return F.adaptive_avg_pool2d(self.layers(pictures), 2).flatten(1)

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        return self(normalize(pictures))


class Classifier(Encoder):
    """A class for each picture, or for each group of pictures (the tiles of a jigsaw, the frames of a clip)."""

    def __init__(self, classes: int, together: int = 1) -> None:
        super().__init__()
        self.reduce = nn.Linear(4 * WIDTH, 64) if together > 1 else nn.Identity()
        self.head = nn.Sequential(nn.Linear(64 * together, 128), nn.ReLU(), nn.Linear(128, classes))
        if together == 1:
            self.head = nn.Linear(4 * WIDTH, classes)

    def classify(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3) or (n, together, H, W, 3) uint8 -> (n, classes)"""
        made = self.reduce(self(normalize(pictures.flatten(0, -4))))
        return self.head(made.reshape(len(pictures), -1))


class Contrast(Encoder):
    """SimCLR: a projection of the mean of the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 64))

    def project(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.head(self.layers(normalize(pictures)).mean((2, 3))))


def normalize(pictures: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, 3, H, W) in [-1, 1]"""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def classification_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model.classify(batch[0]), batch[1])  # type: ignore[operator]


def nt_xent(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Chen et al. 2020: the other view among all other views of the batch."""
    views_of = model.project(torch.cat([batch[0], batch[1]]))  # type: ignore[operator]
    n = len(batch[0])
    alike = views_of @ views_of.T / TEMPERATURE
    alike = alike.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(alike, (torch.arange(2 * n) + n) % (2 * n))


def probe_of(places: Places, name: str) -> Probe:
    """Return the labelled pictures, half for each purpose."""
    pictures, labels = labelled_pictures(places, name)
    half = len(pictures) // 2
    return Probe(torch.from_numpy(pictures[:half]), labels[:half], torch.from_numpy(pictures[half:]), labels[half:])


def stored_batches(
    columns: Mapping[str, np.ndarray], inputs: list[str], label: str, case: Case, batch: int, copies: int
) -> Iterator[Batch]:
    """Yield batches of stored rows: the columns of the inputs, and the labels, shuffled where the case says so.

    Of a column of pictures that serves as label (the other view, the whole picture), shuffling gives the one of another
    row.
    """
    rng = np.random.default_rng(case.seed)
    kept = columns["copy"] < copies
    chosen = {name: torch.from_numpy(columns[name][kept]) for name in (*inputs, label)}
    if case.arm == SHUFFLED:
        chosen[label] = chosen[label][torch.from_numpy(rng.permutation(kept.sum()))]
    for rows in epochs(columns["copy"][kept], batch, rng):
        yield [column[torch.from_numpy(rows)] for column in chosen.values()]


def copies_of(case: Case) -> int:
    """Return the number of copies that an arm uses: `3 copies`, else HEADLINE."""
    return int(case.arm.split()[0]) if case.arm.endswith(("copies", "copy")) else HEADLINE


# --- the families ----------------------------------------------------------------------------------------------------

TASKS = {  # the task, its copies, the columns of inputs and the label
    "rotate": (Rotate(size=SEEN), HEADLINE, ["image"], "label"),
    "augment-pairs": (AugmentPairs(size=SEEN, negatives=0), max(COPIES), ["view_1"], "view_2"),
    "jigsaw": (
        Jigsaw(cell=CELL, tile=TILE, permutations=PERMUTATIONS),
        HEADLINE,
        ["tiles"],
        "label",
    ),
    "cluster": (Cluster(clusters=CLUSTERS, size=SEEN), 1, ["image"], "cluster"),
}


def rows_of(places: Places, name: str) -> dict[str, np.ndarray]:
    """Return the columns of the rows as arrays, pictures decoded."""
    task, copies, inputs, label = TASKS[name]
    source = picture_source(places, "clothing")

    def make() -> dict[str, np.ndarray]:
        table = places.rows(name, task, source, copies)
        columns = {"copy": table["copy"].to_numpy()}
        for column in (*inputs, label):
            if column not in ("image", "view_1", "view_2", "tiles"):
                columns[column] = table[column].to_numpy()
            elif name == "cluster":  # pictures of several sizes
                pictures = map(decode_picture, table[column].to_pylist())
                columns[column] = np.stack([*map(views.center_square, pictures)])
            else:
                columns[column] = decode_pictures(table[column].to_pylist())
        return columns

    return places.arrays(name, make)


def prepare(places: Places, name: str) -> dict[str, float]:
    """Make the rows. Return the size of one copy on disk."""
    rows_of(places, name)
    if name == "cluster":
        places.arrays(
            "cluster-by-hand", lambda: {"cluster": views.clusters(picture_source(places, "clothing"), CLUSTERS)}
        )
    copies = TASKS[name][1]
    return {"megabytes_per_copy": places.megabytes_per_copy(name, copies), "copies": min(copies, HEADLINE)}


def setup(places: Places, case: Case, batch: int) -> Setup:
    """Return one training of a family of pictures."""
    name = case.family
    if name == "augment-pairs":
        model: Encoder = Contrast()
    elif name == "rotate":
        model = Classifier(4)
    elif name == "cluster":
        model = Classifier(CLUSTERS)
    else:
        model = Classifier(PERMUTATIONS, together=9)
    if case.arm == LOADER:
        batches = loader_batches(places, case, batch)
    else:
        _, _, inputs, label = TASKS[name]
        batches = stored_batches(rows_of(places, name), inputs, label, case, batch, copies_of(case))
    loss = nt_xent if name == "augment-pairs" else classification_loss
    return Setup(
        model, loss, augment_batches(batches, case.seed) if name == "cluster" else batches, probe_of(places, "clothing")
    )


def loader_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield the batches of the usual loader: transforms of PIL pictures, drawn anew each time."""
    rng, pictures = np.random.default_rng(case.seed), views.open_pictures(picture_source(places, "clothing"))
    if case.family == "cluster":
        codes = places.arrays("cluster-by-hand", dict)["cluster"]
        squares = [views.center_square(np.asarray(picture)) for picture in pictures]
        return fresh_batches(lambda i: (squares[i], codes[i]), len(pictures), batch, rng)
    if case.family == "jigsaw":
        orders = np.load(places.work / "rows" / f"jigsaw-{HEADLINE}" / "permutations.npy")
        make = views.Puzzles(orders, CELL, TILE)
    else:
        make = {"rotate": views.rotate_view, "augment-pairs": views.simclr_pair}[case.family]
    return fresh_batches(lambda i: make(pictures[i], rng), len(pictures), batch, rng)


def augment_batches(batches: Iterator[Batch], seed: int) -> Iterator[Batch]:
    """Shift pictures by up to two pixels and mirror half of the batches, as trainers of classes do."""
    rng = np.random.default_rng((seed, 1))
    for pictures, labels in batches:
        shown = pictures.roll(tuple(rng.integers(-2, 3, 2).tolist()), (1, 2))
        yield [shown.flip(2) if rng.random() < 0.5 else shown, labels]


def family(name: str, command: str, budget: Budget, more: tuple[str, ...] = ()) -> Family:
    return Family(name, CLOTHING, GARMENTS, command, budget, lambda places, folds: prepare(places, name), setup, more)


FAMILIES = (
    family("rotate", f"--size {SEEN} --copies {HEADLINE}", Budget(300, 64, 2e-3)),
    family(
        "augment-pairs",
        f"--size {SEEN} --negatives 0 --copies {max(COPIES)}",
        Budget(300, 64, 2e-3),
        ("1 copy", "2 copies", "10 copies"),
    ),
    family(
        "jigsaw",
        f"--cell {CELL} --tile {TILE} --permutations {PERMUTATIONS} --copies {HEADLINE}",
        Budget(300, 32, 2e-3),
    ),
    family("cluster", f"-k {CLUSTERS} --size {SEEN}", Budget(300, 64, 2e-3)),
)
