"""Films, as libav decodes them: times from the container's stamps, frames by going forward, and only those wanted."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from errno import EIO
from functools import partial
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.pixels import turned
from pseudolabel.readers.files import Watched
from pseudolabel.sample import Skipped, T, Unusable, attempt

if TYPE_CHECKING:
    import av

FORMATS = "mov,mp4,matroska,webm,avi,gif,flv,mpegts,mpeg,mpegvideo,ogg,asf"  # no playlists: they name other files
INDEXED = ("mov", "matroska")  # how the names of formats begin that know where their key frames are
SPARING = ("h264", "hevc", "mpeg4", "mpeg2video")  # decoders that leave out any frame if told so before its packet
LARGEST = 2**26  # pixels of a frame: libav keeps up to 17 of them
SLACK = 64  # frames by which packets may come earlier or later than they are shown
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
    """The video of one file, open; to be closed. Raises `Unusable` where there is none that libav reads."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open()
        container, context = self._stream.container, self._stream.codec_context
        self.tick = float(self._stream.time_base)  # seconds
        self.origin: int = self._stream.start_time or 0  # the first frame's stamp, as the header says
        self.seconds = (container.duration or 0) / 1e6  # as the header says: good for a guess
        self.counted = container.format.name == "avi"
        self.indexed = container.format.name.startswith(INDEXED)
        self.aspect = float(self._stream.sample_aspect_ratio or 1)  # width over height of a pixel
        if not 0 < context.width * context.height <= LARGEST:
            self.close()
            raise Unusable(f"frames of {context.width} x {context.height} pixels")

    def look(self, start: float, until: float, more: int) -> Timeline:
        """From the key frame before `start` on, to the `more`-th frame from `until` on: nothing is decoded."""
        first = self._looked(None, -inf, SLACK if start > 0 or until < inf else sys.maxsize)
        self.origin = int(first.stamps[0]) if len(first.stamps) else self.origin
        if start <= 0 and until == inf:
            return first._replace(times=self._time(first.stamps))
        if start > 0:
            begin = self.origin + int(start / self.tick)
            self._seek(begin)
            timeline = self._looked(begin, until, more)
            if len(timeline.keys) and timeline.keys[0] <= begin:
                return timeline
        self._open()
        return self._looked(None, until, more)

    def _looked(self, begin: int | None, until: float, more: int) -> Timeline:
        stamps, segments, keys = array("q"), array("q"), array("q")
        for segment, packet in self._numbered(self._packets()):
            if segment == len(keys):
                keys.append(packet.pts)
            if segment >= 0 and packet.pts is not None and not packet.is_discard:
                stamps.append(packet.pts)
                segments.append(segment)
                more -= self._time(packet.pts) >= until
                if more < 0:
                    break
        rising, first = np.unique(np.asarray(stamps, np.int64), return_index=True)
        numbers = np.asarray(segments, np.int64)[first]
        return Timeline(begin, self._time(rising), rising, numbers, np.asarray(keys, np.int64), self.fault)

    def frames(self, timeline: Timeline, wanted: np.ndarray) -> Iterator[av.VideoFrame | None]:
        """(k,) indices into the timeline, rising -> for each of them the frame, or None where it does not decode."""
        stamps, at = timeline.stamps[wanted].tolist(), 0
        for stamp, frame in self._stamped(timeline, wanted):
            while at < len(stamps) and stamp is not None and stamps[at] < stamp:
                yield None
                at += 1
            if at < len(stamps) and stamps[at] == stamp:
                yield frame
                at += 1
            if at == len(stamps):
                return
        yield from [None] * (len(stamps) - at)

    def _stamped(self, timeline: Timeline, wanted: np.ndarray) -> Iterator[tuple[int | None, av.VideoFrame]]:
        """Frames with the time they are shown at, the wanted ones and some others.

        AVI knows when a frame is decoded, and not when it is shown: there all of them are decoded and counted.
        """
        if self.counted:
            everything = set(range(len(timeline.keys)))
            yield from zip(timeline.stamps.tolist(), self._decoded(timeline, everything, None), strict=False)
        else:
            stamps = set(timeline.stamps[wanted].tolist())
            yield from ((frame.pts, frame) for frame in self._decoded(timeline, timeline.needed(wanted), stamps))

    def _decoded(self, timeline: Timeline, needed: set[int], stamps: set[int] | None) -> Iterator[av.VideoFrame]:
        """What needed segments give, up to their first damage; frames that none refers to only if among `stamps`."""
        at, sound, last = -1, True, max(needed, default=-1)
        for segment, packet in self._numbered(self._again(timeline)):
            decoder = self._stream.codec_context
            if segment > at:
                if at in needed and not (sound and segment in needed):
                    yield from _given(decoder.decode, None)[0] if sound else ()
                    decoder.flush_buffers()
                at, sound = segment, sound or not self.counted
            if at > last:
                return
            if at in needed and sound:
                if stamps is not None and decoder.name in SPARING:
                    decoder.skip_frame = "DEFAULT" if packet.pts in stamps else "NONREF"
                frames, sound = _given(decoder.decode, packet)
                yield from frames
        if at in needed and sound:
            yield from _given(self._stream.codec_context.decode, None)[0]

    def _again(self, timeline: Timeline) -> Iterator[av.Packet]:
        """The timeline's packets once more: sought, where that leads to its first key frame, else from a new begin."""
        if self.indexed and len(timeline.keys):
            sought = attempt("", partial(self._seek, int(timeline.keys[0])))
            packets = self._packets()
            first = None if isinstance(sought, Skipped) else next(packets, None)
            if first and first.is_keyframe and first.pts == timeline.keys[0]:
                yield first
                yield from packets
                return
        opened = attempt("", partial(self._open, timeline.begin))
        yield from () if isinstance(opened, Skipped) else self._packets()

    @staticmethod
    def _numbered(packets: Iterator[av.Packet]) -> Iterator[tuple[int, av.Packet]]:
        """Every packet with the number of its segment; -1 before the first key frame."""
        segment = -1
        for packet in packets:
            segment += packet.is_keyframe and packet.pts is not None
            yield segment, packet

    def _packets(self) -> Iterator[av.Packet]:
        """From where the file is, up to its end or to where it breaks off: `fault` says why."""
        self.fault = ""
        packets = self._stream.container.demux(self._stream)
        following = partial(_libav, "libav", next, packets, None)
        while True:
            packet = attempt("", following)
            if self._file.fault:
                raise self._file.fault
            if isinstance(packet, Skipped):
                self.fault = packet.reason
                return
            if packet is None or not packet.size:  # the last one is empty
                return
            yield packet

    def _seek(self, stamp: int) -> None:
        place = f"has no place {stamp * self.tick:.3f} s"
        _libav(place, self._stream.container.seek, stamp, stream=self._stream)

    def _open(self, begin: int | None = None) -> None:
        """Open the file, or open it anew; at the key frame before a stamp."""
        import av

        self.close()
        self._file = Watched(self._path)
        try:
            named = {"metadata_errors": "ignore", "container_options": {"format_whitelist": FORMATS}}
            self._stream = _video(_libav("not a film that libav reads", av.open, self._file, **named))
        except Unusable:
            self._file.__exit__()
            if self._file.fault:
                raise self._file.fault from None
            raise
        if begin is not None:
            self._seek(begin)

    def close(self) -> None:
        """Let go of the file."""
        if hasattr(self, "_stream"):
            self._stream.container.close()
            self._file.__exit__()

    def _time(self, stamp: Any) -> Any:
        return (stamp - self.origin) * self.tick


