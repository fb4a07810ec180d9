"""Clip sampling: choose the frames of clips, by time or by count, from the times of a video's frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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

    @property
    def gap_text(self) -> str:
        """Return the gap and its unit for messages."""
        return f"{self.gap:g} s" if self.seconds else f"{self.gap:g} frame{'s' if self.gap > 1 else ''}"


class Clips(NamedTuple):
    """Clips that start in one part of a video."""

    begins: np.ndarray  # (m,) float64 seconds, ascending: where the clips start
    frames: np.ndarray  # (m, k) int64: indices into the times of the video's frames


def place_clips(times: np.ndarray, start: float, stop: float, how: Sampling) -> Clips:
    """(n,) seconds, ascending -> the complete clips that start in `start <= t < stop`.

    With a gap in seconds, use the frame nearest to each time: a video gives the same clips at any frame rate. A frame
    is used twice if frames are far apart. Clips start at multiples of `every` (None: of the clip length), from 0 on. A
    multiple is left out if every frame is nearer to another multiple. With a gap in frames, clips follow each other
    from the first frame at or after `start`, and end before `stop`; with `every`, they start at multiples of `every`.
    """
    if len(times) < 2:
        return Clips(np.empty(0), np.empty((0, len(how.steps)), np.int64))
    between = float(np.median(np.diff(times)))
    if how.seconds and how.even:
        how = how._replace(gap=max(1, round(how.gap / between)), seconds=False)
    unit, steps = (1.0 if how.seconds else between), np.array(how.steps)
    last = float(times[-1]) + between / 2 - how.span * unit  # latest start; half a frame interval of tolerance
    if how.most:
        begins = times[_spread(how.most, int(times.searchsorted(last, "right")), how.length * how.gap * unit / between)]
    elif how.seconds or how.every:
        every = how.every or how.length * how.gap
        begins = np.unique(np.rint(times / every)) * every
    else:
        begin, beyond = times.searchsorted((start, stop)).tolist()
        first = np.arange(begin, max(begin, beyond - int(how.span)), int(how.length * how.gap))
        return Clips(times[first], first[:, None] + (steps * how.gap).astype(np.int64))
    begins = begins[(start <= begins) & (begins < stop) & (begins >= 0) & (begins <= last)]
    if how.seconds:
        return Clips(begins, nearest(times, begins[:, None] + steps * how.gap))
    first = nearest(times, begins)
    whole = first + int(how.span) < len(times)
    return Clips(begins[whole], first[whole, None] + (steps * how.gap).astype(np.int64))


def _spread(most: int, room: int, length: float) -> np.ndarray:
    """Return the indices of up to `most` of `room` frames, at least `length` apart, centred in `room`."""
    count = min(most, 1 + int((room - 1) / length)) if room > 0 else 0
    apart = max((room - 1) / max(count, 1), length)
    return np.asarray(np.rint((room - 1) / 2 + (np.arange(count) - (count - 1) / 2) * apart), np.int64)


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) ascending, (...) -> (...) int64: the index of the nearest of `times`; of two equally near, the earlier."""
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    return np.asarray(after - (wanted - times[after - 1] <= times[after] - wanted))
