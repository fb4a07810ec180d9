"""Which frames of a film make a clip: by time or by count, from nothing but the times of its frames."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """How clips lie in a film."""

    offsets: tuple[float, ...]  # of a clip's frames from its first one, rising: seconds, or frames
    length: float  # from where a clip begins to where the next one may, in the same unit
    seconds: bool
    every: float | None = None  # seconds from where a clip begins to where the next one does; None: as soon as it may
    most: int | None = None  # clips of a film, spread evenly; None: as many as there are

    @property
    def span(self) -> float:
        """From a clip's first frame to its last."""
        return self.offsets[-1]


class Clips(NamedTuple):
    """Where the clips of a stretch lie."""

    begins: np.ndarray  # (m,) float64 seconds: each belongs to the stretch in which this lies
    frames: np.ndarray  # (m, k) int64: which of the times are its frames'


def clips(times: np.ndarray, start: float, stop: float, how: Sampling) -> Clips:
    """(n,) seconds, rising -> the clips that begin in `start <= t < stop` and are whole.

    By seconds, a frame is the nearest one to its time, so that a film gives the same clips at any frame rate; where
    frames are far apart, one may be chosen twice. Clips begin at multiples of `every`, or of `length`, from 0 on.
    By frames, they are counted from the first frame at or after `start`, or from the one nearest to such a time.
    """
    if len(times) < 2:
        return Clips(np.empty(0), np.empty((0, len(how.offsets)), np.int64))
    between = float(np.median(np.diff(times)))
    unit = 1.0 if how.seconds else between
    last = float(times[-1]) + between / 2 - how.span * unit  # a frame is shown until the next one would be
    if how.seconds or how.most or how.every:
        begins = _spread(how.most, last, how.length * unit) if how.most else _grid(how.every or how.length, start, last)
        begins = begins[(start <= begins) & (begins < stop)]
    if how.seconds:
        return Clips(begins, nearest(times, begins[:, None] + np.asarray(how.offsets)))
    if how.most or how.every:
        first = nearest(times, begins)
    else:
        first = np.arange(np.searchsorted(times, start), np.searchsorted(times, stop), int(how.length))
        begins = times[first]
    whole = first + int(how.span) < len(times)
    return Clips(begins[whole], first[whole, None] + np.asarray(how.offsets, np.int64))


def _grid(every: float, start: float, last: float) -> np.ndarray:
    """Multiples of `every` from `start`, or 0, to `last`."""
    return np.arange(ceil(max(start, 0) / every - 1e-9), max(0, floor(last / every + 1e-9) + 1)) * every


def _spread(most: int, last: float, length: float) -> np.ndarray:
    """Up to `most` places from 0 to `last`, `length` apart or more, the middle one or two about the middle."""
    count = min(most, 1 + int(last / length)) if last >= 0 else 0
    return last / 2 + (np.arange(count) - (count - 1) / 2) * max(last / max(count, 1), length)


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) rising, (...) -> (...) int64: which of `times` is nearest to each, the earlier one of two."""
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    return np.asarray(after - (wanted - times[after - 1] <= times[after] - wanted))
