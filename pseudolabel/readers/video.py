"""Video: clips of films, each (n, h, w, 3) uint8 RGB, upright, with the time of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.readers.films import SLACK, Film, Shown, Timeline
from pseudolabel.sample import Extent, Filtered, Refused, Sample, Skipped, Split, Unusable, attempt
from pseudolabel.sampling import Sampling, clips

PIECE = 16 << 20  # bytes of a file that are one extent, about: larger files are shared among workers
SECOND = 1_000_000  # what places in films are counted in

EVERY_HELP = "Seconds from where a clip begins to where the next one does. [as soon as it is over]"
MOST_HELP = "Clips of each film at most, spread evenly. [as many as there are]"


@dataclass(frozen=True)
class VideoOptions:
    """How films are read."""

    gap: Annotated[int | None, Option(min=1, help="Frames from each frame of a clip to the next.")] = None
    gap_seconds: Annotated[float | None, Option(min=0.001, max=600, help="The same in seconds, at any rate.")] = None
    every_seconds: Annotated[float | None, Option(min=0.01, max=86_400, help=EVERY_HELP)] = None
    clips_per_video: Annotated[int | None, Option(min=1, help=MOST_HELP)] = None

    def __post_init__(self) -> None:
        if self.gap and self.gap_seconds:
            raise Refused("--gap counts frames and --gap-seconds seconds; give one of them")
        if self.every_seconds and self.clips_per_video:
            raise Refused("--every-seconds and --clips-per-video both say how many clips there are; give one of them")

    def spaced(self, steps: Sequence[int], length: int, gap: float, seconds: bool) -> Sampling:
        """Clips whose frames lie `steps` gaps from their first, and which begin `length` gaps apart at the least.

        `gap` is in seconds or frames, where the options say nothing else.
        """
        gap, seconds = (self.gap or self.gap_seconds or gap), (bool(self.gap_seconds) or (seconds and not self.gap))
        offsets = tuple(step * gap for step in steps)
        return Sampling(offsets, length * gap, seconds, self.every_seconds, self.clips_per_video)


class Clip(NamedTuple):
    """Frames of a film, in the order of time."""

    frames: np.ndarray  # (n, h, w, 3) uint8
    times: np.ndarray  # (n,) float64, rising: seconds from the film's first frame


class Looked(NamedTuple):
    """Where the clips of an extent lie."""

    film: Film
    timeline: Timeline
    begins: np.ndarray  # (m,) float64 seconds
    frames: np.ndarray  # (m, k) int64: which of the timeline


class Videos:
    """The reader of video: whatever of its frames decodes, and never more of them at a time than clips overlap."""

    suffixes: frozenset[str] = frozenset(
        (
            *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".gif", ".flv", ".ts", ".mts", ".m2ts"),
            *(".mpg", ".mpeg", ".ogv", ".3gp", ".3g2", ".wmv", ".asf"),
        )
    )

    def __init__(self, sampling: Sampling, short: int) -> None:
        self.sampling, self.short = sampling, short  # pixels of the short side

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]:
        """Take the file unopened where it is small; else in pieces of some time, where it can be entered anywhere."""
        seconds = attempt(key, partial(_length, path)) if size > PIECE and not self.sampling.most else 0.0
        if isinstance(seconds, Skipped) or not seconds:
            yield Extent(key, path, 0, None, size)
            return
        pieces = round(size / PIECE)
        bounds = [round(seconds * i / pieces * SECOND) for i in range(pieces + 1)]
        for start, stop in pairwise(bounds):
            name = f"{key}#{start / SECOND:.3f}-{stop / SECOND:.3f}"
            yield Extent(name, path, start, None if stop == bounds[-1] else stop, size // pieces)

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Cut the extent after `count` clips, or leave it with as many as it has, one at least."""
        looked = attempt(extent.key, partial(self._look, extent))
        if isinstance(looked, Skipped):
            return extent, 1
        looked.film.close()
        begins = looked.begins
        if len(begins) <= count:
            return extent, max(1, len(begins))
        return extent._replace(stop=round((begins[count - 1] + begins[count]) / 2 * SECOND)), count

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Decode the clips of the split, one at a time."""
        for extent in extents:
            if split.holds(extent.file):
                looked = attempt(extent.key, partial(self._look, extent))
                if isinstance(looked, Skipped):
                    yield looked
                else:
                    with closing(looked.film):
                        yield from self._samples(extent, *looked)

    def _look(self, extent: Extent) -> Looked:
        """Find the clips that begin in the extent: look beyond it, as far as they go."""
        how = self.sampling
        start, stop = (extent.start / SECOND) or -inf, inf if extent.stop is None else extent.stop / SECOND
        beyond = (stop + how.span, SLACK) if how.seconds else (stop, int(how.span) + SLACK)
        film = Film(extent.where)
        try:
            timeline = film.look(start, *((inf, 0) if how.most else beyond))
        except BaseException:
            film.close()
            raise
        return Looked(film, timeline, *clips(timeline.times, start, stop, how))

    def _samples(
        self, extent: Extent, film: Film, timeline: Timeline, begins: np.ndarray, chosen: np.ndarray
    ) -> Iterator[Sample | Skipped]:
        """Decode what clips need, in the order of time; a clip is ready when its last frame is."""
        wanted, shown, done = np.unique(chosen), Shown(self.short, film.aspect), 0
        kept: dict[int, np.ndarray | Skipped] = {}
        for index, frame in zip(wanted.tolist(), film.frames(timeline, wanted), strict=True):
            lost = Skipped("", f"the frame at {timeline.times[index]:.3f} s does not decode")
            kept[index] = lost if frame is None else attempt("", partial(shown, frame))
            while done < len(chosen) and chosen[done, -1] <= index:
                key = f"{extent.file}#{begins[done]:.3f}-{timeline.times[chosen[done, -1]]:.3f}"
                yield attempt(key, partial(_sample, key, timeline.times, chosen[done], kept))
                done += 1
                kept = {i: kept[i] for i in kept if done < len(chosen) and i >= chosen[done, 0]}
        if timeline.fault:
            end = timeline.times[-1] if len(timeline.times) else 0
            yield Skipped(f"{extent.file}#{end:.3f}-", f"breaks off here: {timeline.fault}")
        elif not len(timeline.times):
            yield Skipped(extent.key, "no frame in it")
        elif timeline.times[-1] < extent.start / SECOND:
            yield Skipped(extent.key, "nothing there: it ends before its header says")
        elif not len(chosen) and not extent.start:
            unit = "s" if self.sampling.seconds else "frames"
            long = f"{len(timeline.times)} frames in {timeline.times[-1]:.2f} s"
            yield Skipped(extent.key, f"{long}, a clip spans {self.sampling.span:g} {unit}", unusable=False)


def _length(path: str) -> float:
    """Seconds, as the header says, of a film that can be entered anywhere; else 0."""
    with closing(Film(path)) as film:
        return film.seconds if film.indexed else 0.0


def _sample(key: str, times: np.ndarray, chosen: np.ndarray, kept: Mapping[int, np.ndarray | Skipped]) -> Sample:
    """The clip of some frames of a film. Raises `Unusable` where one is missing, or two are one."""
    if (still := np.diff(chosen) <= 0).any():
        since = times[chosen[still.argmax()]]
        raise Filtered(f"shows nothing new after {since:.3f} s for longer than from one frame of a clip to the next")
    frames = []
    for frame in (kept[index] for index in chosen.tolist()):
        if isinstance(frame, Skipped):
            raise Unusable(frame.reason)
        frames.append(frame)
    if len({frame.shape for frame in frames}) > 1:
        raise Unusable("its frames change their shape")
    return Sample(key, Clip(np.stack(frames), times[chosen]))
