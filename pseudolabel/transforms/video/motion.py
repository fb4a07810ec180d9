"""Motion and cuts in a clip, measured on thumbnails of its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from pseudolabel.contracts import FilteredSample

THUMBNAIL_SIDE = 32  # pixels; small enough to remove grain and codec noise, large enough to show a hand
COLOUR_LEVELS = 8  # histogram levels per colour channel
LEVELS = np.arange(256.0)


def thumbnails(frames: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) uint8 -> (n, 32, 32) float32 gray levels; mean 0 and equal contrast cancel exposure changes."""
    import cv2

    small = (cv2.resize(frame, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA) for frame in frames)
    gray = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in small]).astype(np.float32)
    gray -= gray.mean((1, 2), keepdims=True)
    contrast = gray.std((1, 2), keepdims=True)
    return np.asarray(gray * (contrast.mean() / np.maximum(contrast, 1)))


def min_pairwise_difference(shown: np.ndarray) -> float:
    """(n, ...) -> the mean absolute difference of the two most similar frames."""
    flat = shown.reshape(len(shown), -1)
    return min(float(np.abs(flat[i + 1 :] - flat[i]).mean(1).min()) for i in range(len(flat) - 1))


def mean_frame_difference(shown: np.ndarray) -> float:
    """(n, ...) -> the mean absolute difference of consecutive frames."""
    return float(np.abs(np.diff(shown, axis=0)).mean())


def cut_score(frames: np.ndarray) -> float:
    """(n, H, W, 3) uint8 -> the largest share of the colours that changes between two frames, up to 1 at a cut.

    Colour histograms ignore positions, so motion changes them little. Each frame has two histograms: of the
    frame, and of the frame minus its mean. The smaller of the two changes counts. Therefore a change of exposure is not
    a cut, and a flat colour that moves from one histogram level to the next is not a cut either.
    """
    import cv2

    small = [
        cv2.resize(frame, (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA) for frame in frames
    ]
    plain = np.stack([_colours(frame, LEVELS) for frame in small])
    centred = np.stack([_colours(frame, (LEVELS - frame.mean() + 128).clip(0, 255)) for frame in small])
    plainly, relatively = (np.abs(np.diff(counts, axis=0)).sum(1) / 2 for counts in (plain, centred))
    return float(np.minimum(plainly, relatively).max())


def _colours(frame: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, (256,) what each level is shown as -> (512,): the share of each of 8 x 8 x 8 colours."""
    import cv2

    levels = (shown.astype(np.float32) * (COLOUR_LEVELS / 256)).astype(np.uint8)  # OpenCV counts bytes fastest
    counts = cv2.calcHist([cv2.LUT(frame, levels)], [0, 1, 2], None, [COLOUR_LEVELS] * 3, [0, COLOUR_LEVELS] * 3)
    return np.asarray(counts.ravel() / counts.sum())


def require_one_shot(frames: np.ndarray, max_cut: float) -> None:
    """Raise `FilteredSample` if (n, H, W, 3) uint8 frames hold a cut to another shot; `max_cut` of 1 accepts all."""
    cut = cut_score(frames) if max_cut < 1 else 0.0
    if cut > max_cut:
        raise FilteredSample(
            f"a cut: {cut:.2f} of the colours change between two frames; give a --max-cut above {max_cut:g}"
        )


def require_motion(
    corners: Iterable[tuple[int, int]], measure: Callable[[int, int], float], min_motion: float
) -> tuple[int, int, float]:
    """Return left, top and motion of the first square with enough motion.

    `measure(left, top)` gives the motion of a square in gray levels on thumbnails. Raise `FilteredSample` if the motion
    of every square is below `min_motion`.
    """
    most = 0.0
    for left, top in corners:
        moved = measure(left, top)
        if moved >= min_motion:
            return left, top, moved
        most = max(most, moved)
    raise FilteredSample(f"too little motion: {most:.2f} gray levels; give a --min-motion below {min_motion:g}")


def most_motion_square(frames: np.ndarray, side: int) -> tuple[int, int]:
    """(n, H, W, 3) uint8 -> left and top of the square of `side` pixels with the most change between frames."""
    import cv2

    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames]
    moved = sum(np.abs(after - before) for before, after in pairwise(gray))
    sums = cv2.integral(moved)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(left), int(top)
