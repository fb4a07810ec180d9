"""Reader of video: clips, each (n, h, w, 3) uint8 RGB, upright, with the time of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
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
    chance_for,
    or_skipped,
)
from pseudolabel.readers.sources import formats
from pseudolabel.readers.video.clip_sampling import Sampling, place_clips
from pseudolabel.readers.video.decode import REORDER_FRAMES, VideoFile
from pseudolabel.readers.video.deinterlace import Shown, deinterlace, shown_frames
from pseudolabel.readers.video.frames import FrameConverter
from pseudolabel.readers.video.timeline import Timeline

EXTENT_BYTES = 16 << 20  # bytes of an extent, about: larger files are shared among workers
TICKS_PER_SECOND = 1_000_000  # extents are in microseconds of the video
GAP_HELP = "Distance in frames between consecutive frames of a clip. [{0.sampling.gap_text}]"
SECONDS_HELP = "Like --gap, in seconds: use the nearest frames, at any frame rate."
EVERY_HELP = "Seconds from the start of a clip to the start of the next. [the length of a clip]"
MOST_HELP = "Maximum number of clips per video, spread evenly. [all]"
TREATMENT = (
    "interlaced frames are deinterlaced (bwdif of libavfilter, one frame for each), transparent ones lie on white; "
    "videos of high dynamic range or wide gamut (PQ, HLG, linear, logarithmic, BT.2020) are skipped"
)


@dataclass(frozen=True)
class VideoOptions(Options):
    """Options for reading videos."""

    gap: Annotated[int | None, Option(min=1, help=GAP_HELP)] = None
    gap_seconds: Annotated[float | None, Option(min=0.001, max=600, help=SECONDS_HELP)] = None
    every_seconds: Annotated[float | None, Option(min=0.01, max=86_400, help=EVERY_HELP)] = None
    clips_per_video: Annotated[int | None, Option(min=1, help=MOST_HELP)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap and self.gap_seconds:
            raise UserError("--gap and --gap-seconds both set the gap; give one of them")
        if self.every_seconds and self.clips_per_video:
            raise UserError("--every-seconds and --clips-per-video both set the number of clips; give one of them")

    def space_clips(self, usual: Sampling) -> Sampling:
        """Return the task's `usual` sampling, changed by the options."""
        usual = usual._replace(every=self.every_seconds, most=self.clips_per_video)
        if self.gap:
            return usual._replace(gap=self.gap, seconds=False)
        return usual._replace(gap=self.gap_seconds, seconds=True) if self.gap_seconds else usual


class Clip(NamedTuple):
    """Frames of a video, in order of time."""

    frames: np.ndarray  # (n, h, w, 3) uint8
    times: np.ndarray  # (n,) float64, ascending: seconds from the first frame of the video


class ExtentClips(NamedTuple):
    """Clips that start in an extent, with the open file for decoding them."""

    film: VideoFile
    timeline: Timeline
    begins: np.ndarray  # (m,) float64 seconds
    frames: np.ndarray  # (m, k) int64: indices into the timeline


