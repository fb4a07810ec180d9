"""Video: clips of films, each (n, h, w, 3) uint8 RGB, upright, with the time of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import (
    Extent,
    FilteredSample,
    Options,
    Sample,
    Skipped,
    Split,
    UnusableSample,
    UserError,
    or_skipped,
)
from pseudolabel.readers.video.clip_sampling import Sampling, place_clips
from pseudolabel.readers.video.decode import REORDER_FRAMES, Timeline, VideoFile
from pseudolabel.readers.video.frames import FrameConverter

EXTENT_BYTES = 16 << 20  # bytes of a file that are one extent, about: larger files are shared among workers
TICKS_PER_SECOND = 1_000_000  # what places in films are counted in
GAP_HELP = "Frames from each frame of a clip to the next. [{0.sampling.gap_text}]"
SECONDS_HELP = "The same in seconds: the nearest frames, at whatever rate."
EVERY_HELP = "Seconds from where a clip begins to where the next one does. [as soon as it is over]"
MOST_HELP = "Clips of each film at most, spread evenly. [as many as there are]"


@dataclass(frozen=True)
class VideoOptions(Options):
    """How films are read."""

    gap: Annotated[int | None, Option(min=1, help=GAP_HELP)] = None
    gap_seconds: Annotated[float | None, Option(min=0.001, max=600, help=SECONDS_HELP)] = None
    every_seconds: Annotated[float | None, Option(min=0.01, max=86_400, help=EVERY_HELP)] = None
    clips_per_video: Annotated[int | None, Option(min=1, help=MOST_HELP)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap and self.gap_seconds:
            raise UserError("--gap counts frames and --gap-seconds seconds; give one of them")
        if self.every_seconds and self.clips_per_video:
            raise UserError("--every-seconds and --clips-per-video both say how many clips there are; give one of them")

    def space_clips(self, usual: Sampling) -> Sampling:
        """The usual way in which clips lie, but for what the options say."""
        usual = usual._replace(every=self.every_seconds, most=self.clips_per_video)
        if self.gap:
            return usual._replace(gap=self.gap, seconds=False)
        return usual._replace(gap=self.gap_seconds, seconds=True) if self.gap_seconds else usual


class Clip(NamedTuple):
    """Frames of a film, in the order of time."""

    frames: np.ndarray  # (n, h, w, 3) uint8
    times: np.ndarray  # (n,) float64, rising: seconds from the film's first frame


class ExtentClips(NamedTuple):
    """Where the clips of an extent lie."""

    film: VideoFile
    timeline: Timeline
    begins: np.ndarray  # (m,) float64 seconds
    frames: np.ndarray  # (m, k) int64: which of the timeline


class VideoReader:
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
        """Take the file unopened where it is small; else in pieces that begin with key frames its index knows."""
        entries = or_skipped(key, partial(_entries, path)) if size > EXTENT_BYTES and not self.sampling.most else None
        if not isinstance(entries, np.ndarray) or len(entries) < 2:
            yield Extent(key, path, 0, None, size)
            return
        pieces = min(len(entries), round(size / EXTENT_BYTES))
        bounds = [round(entries[len(entries) * i // pieces] * TICKS_PER_SECOND) for i in range(pieces)]
        for start, stop in pairwise([0, *bounds[1:], None]):
            name = f"{key}#{_told(start / TICKS_PER_SECOND)}-{'' if stop is None else _told(stop / TICKS_PER_SECOND)}"
            yield Extent(name, path, start, stop, size // pieces)

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Cut the extent after `count` clips, or leave it with as many as it has, one at least."""
        found = or_skipped(extent.key, partial(self._find, extent))
        if isinstance(found, Skipped):
            return extent, 1
        found.film.close()
        begins = found.begins
        if len(begins) <= count:
            return extent, max(1, len(begins))
        return extent._replace(stop=int(begins[count] * TICKS_PER_SECOND)), count

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Decode the clips of the split, one at a time."""
        for extent in extents:
            if split.holds(extent.file):
                found = or_skipped(extent.key, partial(self._find, extent))
                if isinstance(found, Skipped):
                    yield found
                else:
                    with closing(found.film):
                        yield from self._samples(extent, *found)

    def _find(self, extent: Extent) -> ExtentClips:
        """Find the clips that begin in the extent: look beyond it, as far as they go."""
        how = self.sampling
        start, stop = (
            (extent.start / TICKS_PER_SECOND) or -inf,
            inf if extent.stop is None else extent.stop / TICKS_PER_SECOND,
        )
        beyond = (stop + how.span, REORDER_FRAMES) if how.seconds else (stop, int(how.span) + REORDER_FRAMES)
        with ExitStack() as unless_found:
            film = unless_found.enter_context(closing(VideoFile(extent.where)))
            timeline = film.look(start, *((inf, 0) if how.most else beyond))
            unless_found.pop_all()  # whoever reads it closes it
        return ExtentClips(film, timeline, *place_clips(timeline.times, start, stop, how))

    def _samples(
        self, extent: Extent, film: VideoFile, timeline: Timeline, begins: np.ndarray, chosen: np.ndarray
    ) -> Iterator[Sample | Skipped]:
        """Decode what clips need, in the order of time; a clip is ready when its last frame is."""
        wanted, shown, done = np.unique(chosen), FrameConverter(self.short, film.aspect), 0
        kept: dict[int, np.ndarray | Skipped] = {}
        for index, frame in zip(wanted.tolist(), film.frames(timeline, wanted), strict=True):
            lost = Skipped("", f"the frame at {timeline.times[index]:.3f} s does not decode")
            kept[index] = lost if frame is None else or_skipped("", partial(shown, frame))
            while done < len(chosen) and chosen[done, -1] <= index:
                key = f"{extent.file}#{_told(begins[done])}-{_told(timeline.times[chosen[done, -1]])}"
                yield or_skipped(key, partial(self._sample, key, timeline.times, chosen[done], kept))
                done += 1
                kept = {i: kept[i] for i in kept if done < len(chosen) and i >= chosen[done, 0]}
        if timeline.fault:
            end = timeline.times[-1] if len(timeline.times) else 0
            yield Skipped(f"{extent.file}#{_told(end)}-", f"breaks off here: {timeline.fault}")
        elif not len(timeline.times):
            yield Skipped(extent.key, "no frame in it")
        elif timeline.times[-1] < extent.start / TICKS_PER_SECOND:
            yield Skipped(extent.key, "nothing there: it ends before its header says")
        elif not len(chosen) and not extent.start:
            long = f"{len(timeline.times)} frames in {timeline.times[-1]:.2f} s"
            span = self.sampling._replace(gap=self.sampling.span).gap_text
            yield Skipped(extent.key, f"{long}, a clip spans {span}", unusable=False)

    def _sample(
        self, key: str, times: np.ndarray, chosen: np.ndarray, kept: Mapping[int, np.ndarray | Skipped]
    ) -> Sample:
        """The clip of some frames of a film. Raises `UnusableSample` where one is missing, or two are one."""
        if (still := np.diff(chosen) <= 0).any():
            since = _told(times[chosen[still.argmax()]])
            raise FilteredSample(
                f"no new frame for {self.sampling.gap_text} after {since} s; --gap-seconds is too short for it"
            )
        frames = []
        for frame in (kept[index] for index in chosen.tolist()):
            if isinstance(frame, Skipped):
                raise UnusableSample(frame.reason)
            frames.append(frame)
        if len({frame.shape for frame in frames}) > 1:
            raise UnusableSample("its frames change their shape")
        return Sample(key, Clip(np.stack(frames), times[chosen]))


def _entries(path: str) -> np.ndarray:
    """Where the film's own index says that it can be entered, if its format has one to be trusted."""
    with closing(VideoFile(path)) as film:
        return film.entries() if film.indexed else np.empty(0)


def _told(seconds: float) -> str:
    """To the microsecond, and no longer than need be."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
