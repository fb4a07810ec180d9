"""Facts of an image that need no understanding of what it shows."""

from __future__ import annotations

import numpy as np

EDGE = 16  # columns and rows at each border whose gradients are told one by one
PERIOD = 8  # pixels of a JPEG block
MAX_RING = 64  # pixels of each border that are told one by one, evenly spread


def image_facts(image: np.ndarray, size: int | None = None) -> dict[str, np.ndarray]:
    """(H, W, 3) uint8 RGB, and the bytes of its file if it had one -> facts by kind, each a vector of numbers."""
    import cv2

    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    luma = planes[0]
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    profiles = (across.mean(0), down.mean(1), luma.var(0), luma.var(1))
    found = {
        "brightness and contrast": np.array([f(plane) for plane in planes for f in (np.mean, np.std)]),
        "gradients": _steps(luma),
        "chroma": np.concatenate([_steps(plane) for plane in planes[1:]]),
        "border pixels": np.concatenate([*map(_ends, profiles), *map(_some, _ring(luma))]),
        "block grid": np.array([one[at::PERIOD].mean() for one in profiles for at in range(min(PERIOD, len(one)))]),
    }
    return found if size is None else {"file size": np.array([float(size)]), **found}


def dhash(image: np.ndarray) -> int:
    """Return a hash that near duplicates share: whether each of 8 x 8 cells is brighter than its right neighbour."""
    from pseudolabel.transforms.image import ops

    return ops.dhash(image)[0]


def _steps(plane: np.ndarray) -> np.ndarray:
    """Return the mean differences of pixels that are 1 and 2 apart, across and down."""
    return np.array(
        [np.abs(plane[:, n:] - plane[:, :-n]).mean() for n in (1, 2)]
        + [np.abs(plane[n:] - plane[:-n]).mean() for n in (1, 2)]
    )


def _ends(profile: np.ndarray) -> np.ndarray:
    return np.concatenate([profile[:EDGE], profile[-EDGE:]])


def _ring(luma: np.ndarray) -> tuple[np.ndarray, ...]:
    return luma[0], luma[-1], luma[:, 0], luma[:, -1]


def _some(line: np.ndarray) -> np.ndarray:
    """Return at most MAX_RING of the values, evenly spread, the first and last included."""
    return np.take(line, np.linspace(0, len(line) - 1, min(MAX_RING, len(line))).round().astype(int))
