"""Base class of video tasks: which clips are taken, the square cut from each clip, and the minimum motion."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Tiles, UserError
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import TREATMENT, Clip, VideoOptions, VideoReader
from pseudolabel.tasks.base.task import Reader, Row, SampleTask, Task
from pseudolabel.transforms.image import codec, ops
from pseudolabel.transforms.video import motion

MAX_SQUARES = 10  # random squares that are tried until one has enough motion
SIZE_HELP = "Side in pixels of the square cut from each frame. [{0.framing.size}]"
RESIZE_HELP = "Short side in pixels of the frame before the square is cut. [{0.framing.resize}]"
PLACE_HELP = "Position of the square; busiest: where most motion is. [{0.framing.place}]"
JITTER_HELP = "Maximum random shift in pixels of the square: per frame, in shuffle-clips per clip. [{0.framing.jitter}]"
MOTION_HELP = "Minimum motion in gray levels on thumbnails (see column motion); skip clips with less. 0: keep all."
CUT_HELP = "Skip clips with a cut: over this share of colours changes at once. Gray video: less reliable. 1: keep all."


class Crop(StrEnum):
    """The position of the square in the frame."""

    random = "random"
    centre = "centre"
    busiest = "busiest"


class Framing(NamedTuple):
    """The square that is cut from each frame."""

    size: int  # pixels of the square's side
    resize: int  # pixels of the frame's short side, before the square is cut
    place: Crop
    jitter: int  # pixels


class Square(NamedTuple):
    """A square cut out of every frame of a clip."""

    frames: np.ndarray  # (n, size, size, 3) uint8
    boxes: np.ndarray  # (n, 4): left, top, right, bottom in the resized frame
    motion: float


TIMESTAMPS = Column(
    "timestamps", "list<float64>", "about", "Seconds from the first frame of the video to each frame shown."
)
BOXES = Column(
    "boxes", "list<list<int32>>", "about", "Position of each square: left, top, right, bottom in the resized frame."
)


def treatment_notes(task: Task, artefacts: Path) -> Sequence[str]:
    """Return how frames are shown, for the card."""
    return (TREATMENT,)


def frame_strip(caption: str, media: Sequence[Row], notes: Sequence[str] = ()) -> Tiles:
    """Return up to 8 evenly spaced frames side by side."""
    some = np.linspace(0, len(media) - 1, min(8, len(media))).round().astype(int).tolist()
    return Tiles(
        caption, [codec.decode_stored(media[i]) for i in some], len(some), [notes[i] for i in some] if notes else ()
    )


@dataclass(frozen=True)
class VideoTask(VideoOptions, SampleTask):
    """A task over video: `rows` takes a `Clip`."""

    size: Annotated[int | None, Option(min=16, max=2048, help=SIZE_HELP)] = None
    resize: Annotated[int | None, Option(min=16, max=4096, help=RESIZE_HELP)] = None
    place: Annotated[Crop | None, Option(help=PLACE_HELP)] = None
    jitter: Annotated[int | None, Option(min=0, max=512, help=JITTER_HELP)] = None
    min_motion: Annotated[float, Option(min=0, max=255, help=MOTION_HELP)] = 1.0
    max_cut: Annotated[float, Option(min=0, max=1, help=CUT_HELP)] = 0.35

    def __post_init__(self) -> None:
        super().__post_init__()
        size, resize, _, jitter = self.framing
        if size + 2 * jitter > resize:
            room = f"--size {size} with --jitter {jitter} needs {size + 2 * jitter} pixels"
            raise UserError(f"{room}, but --resize is {resize}; give a larger --resize or a smaller --size")

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """Return which frames a clip has, and where the next clip begins."""

    @property
    def usual(self) -> Framing:
        """Return the default framing."""
        return Framing(112, 128, Crop.random, 0)

    @property
    def framing(self) -> Framing:
        """Return the framing: given options, else the defaults."""
        return self.usual._replace(**self.given(Framing._fields))

    def options(self) -> Mapping[str, Any]:
        how = self.sampling
        lie = {"offsets": [step * how.gap for step in how.steps], "length": how.length * how.gap}
        return {**super().options(), **self.framing._asdict(), **lie, "seconds": how.seconds}

    def reader(self) -> Reader:
        return VideoReader(self.sampling, self.framing.resize)

    def frames_fault(self, media: Sequence[Row], row: Row, source: Clip | None) -> str | None:
        """Return the fault if the frames differ from the source at their `timestamps` and `boxes`, else None."""
        times = np.ravel(row["timestamps"])
        boxes = np.repeat(row["boxes"], len(times) // len(row["boxes"]), 0)  # one box per frame or per clip
        if not len(times) == len(media) == len(boxes):
            return f"the numbers differ: {len(media)} frames, {len(times)} `timestamps`, {len(boxes)} `boxes`"
        if source is None:
            return None
        for shown, time, box in zip(media, times, boxes, strict=True):
            at = int(np.abs(source.times - time).argmin())
            if abs(source.times[at] - time) > 1e-6:
                return f"the source has no frame at {time:.6g} s"
            if not ops.equal_up_to_jpeg(codec.decode_stored(shown), ops.crop(source.frames[at], box)):
                return f"the frame at {time:.6g} s differs from the source"
        return None

    def cut_moving_square(
        self, clip: Clip, rng: np.random.Generator, motion_of: Callable[[np.ndarray], float], unit: int = 1
    ) -> Square:
        """Cut a square out of all frames; each group of `unit` frames has one random shift, the jitter.

        `motion_of`: `(n, 32, 32)` float32 thumbnails, without jitter -> motion in gray levels. In most tasks, motion is
        the smallest difference between the frames, clips or versions of a clip that the label tells apart. Raise
        `FilteredSample` if no square reaches `min_motion`, or if the clip has a cut to another shot.
        """
        motion.require_one_shot(clip.frames, self.max_cut)
        size, _, _, jitter = self.framing

        def measure(left: int, top: int) -> float:
            return motion_of(motion.thumbnails(clip.frames[:, top : top + size, left : left + size]))

        left, top, moved = motion.require_motion(self._corners(clip.frames, rng), measure, self.min_motion)
        off = rng.integers(-jitter, jitter + 1, (len(clip.frames) // unit, 2)).repeat(unit, 0)
        corners = off + np.array((left, top))
        cut_out = [f[y : y + size, x : x + size] for f, (x, y) in zip(clip.frames, corners, strict=True)]
        return Square(np.stack(cut_out), np.hstack([corners, corners + size]), moved)

    def _corners(self, frames: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield left and top of candidate squares that leave room for the jitter."""
        size, _, place, jitter = self.framing
        inner = frames[:, jitter : frames.shape[1] - jitter, jitter : frames.shape[2] - jitter]
        room = np.array(inner.shape[2:0:-1]) - size + 1
        if place == Crop.random:
            yield from ((int(x), int(y)) for x, y in rng.integers(0, room, (MAX_SQUARES, 2)) + jitter)
        else:
            left, top = motion.most_motion_square(inner, size) if place == Crop.busiest else (room // 2).tolist()
            yield left + jitter, top + jitter
