"""Masks of patches: lightly's I-JEPA collator, and its masks of MAE and DINOv2.

A mask does not depend on the picture: rows have a small picture of noise with as many patches. I-JEPA's context is
what the encoder is shown, and a target what the predictor is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from loaders.prepare import prepare

Row = dict[str, Any]
GRID = 14  # patches along a side: 224 pixels by 16
BATCH, BATCHES = 128, 16
PUBLISHED = {  # facebookresearch/ijepa, configs/in1k_vith14_ep300.yaml; its batch is 128
    "enc_mask_scale": (0.85, 1.0),
    "pred_mask_scale": (0.15, 0.2),
    "aspect_ratio": (0.75, 1.5),
    "npred": 4,
    "min_keep": 10,
}


def rows_of(masks: Iterator[np.ndarray]) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    for number, mask in enumerate(masks):
        noise = rng.integers(0, 256, (2 * GRID, 2 * GRID, 3), np.uint8)
        yield {"key": str(number), "image": noise, "mask": mask.ravel().tolist()}


def as_mask(patches: torch.Tensor) -> np.ndarray:
    return np.isin(np.arange(GRID * GRID), patches.numpy())


class Drawn(NamedTuple):
    """One batch of I-JEPA's collator: masks as they were drawn, and as it returns them."""

    contexts: list[torch.Tensor]  # indices of patches, before the collator makes them equally many
    context: torch.Tensor  # (batch, kept)
    targets: list[torch.Tensor]  # one tensor (batch, kept) for each target


def ijepa_batches(options: dict[str, Any], grid: int = GRID, batches: int = BATCHES) -> Iterator[Drawn]:
    """Yield batches of lightly's `IJEPAMaskCollator`, beside the masks that its own method draws."""
    prepare()
    from lightly.data.ijepa_collate import IJEPAMaskCollator

    class Watched(IJEPAMaskCollator):
        """The collator, whose context masks are also kept as they were drawn."""

        def _sample_block_mask(self, b_size: Any, acceptable_regions: Any = None) -> Any:
            found = super()._sample_block_mask(b_size, acceptable_regions)
            if acceptable_regions is not None:
                self.drawn.append(found[0])
            return found

    collator = Watched(input_size=(16 * grid, 16 * grid), **options)
    for _ in range(batches):
        collator.drawn = []
        _, (context,), targets = collator([0] * BATCH)
        yield Drawn(collator.drawn, context, targets)


def ijepa_context(source: str) -> Iterator[Row]:
    """What the encoder is shown, with the published options."""
    yield from rows_of(as_mask(one) for batch in ijepa_batches(PUBLISHED) for one in batch.context)


def ijepa_context_defaults(source: str) -> Iterator[Row]:
    """What the encoder is shown, with the class's own defaults."""
    yield from rows_of(as_mask(one) for batch in ijepa_batches({}) for one in batch.context)


def ijepa_target(source: str) -> Iterator[Row]:
    """The first of the four targets, with the published options."""
    yield from rows_of(as_mask(one) for batch in ijepa_batches(PUBLISHED) for one in batch.targets[0])


def lightly_random(source: str) -> Iterator[Row]:
    """MAE's masks: `random_token_mask` at a ratio of .75, without its class token."""
    prepare()
    from lightly.models.utils import random_token_mask

    size = BATCH * BATCHES, GRID * GRID + 1
    _, hidden = random_token_mask(size, mask_ratio=0.75)
    yield from rows_of(np.isin(np.arange(1, GRID * GRID + 1), one.numpy()) for one in hidden)


def lightly_block(source: str) -> Iterator[Row]:
    """DINOv2's masks: `random_block_mask` with its defaults, of the half of the pictures that get one."""
    prepare()
    from lightly.models.utils import random_block_mask

    batches = (random_block_mask((BATCH, GRID, GRID)) for _ in range(2 * BATCHES))
    yield from rows_of(one.numpy() for batch in batches for one in batch if one.any())


def discarded_patches(options: dict[str, Any], grid: int = GRID, batches: int = BATCHES) -> dict[str, float]:
    """Measure which context patches the collator cuts off, and which places no target reaches."""
    drawn, kept, behind = np.zeros(grid * grid), np.zeros(grid * grid), True
    targets, masks = np.zeros(grid * grid), 0
    for batch in ijepa_batches(options, grid, batches):
        for whole, left in zip(batch.contexts, batch.context, strict=True):
            drawn[whole.numpy()] += 1
            kept[left.numpy()] += 1
            behind &= set(whole.tolist()) >= set(left.tolist()) and bool((whole[len(left) :] > left.max()).all())
        masks += len(batch.contexts)
        for target in batch.targets:
            np.add.at(targets, target.numpy().ravel(), 1)
    lost = (drawn - kept).reshape(grid, grid)
    lower = grid // 2
    maps = {"context": drawn.reshape(grid, grid), "target": targets.reshape(grid, grid)}
    return {
        "masks": masks,
        "discarded share of context patches": float(lost.sum() / drawn.sum()),
        "discarded ones lie behind all kept ones, row by row": float(behind),
        "discarded share in the upper half": float(lost[:lower].sum() / drawn[: lower * grid].sum()),
        "discarded share in the lower half": float(lost[lower:].sum() / drawn[lower * grid :].sum()),
        "context patches in the last row and column": float(maps["context"][-1].sum() + maps["context"][:, -1].sum()),
        "target patches in the last row and column": float(maps["target"][-1].sum() + maps["target"][:, -1].sum()),
    }