def _libav(what: str, call: Callable[..., T], *given: Any, **named: Any) -> T:
    """Blame the file for what libav says of it. Its "I/O error" is a file that ends too early: the disk is watched."""
    try:
        return call(*given, **named)
    except Exception as fault:
        early = getattr(fault, "errno", None) == EIO
        said = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        raise Unusable(f"{what}: {'it ends too early' if early else said.lower()}") from fault


def _given(decode: Callable[..., list[av.VideoFrame]], *given: Any) -> tuple[list[av.VideoFrame], bool]:
    """What comes out of the decoder up to the first damage, and whether there was none."""
    made = attempt("", partial(_libav, "libav", decode, *given))
    if isinstance(made, Skipped):
        return [], False
    sound = list(takewhile(lambda frame: not frame.is_corrupt, made))
    return sound, len(sound) == len(made)


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
        named = {**size, "format": "rgba" if clear else "rgb24", "src_color_range": frame.color_range, "threads": 1}
        small = _libav("libswscale", self._scale.reformat, frame, **named).to_ndarray()
        return turned(_matted(small) if clear else small, round(frame.rotation / 90) % 4)


def _matted(image: np.ndarray) -> np.ndarray:
    """(h, w, 4) RGBA -> (h, w, 3) on white."""
    alpha = image[..., 3:].astype(np.uint16)
    return np.asarray((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)