class VideoReader:
    """Reader of video. It uses all frames that decode, and holds only the frames that overlapping clips need."""

    suffixes: frozenset[str] = formats.VIDEO

    def __init__(self, sampling: Sampling, short: int) -> None:
        self.sampling, self.short = sampling, short  # pixels of the short side

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]:
        """Yield a large file in pieces that start at indexed key frames. Yield a file as one extent if it is small
        (then unopened) or has no index, if a piece could hold no clip, or if the number of clips is limited."""
        bounds = or_skipped(partial(self._bounds, path, size), key) if size > EXTENT_BYTES else []
        if isinstance(bounds, Skipped) or not bounds:
            yield Extent(key, path, 0, None, size)
            return
        pieces = len(bounds) + 1
        for start, stop in zip([0, *bounds], [*bounds, None], strict=True):
            end = "" if stop is None else _decimal(stop / TICKS_PER_SECOND)
            yield Extent(f"{key}#{_decimal(start / TICKS_PER_SECOND)}-{end}", path, start, stop, size // pieces)

    def _bounds(self, path: str, size: int) -> list[int]:
        """Return the ticks of the key frames that split a large file; [] if it is not to be split."""
        if self.sampling.most:
            return []
        with closing(VideoFile(path)) as film:
            entries, between = film.entries() if film.indexed else np.empty(0), film.between
        pieces = min(len(entries), round(size / EXTENT_BYTES))
        bounds = [entries[len(entries) * i // pieces] for i in range(1, pieces)]
        if not bounds or bounds[0] < self.sampling.shortest_part(between):
            return []
        return [round(bound * TICKS_PER_SECOND) for bound in bounds]

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Return the extent cut after `count` clips, and the number of clips in it, at least 1."""
        found = or_skipped(partial(self._find, extent), extent.key)
        if isinstance(found, Skipped):
            return extent, 1
        found.film.close()
        begins = found.begins
        if len(begins) <= count:
            return extent, max(1, len(begins))
        return extent._replace(stop=int(begins[count] * TICKS_PER_SECOND)), count

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Decode the clips of the split, one at a time."""
        convert = FrameConverter(self.short)
        for extent in extents:
            if split.holds(extent.file):
                found = or_skipped(partial(self._find, extent), extent.key)
                if isinstance(found, Skipped):
                    yield found
                else:
                    with closing(found.film):
                        yield from self._samples(extent, convert, *found)

    def _find(self, extent: Extent) -> ExtentClips:
        """Return the clips that start in the extent. Read past the extent to the end of the last clip. If the extent
        is a whole video, read all times of the video, even if `first` has cut the extent."""
        whole = extent.key == extent.file
        phase = chance_for(extent.seed, "clip starts")(extent.file, 0).random()
        start, stop = (
            (extent.start / TICKS_PER_SECOND) or -inf,
            inf if extent.stop is None else extent.stop / TICKS_PER_SECOND,
        )
        with ExitStack() as unless_found:
            film = unless_found.enter_context(closing(VideoFile(extent.where)))
            how = self.sampling if whole else self.sampling.at_rate(film.between)
            beyond = (stop + how.span, REORDER_FRAMES) if how.seconds else (stop, int(how.span) + REORDER_FRAMES)
            timeline = film.look(start, *((inf, 0) if whole else beyond))
            unless_found.pop_all()  # the caller closes the video
        between = None if whole else film.between
        return ExtentClips(film, timeline, *place_clips(timeline.times, start, stop, how, phase, between))

    def _samples(
        self,
        extent: Extent,
        convert: FrameConverter,
        film: VideoFile,
        timeline: Timeline,
        begins: np.ndarray,
        chosen: np.ndarray,
    ) -> Iterator[Sample | Skipped]:
        """Decode the frames of clips in order of time. Yield each clip after its last frame."""
        wanted, done = np.unique(chosen), 0
        kept: dict[int, np.ndarray | Skipped] = {}
        for index, shown in zip(wanted.tolist(), shown_frames(film, timeline, wanted), strict=True):
            lost = Skipped("", f"the frame at {timeline.times[index]:.3f} s does not decode")
            kept[index] = lost if shown is None else or_skipped(partial(_image, shown, convert, film.aspect))
            while done < len(chosen) and chosen[done, -1] <= index:
                key = f"{extent.file}#{_decimal(begins[done])}-{_decimal(timeline.times[chosen[done, -1]])}"
                yield or_skipped(partial(self._sample, key, timeline.times, chosen[done], kept), key)
                done += 1
                kept = {i: kept[i] for i in kept if done < len(chosen) and i >= chosen[done, 0]}
        end = timeline.times[-1] if len(timeline.times) else 0
        if timeline.fault:
            yield Skipped(f"{extent.file}#{_decimal(end)}-", f"cannot be read from here on: {timeline.fault}")
        elif not len(timeline.times):
            yield Skipped(extent.key, "no frames in the file")
        elif timeline.times[-1] < extent.start / TICKS_PER_SECOND:
            yield Skipped(extent.key, "the file is shorter than its header says")
        elif not len(chosen) and not extent.start:
            long = f"{len(timeline.times)} frames in {timeline.times[-1]:.2f} s"
            more = len(timeline.times) > 1
            how = self.sampling.at_rate(float(np.median(np.diff(timeline.times)))) if more else self.sampling
            span = how._replace(gap=how.span).gap_text
            remedy = how.remedy(len(timeline.times), float(timeline.times[-1]))
            yield Skipped(extent.key, f"{long}, a clip spans {span}; {remedy}", unusable=False)
        if end and not timeline.fault and extent.stop is None and (fault := film.end_fault()):
            yield Skipped(f"{extent.file}#{_decimal(end)}-", fault)

    def _sample(
        self, key: str, times: np.ndarray, chosen: np.ndarray, kept: Mapping[int, np.ndarray | Skipped]
    ) -> Sample:
        """Return the clip of the `chosen` frames. Raise `UnusableSample` if a frame is lost or if shapes differ,
        `FilteredSample` if a frame is chosen twice."""
        if (still := np.diff(chosen) <= 0).any():
            since = _decimal(times[chosen[still.argmax()]])
            raise FilteredSample(
                f"no new frame for {self.sampling.gap_text} after {since} s; give a longer --gap-seconds"
            )
        frames = []
        for frame in (kept[index] for index in chosen.tolist()):
            if isinstance(frame, Skipped):
                raise UnusableSample(frame.reason)
            frames.append(frame)
        if len({frame.shape for frame in frames}) > 1:
            raise UnusableSample("the frames of the clip differ in shape")
        return Sample(key, Clip(np.stack(frames), times[chosen]))


def _image(shown: Shown, convert: FrameConverter, aspect: float) -> np.ndarray:
    return convert(deinterlace(shown), aspect)


def _decimal(seconds: float) -> str:
    """Format seconds with up to 6 decimals."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
