"""Films, as libav decodes them: times from the container's stamps, frames by going forward, and only those wanted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.pixels import turned
from pseudolabel.readers.files import Watched
from pseudolabel.sample import Skipped, Unusable, attempt, blamed

if TYPE_CHECKING:
    import av

FORMATS = "mov,mp4,matroska,webm,avi,gif,flv,mpegts,mpeg,mpegvideo,ogg,asf"  # no playlists: they name other files
INDEXED = ("mov", "matroska", "avi")  # how the names of formats begin that know where their key frames are
LARGEST = 2**26  # pixels of a frame: libav keeps up to 17 of them
SMALLEST = 32  # pixels of the short side: of less, nothing is seen to move
LONGEST = 8  # times the short side


class Timeline(NamedTuple):
    """When the frames of a stretch are shown, in that order, and what has to be decoded for each."""

    begin: int | None  # the stamp that was sought to find its first packet; None: the file's begin
    times: np.ndarray  # (n,) float64, rising: seconds from the film's first frame
    stamps: np.ndarray  # (n,) int64, rising: the container's own
    segments: np.ndarray  # (n,) int64: which one the frame's packet lies in; each begins with a key frame's
    keys: np.ndarray  # (m,) int64: the stamp of the key frame that each segment begins with
    fault: str  # why it ends where the film does not

    def needed(self, wanted: np.ndarray) -> set[int]:
        """The segments without which the frames of these indices cannot be decoded.

        What is shown before the key frame of its segment refers to the segment before as well.
        """
        last = self.segments[wanted]
        first = np.minimum(np.searchsorted(np.maximum.accumulate(self.keys), self.stamps[wanted], "right") - 1, last)
        spans = set(zip(first.tolist(), last.tolist(), strict=True))
        return {segment for first, last in spans for segment in range(max(first, 0), last + 1)}


class Film:
    """The video of one file. Each pass opens the file anew, which takes less time than a frame does.

    Raises `Unusable` where there is no video that libav reads.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with self._opened() as (stream, _):
            container, context = stream.container, stream.codec_context
            if not 0 < context.width * context.height <= LARGEST:
                raise Unusable(f"frames of {context.width} x {context.height} pixels")
            self.tick = float(stream.time_base)  # seconds
            self.origin: int = stream.start_time or 0
            self.seconds = (container.duration or 0) / 1e6  # as the header says: good for a guess
            self.indexed = container.format.name.startswith(INDEXED)
            self.aspect = float(stream.sample_aspect_ratio or 1)  # width over height of a pixel

    def look(self, start: float, until: float, more: int) -> Timeline:
        """From the key frame before `start`, as far as the `more`-th frame from `until` on: nothing is decoded."""
        timeline = self._looked(self._stamp(start) if start > 0 else None, until, more)
        late = timeline.begin is not None and (not len(timeline.keys) or timeline.keys[0] > timeline.begin)
        return self._looked(None, until, more) if late else timeline

    def _looked(self, begin: int | None, until: float, more: int) -> Timeline:
        stamps, segments, keys = array("q"), array("q"), array("q")
        for segment, packet in self._packets(begin):
            if segment == len(keys):
                keys.append(packet.pts)
            if segment >= 0 and packet.pts is not None and not packet.is_discard:
                stamps.append(packet.pts)
                segments.append(segment)
                more -= self._time(packet.pts) >= until
                if more < 0:
                    break
        rising, first = np.unique(np.asarray(stamps, np.int64), return_index=True)
        return Timeline(begin, self._time(rising), rising, np.asarray(segments)[first], np.asarray(keys), self.fault)

    def frames(self, timeline: Timeline, wanted: np.ndarray) -> Iterator[av.VideoFrame | None]:
        """(k,) indices into the timeline, rising -> for each of them the frame, or None where it does not decode."""
        stamps, at = timeline.stamps[wanted].tolist(), 0
        for frame in self._decoded(timeline, set(stamps), timeline.needed(wanted)):
            while at < len(stamps) and frame.pts is not None and stamps[at] < frame.pts:
                yield None
                at += 1
            if at < len(stamps) and stamps[at] == frame.pts:
                yield frame
                at += 1
            if at == len(stamps):
                return
        yield from [None] * (len(stamps) - at)

    def _decoded(self, timeline: Timeline, stamps: set[int], needed: set[int]) -> Iterator[av.VideoFrame]:
        """What needed segments give, up to their first damage. Of the rest, frames that none refers to are left out."""
        at, sound, decoder = -1, True, None
        for segment, packet in self._packets(timeline.begin):
            decoder = packet.stream.codec_context
            if segment > at:
                if at in needed and not (sound and segment in needed):
                    yield from _given(partial(decoder.decode, None))[0] if sound else ()
                    decoder.flush_buffers()
                at, sound = segment, True
                if at > max(needed, default=-1):
                    return
            if at in needed and sound:
                decoder.skip_frame = "DEFAULT" if packet.pts in stamps else "NONREF"
                frames, sound = _given(packet.decode)
                yield from frames
        if decoder and sound and at in needed:
            yield from _given(partial(decoder.decode, None))[0]

    def _packets(self, begin: int | None) -> Iterator[tuple[int, av.Packet]]:
        """Every packet with the number of its segment; -1 before the first key frame."""
        with self._opened() as (stream, file):
            if begin is not None:
                with blamed(f"has no place {begin * self.tick} s"):
                    stream.container.seek(begin, stream=stream)
            segment, self.fault = -1, ""
            packets = stream.container.demux(stream)
            while True:
                packet = attempt("", partial(_next, packets))
                if file.fault:
                    raise file.fault
                if isinstance(packet, Skipped):
                    self.fault = packet.reason
                    return
                if packet is None:
                    return
                segment += packet.is_keyframe and packet.pts is not None
                yield segment, packet

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.VideoStream, Watched]]:
        """The file's video, no cover picture, about to be decoded by one thread: workers are processes."""
        import av

        with Watched(self.path) as file:
            try:
                with blamed("not a film that libav reads"):
                    container = av.open(file, metadata_errors="ignore", container_options={"format_whitelist": FORMATS})
            finally:
                if file.fault:
                    raise file.fault
            with container:
                yield _video(container), file

    def _stamp(self, time: float) -> int:
        return self.origin + int(time / self.tick)

    def _time(self, stamp: Any) -> Any:
        return (stamp - self.origin) * self.tick


