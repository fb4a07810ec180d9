"""Deinterlace frames with bwdif of libavfilter: make each frame from the frame and its two neighbours.

The filter always gets exactly these three frames, so a frame is the same to the byte wherever decoding starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.video.decode import REORDER_FRAMES, VideoFile, libav_errors
from pseudolabel.readers.video.streams import Fields
from pseudolabel.readers.video.timeline import Timeline

if TYPE_CHECKING:
    import av

TICK = Fraction(1, 1000)  # seconds; the filter needs a unit, but does not use timestamps


class Shown(NamedTuple):
    """A frame, with its neighbours if it is interlaced."""

    fields: Fields
    frame: av.VideoFrame
    before: av.VideoFrame | None = None  # None: the frame is the first, or the one before does not decode
    after: av.VideoFrame | None = None


def shown_frames(film: VideoFile, timeline: Timeline, wanted: np.ndarray) -> Iterator[Shown | None]:
    """Yield the frames at (k,) ascending indices into the timeline; None for a frame that cannot be decoded.

    Neighbours are decoded only from the first interlaced frame on, so other videos cost no more.
    """
    for at, frame in enumerate(film.frames(timeline, wanted)):
        if frame and film.fields.interlace(frame):
            yield from _with_neighbours(film, timeline, wanted[at:])
            return
        yield frame and Shown(film.fields, frame)


def _with_neighbours(film: VideoFile, timeline: Timeline, wanted: np.ndarray) -> Iterator[Shown | None]:
    places = np.unique((wanted[:, None] + (-1, 0, 1)).clip(0, len(timeline.stamps) - 1))
    near: dict[int, av.VideoFrame | None] = {-1: None}
    if timeline.begin is not None and not (timeline.keys[0] <= timeline.stamps[places[0]] < timeline.stamps[wanted[0]]):
        near = {int(wanted[0]) - 1: _frame_before(film, timeline, wanted[0])}
        places = places[places >= wanted[0]]
    frames = zip(places.tolist(), film.frames(timeline, places, whole=True), strict=True)
    for index in wanted.tolist():
        while max(near) <= index and (following := next(frames, None)):
            near[following[0]] = following[1]
        frame = near[index]
        yield frame and Shown(film.fields, frame, near.get(index - 1), near.get(index + 1))
        near = {place: near[place] for place in near if place >= index}


def _frame_before(film: VideoFile, timeline: Timeline, index: int) -> av.VideoFrame | None:
    """Decode the frame before frame `index`, which needs the group of pictures before the timeline."""
    key = float(timeline.keys[0] - film.origin) * film.tick
    earlier = film.look_again(key - film.tick, timeline.times[index], REORDER_FRAMES)
    place = np.flatnonzero(earlier.stamps < timeline.stamps[index])[-1:]
    return next(film.frames(earlier, place, whole=True), None)


def deinterlace(shown: Shown) -> av.VideoFrame:
    """Return the frame itself if it is progressive, else its first field with the lines between made by the filter.

    Raise `UnusableSample` if the frame is a single field, of half the height: HEVC may store fields separately.
    """
    if not shown.fields.interlace(shown.frame):
        return shown.frame
    if shown.fields.separate and shown.frame.interlaced_frame:
        raise UnusableSample("HEVC in separate fields is not read; convert it: ffmpeg -vf weave,bwdif=mode=send_frame")
    return libav_errors("libavfilter", _filter, shown)


def _filter(shown: Shown) -> av.VideoFrame:
    import av

    fields, frame, *near = shown
    before, after = (other if other and _shape(other) == _shape(frame) else None for other in near)
    graph, chosen = av.filter.Graph(), "interlaced" if fields.parity == "auto" else "all"
    settings = f"mode=send_frame:parity={fields.parity}:deint={chosen}:threads=1"
    width, height, _ = _shape(frame)
    source = graph.add_buffer(width=width, height=height, format=frame.format, time_base=TICK)
    graph.link_nodes(source, graph.add("bwdif", settings), graph.add("buffersink")).configure()
    for given in (before, frame, after):
        if given:
            graph.push(given)
    if not after:
        graph.push(None)
    if before:
        graph.pull()
    return graph.pull()


def _shape(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
