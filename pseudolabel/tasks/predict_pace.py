"""Playback pace of clips. Wang et al. 2020, Self-supervised video representation learning by pace prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, FilteredSample, Piece
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import TREATMENT, Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import BOXES, TIMESTAMPS, VideoTask, frame_strip
from pseudolabel.transforms.video import motion

MAX_GAP_RATIO = 1.251  # maximum ratio of --gap-seconds and the slowest step: 1.25, and 0.001 for rounded timestamps
ENOUGH_FRAMES = 1.6  # frames per --gap-seconds; from 1.6 on, rounding changes the step by a factor of 2 / 1.6 at most
MAX_STEP_RATIO = 1.5  # longest step / shortest step between frames; above this, a clip has no single pace


SHORTCUTS = (
    "if nothing moves, the pattern of the codec's frame types reveals the pace: a guess from the changes of the "
    "frames' file sizes is right in 47 % of rows (chance: 27 %); a guess from the sizes alone, or on real videos, is "
    "at chance"
)


@dataclass(frozen=True)
class PredictPace(VideoTask):
    """Show every n-th frame of a clip for a random n; the label is n - 1, named `1x`, `2x`... up to `--paces`.

    With `--gap-seconds`, the step of the slowest pace is that time, rounded to whole frames. Give this option for
    sources of several frame rates; otherwise one pace looks different at each rate. A clip is skipped if its rounded
    step differs from `--gap-seconds` by more than a factor of 1.25; this never happens if `--gap-seconds` is at least
    1.6 frames of the video with the lowest frame rate, and rates are constant. All paces begin with the same frame.
    Unlike in the paper's code, a clip never wraps around from the end of the video to its start: the seam may reveal
    the pace. Clips that look the same at two paces, or whose frames are not evenly spaced, are skipped. If nothing
    moves, the pattern of the codec's frame types reveals the pace: on still scenes with `--min-motion 0`, a guess from
    the changes of the frames' file sizes is right in 47 % of rows (chance: 27 %). On real videos, the guess is right in
    27 % (chance: 29 %).
    """

    name = "predict-pace"
    description = Description(
        paper="Wang et al. 2020, https://arxiv.org/abs/2008.05861",
        invalidating_augmentations=("leaving out frames", "interpolating frames"),
        notes=lambda task, artefacts: (SHORTCUTS, TREATMENT),
    )

    paces: Annotated[int, Option(min=2, max=16, help="Number of paces: every frame, every second frame, etc.")] = 4
    frames: Annotated[int, Option(min=2, max=128, help="Frames per clip.")] = 16

    @cached_property
    def steps(self) -> np.ndarray:
        """Return `(paces, frames)`: the position of each frame of each pace, in gaps from the first frame."""
        return np.arange(1, self.paces + 1)[:, None] * np.arange(self.frames)

    @property
    def sampling(self) -> Sampling:
        every = tuple(np.unique(self.steps).tolist())
        return self.space_clips(Sampling(every, every[-1] + 1, gap=1, seconds=False, even=True))

    def columns(self) -> Sequence[Column]:
        names = tuple(f"{pace}x" for pace in range(1, self.paces + 1))
        return (
            Column("clip", "list<image>", "input", "Frames of the clip at its pace, in temporal order."),
            Column("label", "class", "label", "Pace of the clip, as a multiple of the slowest pace.", names),
            TIMESTAMPS,
            Column("motion", "float32", "about", "Smallest difference of two paces, in gray levels on thumbnails."),
            BOXES,
        )

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row that shows the frames of one pace. `clip` holds the frames of all paces, in order."""
        every = np.unique(self.steps)
        at = np.searchsorted(every, self.steps)
        took = np.diff(clip.times) / np.diff(every)
        if took.max() > MAX_STEP_RATIO * took.min():
            raise FilteredSample(f"unevenly spaced frames: {1000 * took.min():.0f} to {1000 * took.max():.0f} ms apart")
        if self.gap_seconds:
            _require_pace(float((clip.times[-1] - clip.times[0]) / every[-1]), self.gap_seconds)
        square = self.cut_moving_square(clip, rng, lambda small: motion.min_pairwise_difference(small[at]))
        label = int(rng.integers(self.paces))
        yield {
            "clip": square.frames[at[label]],
            "label": label,
            "timestamps": clip.times[at[label]].tolist(),
            "motion": square.motion,
            "boxes": square.boxes[at[label]].tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Check that frames equal the source at their timestamps, and are as many frames apart as the label says."""
        if fault := self.frames_fault(row["clip"], row, source):
            return fault
        if source is None:
            return None
        every = np.unique(self.steps)
        shown = every[[int(np.abs(source.times - time).argmin()) for time in row["timestamps"]]]
        return None if (np.diff(shown) == row["label"] + 1).all() else "frames are not as far apart as `label` says"

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the frames as shown, with their timestamps."""
        yield frame_strip("as shown", row["clip"], [f"{time:.2f} s" for time in row["timestamps"]])


def _require_pace(step: float, asked: float) -> None:
    """Raise `FilteredSample` if `step`, a whole number of frames in seconds, differs too much from `asked` seconds."""
    if not asked / MAX_GAP_RATIO <= step <= asked * MAX_GAP_RATIO:
        apart = _round_up(step)
        enough = _round_up(ENOUGH_FRAMES * apart)
        told = f"--gap-seconds {asked:g}, in whole frames at their usual distance in the video, takes {step:.3g} s here"
        if asked >= enough:
            raise FilteredSample(f"{told}: the rate of the video varies")
        fits = f"which fits all videos of constant rates with frames up to {apart:g} s apart"
        raise FilteredSample(f"{told}; give --gap-seconds {enough:g} or more, {fits}")


def _round_up(seconds: float) -> float:
    """Round up to milliseconds."""
    return ceil(1000 * seconds - 0.001) / 1000