def _next(packets: Iterator[av.Packet]) -> av.Packet | None:
    with blamed("libav"):
        packet = next(packets, None)
    return packet if packet and packet.size else None  # the last one is empty


def _given(decode: Callable[[], list[av.VideoFrame]]) -> tuple[list[av.VideoFrame], bool]:
    """What comes out of the decoder up to the first damage, and whether there was none."""

    def frames() -> list[av.VideoFrame]:
        with blamed("libav"):
            return decode()

    made = attempt("", frames)
    given = [] if isinstance(made, Skipped) else list(takewhile(lambda frame: not frame.is_corrupt, made))
    return given, not isinstance(made, Skipped) and len(given) == len(made)


def _video(container: av.container.InputContainer) -> av.VideoStream:
    from av.stream import Discard, Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise Unusable(f"no video in it, only {', '.join(sorted({s.type for s in container.streams})) or 'nothing'}")
    chosen = streams[0]
    if chosen.codec_context is None:
        raise Unusable("no decoder for its video")
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    chosen.codec_context.thread_count = 1
    chosen.codec_context.options = {"max_pixels": str(LARGEST)}
    return chosen


class Shown:
    """Frames as they are seen: upright, of square pixels, on white, and as small as they are wanted.

    A frame of libav's -> (h, w, 3) uint8 RGB, its short side `short` pixels; libswscale shrinks and converts at once.
    """

    def __init__(self, short: int, aspect: float) -> None:
        from av.video.reformatter import VideoReformatter

        self.short, self.aspect, self._scale = short, aspect, VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        width, height = frame.width * self.aspect, float(frame.height)
        least, most = min(frame.width, frame.height), max(width, height)
        if least < SMALLEST or most > LONGEST * min(width, height):
            need = f"the short side needs {SMALLEST}, and the long side at most {LONGEST} times as many"
            raise Unusable(f"frames of {frame.width} x {frame.height} pixels; {need}")
        scale = self.short / min(width, height)
        size = {"width": round(width * scale), "height": round(height * scale)}
        clear = any(part.is_alpha for part in frame.format.components)
        with blamed("libswscale"):
            small = self._scale.reformat(
                frame, **size, format="rgba" if clear else "rgb24", src_color_range=frame.color_range, threads=1
            ).to_ndarray()
        return turned(_matted(small) if clear else small, round(frame.rotation / 90) % 4)


def _matted(image: np.ndarray) -> np.ndarray:
    """(h, w, 4) RGBA -> (h, w, 3) on white."""
    alpha = image[..., 3:].astype(np.uint16)
    return np.asarray((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)
