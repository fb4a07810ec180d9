"""Clip sampling: choose the frames of clips, by time or by count, from the times of a video's frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEAD_SECONDS = 0.5  # seconds at the start, where encoder quality rises; clips start there in short videos only


class Sampling(NamedTuple):
    """Sampling of clips: which frames a clip has, and where clips start in a video."""

    steps: tuple[int, ...]  # gaps from the first frame of a clip to each of its frames, from 0, ascending
    length: int  # gaps from the start of a clip to the earliest start of the next
    gap: float  # frames or seconds, see `seconds`
    seconds: bool  # the unit of `gap` is seconds
    every: float | None = None  # seconds from the start of a clip to the start of the next; None: `length` gaps
    most: int | None = None  # maximum clips per video, spread evenly; None: all
    even: bool = False  # round a gap in seconds to a whole number of frames

    @property
    def span(self) -> float:
        """Return the distance from a clip's first frame to its last, in the unit of `gap`."""
        return self.steps[-1] * self.gap

    def at_rate(self, between: float) -> Sampling:
        """Return the sampling for frames `between` seconds apart: with `even`, the gap is converted to frames."""
        if not (self.seconds and self.even):
            return self
        return self._replace(gap=max(1, round(self.gap / between)), seconds=False)

    def period(self, between: float) -> float:
        """Return the seconds from the start of a clip to the start of the next, with frames `between` seconds apart."""
        return self.every or self.length * self.gap * (1 if self.seconds else between)

    def shortest_part(self, between: float) -> float:
        """Return the seconds of video from its top in which a clip is certain to lie, whatever is drawn."""
        how = self.at_rate(between)
        return HEAD_SECONDS + how.period(between) + how.span * (1 if how.seconds else between)

    def remedy(self, frames: int, seconds: float) -> str:
        """Return the option with which a clip fits into a video of so many frames and seconds."""
        gaps = self.steps[-1]
        if frames <= gaps:
            return f"give longer videos, or clips of fewer frames than {gaps + 1}"
        return (
            f"try --gap-seconds {int(1000 * seconds / gaps) / 1000:g}"
            if self.seconds
            else f"try --gap {(frames - 1) // gaps}"
        )

    @property
    def gap_text(self) -> str:
        """Return the gap and its unit for messages."""
        return f"{self.gap:g} s" if self.seconds else f"{self.gap:g} frame{'s' if self.gap > 1 else ''}"


class Clips(NamedTuple):
    """Clips that start in one part of a video."""

    begins: np.ndarray  # (m,) float64 seconds, ascending: where the clips start
    frames: np.ndarray  # (m, k) int64: indices into the times of the video's frames


def place_clips(
    times: np.ndarray, start: float, stop: float, how: Sampling, phase: float, between: float | None = None
) -> Clips:
    """(n,) seconds, ascending -> the complete clips that start in `start <= t < stop`.

    Clips start on a grid over the whole video. `phase`, drawn from [0, 1), shifts the grid by a share of its period. If
    all videos had the same grid, the frame types of the codec would reveal the order of frames. The grid starts after
    `HEAD_SECONDS`. `between`: the seconds from frame to frame by the header, so that all parts of a video have the same
    grid; the video must be longer than `how.shortest_part(between)`. None if `times` are those of a whole video, which
    may be shorter: then the grid starts after `HEAD_SECONDS` or half of the last possible start, if that is earlier.

    With a gap in seconds, use the frame nearest to each time: a video gives the same clips at any frame rate. A frame
    is used twice if frames are far apart. A point of the grid is left out if every frame is nearer to another point.
    With a gap in frames and no `every`, the frames from clip to clip are counted, and each part starts a new count.
    """
    if len(times) < 2:
        return Clips(np.empty(0), np.empty((0, len(how.steps)), np.int64))
    whole = between is None
    between = float(np.median(np.diff(times))) if between is None else between
    how, steps = how.at_rate(between), np.array(how.steps)
    last = _last_start(times, between, how)
    low = min(HEAD_SECONDS, last / 2) if whole else HEAD_SECONDS
    period = how.period(between)
    first = low + phase * (min(period, last - low) if whole else period)
    if how.most:
        begins = _limited_starts(times, low, last, how.most, period / between, phase)
    elif how.seconds or how.every:
        begins = _grid_starts(times, first, period)
    else:
        first = min(np.ceil(first / between - 1e-6) * between, last if whole else np.inf)  # a frame, if evenly spaced
        begins = _counted_starts(times, first, start, between, period, int(how.length * how.gap))
    begins = begins[(start <= begins) & (begins < stop) & (begins <= last)]
    if how.seconds:
        return Clips(begins, nearest(times, begins[:, None] + steps * how.gap))
    return Clips(begins, nearest(times, begins)[:, None] + (steps * how.gap).astype(np.int64))


def _limited_starts(times: np.ndarray, low: float, last: float, most: int, least: float, phase: float) -> np.ndarray:
    """Return at most `most` starts from `low` to `last`, evenly spread and at least `least` frames apart."""
    end = int(times.searchsorted(last, "right"))
    begin = min(int(times.searchsorted(low)), max(end - 1, 0))
    apart = max((end - begin) / most, least)
    at = begin + np.arange(phase * min(apart, end - begin), end - begin, apart)[:most]
    return np.asarray(times[at.astype(np.int64)])


def _grid_starts(times: np.ndarray, first: float, period: float) -> np.ndarray:
    """Return the points of a grid from `first` on that are the nearest to some frame."""
    points = np.unique(np.rint((times - first) / period))
    return np.asarray(first + points[points >= 0] * period)


def _counted_starts(
    times: np.ndarray, first: float, start: float, between: float, period: float, frames: int
) -> np.ndarray:
    """Return every `frames`-th frame, from the first point of the grid that is in the part after `start`."""
    before = np.ceil(max(start - between / 2 - first, 0) / period)
    return times[int(nearest(times, first + before * period)) :: frames]


def _last_start(times: np.ndarray, between: float, how: Sampling) -> float:
    """Return the latest start of a clip in seconds; below 0 if none fits. A gap in seconds allows half a frame more."""
    if how.seconds:
        return float(times[-1]) + between / 2 - how.span
    return float(times[-1 - int(how.span)]) if how.span < len(times) else -1.0


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) ascending, (...) -> (...) int64: the index of the nearest of `times`; of two equally near, the earlier."""
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    return np.asarray(after - (wanted - times[after - 1] <= times[after] - wanted))
