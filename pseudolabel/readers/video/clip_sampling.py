"""Which frames of a film make a clip: by time or by count, from nothing but the times of its frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """How clips lie in a film."""

    steps: tuple[int, ...]  # after how many gaps each frame of a clip comes: 0, and rising
    length: int  # gaps from where a clip begins to where the next one may
    gap: float  # frames, or seconds
    seconds: bool
    every: float | None = None  # seconds from where a clip begins to where the next one does; None: as soon as it may
    most: int | None = None  # clips of a film, spread evenly; None: as many as there are
    even: bool = False  # a gap of seconds is taken as the whole number of frames nearest to it

    @property
    def span(self) -> float:
        """From a clip's first frame to its last."""
        return self.steps[-1] * self.gap

    @property
    def gap_text(self) -> str:
        """The gap, for people."""
        return f"{self.gap:g} s" if self.seconds else f"{self.gap:g} frame{'s' if self.gap > 1 else ''}"


class Clips(NamedTuple):
    """Where the clips of a stretch lie."""

    begins: np.ndarray  # (m,) float64 seconds, rising: each belongs to the stretch in which this lies
    frames: np.ndarray  # (m, k) int64: which of the times are its frames'


def place_clips(times: np.ndarray, start: float, stop: float, how: Sampling) -> Clips:
    """(n,) seconds, rising -> the clips that begin in `start <= t < stop` and are whole.

    By seconds, a frame is the nearest one to its time, so that a film gives the same clips at any frame rate; where
    frames are far apart, one may be chosen twice. Clips begin at multiples of `every`, or of their length, from 0 on,
    where a frame is nearer to that than to any other. By frames, they are counted from the first frame at or after
    `start`, and end before `stop`, unless they begin `every` so many seconds.
    """
    if len(times) < 2:
        return Clips(np.empty(0), np.empty((0, len(how.steps)), np.int64))
    between = float(np.median(np.diff(times)))
    if how.seconds and how.even:
        how = how._replace(gap=max(1, round(how.gap / between)), seconds=False)
    unit, steps = (1.0 if how.seconds else between), np.array(how.steps)
    last = float(times[-1]) + between / 2 - how.span * unit  # a frame is shown until the next one would be
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
    """Up to `most` of `room` frames, `length` apart or more, the middle one or two about the middle."""
    count = min(most, 1 + int((room - 1) / length)) if room > 0 else 0
    apart = max((room - 1) / max(count, 1), length)
    return np.asarray(np.rint((room - 1) / 2 + (np.arange(count) - (count - 1) / 2) * apart), np.int64)


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) rising, (...) -> (...) int64: which of `times` is nearest to each, the earlier one of two."""
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    return np.asarray(after - (wanted - times[after - 1] <= times[after] - wanted))
