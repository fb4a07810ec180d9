"""Timeline of a video: its frames in order of display, and what must be decoded for some of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import av

Ends = dict[int, float]  # segment -> timestamp of its last packet to decode; inf: decode all of its packets


class Timeline(NamedTuple):
    """Frames of a part of a video in order of display, with the segments that must be decoded for them."""

    begin: int | None  # the timestamp to seek to for the first packet; None: the top of the file
    times: np.ndarray  # (n,) float64, ascending: seconds from the first frame of the video
    stamps: np.ndarray  # (n,) int64, ascending: presentation timestamps of the container
    segments: np.ndarray  # (n,) int64: index of the frame's segment; a segment starts at the packet of a key frame
    keys: np.ndarray  # (m,) int64: the timestamp of each segment's key frame
    fault: str  # why the timeline ends before the video does, or ""
    order: np.ndarray  # (n,) int64: position of the frame's packet in the file, where references come first
    packets: Sequence[av.Packet]  # all packets; () if they are too large to be held

    @property
    def closed(self) -> bool:
        """Return whether no frame is shown before the key frame of its segment (closed groups of pictures)."""
        return bool((self.stamps >= self.keys[self.segments]).all())

    def needed(self, wanted: np.ndarray) -> Ends:
        """Return the segments that are needed to decode the frames of these indices.

        A frame that is shown before the key frame of its segment also refers to the segment before, to all of it.
        """
        wanted = wanted[np.argsort(self.order[wanted])]
        last = self.segments[wanted]
        first = np.minimum(np.searchsorted(np.maximum.accumulate(self.keys), self.stamps[wanted], "right") - 1, last)
        ends: Ends = dict(zip(last.tolist(), self.stamps[wanted].tolist(), strict=True))
        for begin, end in set(zip(first.tolist(), last.tolist(), strict=True)):
            ends |= dict.fromkeys(range(max(begin, 0), end), inf)
        return ends
