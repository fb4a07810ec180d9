"""Masked patches: a small masked autoencoder (He et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import nn

from pseudolabel import MaskPatches
from teaching import views
from teaching.experiment import LOADER, Batch, Budget, Case, Family, Setup, fresh_batches
from teaching.pictures import CLOTHING, GARMENTS, HEADLINE, copies_of, normalize, probe_of, stored_batches
from teaching.places import SEEN, Places, decode_pictures, picture_source

PATCH, WIDTH, NARROW = 4, 64, 48
GRID = SEEN // PATCH
HIDDEN = GRID**2 - int(GRID**2 * 0.25)  # of 64 patches


class Autoencoder(nn.Module):
    """Encoder of the visible patches, decoder of all; the loss is of the hidden ones, each normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * PATCH**2, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(GRID**2, WIDTH))
        self.encoder = blocks(WIDTH, 3)
        self.narrow = nn.Linear(WIDTH, NARROW)
        self.hidden = nn.Parameter(0.02 * torch.randn(NARROW))
        self.decoder_places = nn.Parameter(0.02 * torch.randn(GRID**2, NARROW))
        self.decoder = blocks(NARROW, 1)
        self.head = nn.Linear(NARROW, 3 * PATCH**2)

    def encode(self, patches: torch.Tensor) -> torch.Tensor:
        return self.embed(patches) + self.places

    def forward(self, pictures: torch.Tensor, masks: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        n = len(pictures)
        tokens = self.encode(patches_of(pictures))
        shown = self.narrow(self.encoder(tokens[~masks].reshape(n, -1, WIDTH)))
        every = self.hidden.expand(n, GRID**2, NARROW).masked_scatter(~masks[..., None], shown)
        made = self.head(self.decoder(every + self.decoder_places))[masks]
        asked = patches_of(targets)
        asked = (asked - asked.mean(-1, keepdim=True)) / (asked.var(-1, keepdim=True) + 1e-6).sqrt()
        return (made - asked[masks]).square().mean()

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, H, W, 3) -> (n, 4 WIDTH): the tokens, averaged over each quarter of the picture."""
        made = self.encoder(self.encode(patches_of(pictures)))
        quarters = made.reshape(len(made), 2, GRID // 2, 2, GRID // 2, WIDTH).mean((2, 4))
        return quarters.flatten(1)


def blocks(width: int, count: int) -> nn.Module:
    """Return a transformer without dropout."""
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, count, nn.LayerNorm(width), enable_nested_tensor=False)


def patches_of(pictures: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 -> (n, patches, 3 PATCH^2), row by row"""
    n = len(pictures)
    cut = normalize(pictures).reshape(n, 3, GRID, PATCH, GRID, PATCH)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, GRID**2, 3 * PATCH**2)


def reconstruction_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return model(*batch)


def rows_of(places: Places) -> dict[str, np.ndarray]:
    def make() -> dict[str, np.ndarray]:
        task = MaskPatches(height=SEEN, width=SEEN, patch=PATCH)
        table = places.rows("mask-patches", task, picture_source(places, "clothing"), HEADLINE)
        masks = np.stack(table["mask"].to_numpy())
        return {"copy": table["copy"].to_numpy(), "image": decode_pictures(table["image"].to_pylist()), "mask": masks}

    return places.arrays("mask-patches", make)


def loader_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield what a loader makes: RandomResizedCrop(0.2, 1) and flip, and the mask of an argsort of noise, as MAE's."""
    rng, pictures = np.random.default_rng(case.seed), views.open_pictures(picture_source(places, "clothing"))

    def make(i: int) -> tuple[np.ndarray, ...]:
        shown = views.random_flip(views.random_resized_crop(pictures[i], 0.2, rng, Image.Resampling.BICUBIC), rng)
        mask = np.ones(GRID**2, bool)
        mask[np.argsort(rng.random(GRID**2))[: GRID**2 - HIDDEN]] = False
        return np.asarray(shown), mask, np.asarray(shown)

    return fresh_batches(make, len(pictures), batch, rng)


def prepare(places: Places, folds: int) -> dict[str, float]:
    rows_of(places)
    return {"megabytes_per_copy": places.megabytes_per_copy("mask-patches", HEADLINE), "copies": HEADLINE}


def setup(places: Places, case: Case, batch: int) -> Setup:
    if case.arm == LOADER:
        batches = loader_batches(places, case, batch)
    else:
        rows = rows_of(places)
        columns = {**rows, "target": rows["image"]}
        batches = stored_batches(columns, ["image", "mask"], "target", case, batch, copies_of(case))
    return Setup(Autoencoder(), reconstruction_loss, batches, probe_of(places, "clothing"))


FAMILIES = (
    Family(
        "mask-patches",
        CLOTHING,
        GARMENTS,
        f"--height {SEEN} --width {SEEN} --patch {PATCH} --copies {HEADLINE}",
        Budget(300, 32, 2e-3),
        prepare,
        setup,
        ("1 copy",),
    ),
)
