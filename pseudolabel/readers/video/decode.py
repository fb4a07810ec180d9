"""Decode videos with libav: get times from the container, then decode forward only what the wanted frames need."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from errno import EIO
from functools import partial
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from pseudolabel.contracts import Skipped, T, UnusableSample, or_skipped
from pseudolabel.readers.dynamic_range import require_standard_range
from pseudolabel.readers.sources.file_ends import index_fault, left_over, missing_bytes
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file
from pseudolabel.readers.video.streams import MAX_FRAME_PIXELS, choose_decoder, choose_stream, fields_of
from pseudolabel.readers.video.timeline import Ends, Timeline

if TYPE_CHECKING:
    import av

FORMATS = "mov,mp4,matroska,webm,avi,gif,flv,mpegts,mpeg,mpegvideo,ogg,asf"  # no playlists, which open other files
INDEXED_FORMATS = ("mov", "matroska")  # prefixes of names of formats with an index of key frames
SKIPPABLE_CODECS = ("h264", "hevc", "mpeg4", "mpeg2video")  # decoders that obey `skip_frame` for each packet
MAX_HELD_BYTES = 1 << 25  # bytes of packets that are held in memory instead of reading them twice
MAX_PACKET_BYTES = 2**28  # bytes allocated as a test if libav finds no memory; untouched memory costs nothing
REORDER_FRAMES = 64  # frames: largest distance between packet order and display order
MAX_CLOCK_STEP_BACK = 1.0  # seconds, for rounded timestamps; a larger step back starts another video


class VideoFile:
    """Video stream of one open file; `close` closes it. Raise `UnusableSample` if libav cannot read any video."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open()
        container, context = self._stream.container, self._stream.codec_context
        self.tick = float(self._stream.time_base)  # seconds
        self.between = float(1 / (self._stream.average_rate or 1))  # seconds from frame to frame by the header
        self.origin: int = self._stream.start_time or 0  # the first frame's timestamp by the header
        self.counted = container.format.name == "avi"
        self.indexed = container.format.name.startswith(INDEXED_FORMATS)
        self.aspect = float(self._stream.sample_aspect_ratio or 1)  # pixel aspect ratio, width / height
        self.fields = fields_of(context, container.format.name)
        with ExitStack() as unless_usable:
            unless_usable.callback(self.close)
            if not 0 < context.width * context.height <= MAX_FRAME_PIXELS:
                raise UnusableSample(
                    f"frames of {context.width} x {context.height} pixels, the limit is {MAX_FRAME_PIXELS} pixels"
                )
            require_standard_range(int(context.color_trc), int(context.color_primaries))
            unless_usable.pop_all()

    def entries(self) -> np.ndarray:
        """Return (n,) seconds from the first frame: the key frames in the index of the file."""
        or_skipped(partial(self._seek, self.origin))  # makes libav read the index of Matroska
        index = [entry.timestamp for entry in self._stream.index_entries if entry.is_keyframe]
        return (np.array(index, np.int64) - (index[0] if index else 0)) * self.tick

    def look(self, start: float, until: float, more: int) -> Timeline:
        """Return the timeline from a key frame before `start` s to `more` frames after `until` s. Decode nothing."""
        first = self._timeline(None, -inf, REORDER_FRAMES if start > 0 or until < inf else sys.maxsize)
        self.origin = int(first.stamps[0]) if len(first.stamps) else self.origin
        if start <= 0 and until == inf:
            return first._replace(times=self._time(first.stamps))
        return self.look_again(start, until, more)

    def look_again(self, start: float, until: float, more: int) -> Timeline:
        """Return the timeline of another part, after `look`."""
        if start > 0:
            begin = self.origin + int(start / self.tick)
            self._seek(begin)
            timeline = self._timeline(begin, until, more)
            if len(timeline.keys) and timeline.keys[0] <= begin:
                return timeline
        self._open()
        return self._timeline(None, until, more)

    def end_fault(self) -> str:
        """Return what follows the video and is not read, or how much is missing; "" if neither."""
        return left_over(self._file) or missing_bytes(self._file)

    def _timeline(self, begin: int | None, until: float, more: int) -> Timeline:
        stamps, segments, keys, clock = array("q"), array("q"), array("q"), -inf
        packets, held = list["av.Packet"](), 0
        for segment, packet in self._number_packets(self._packets()):
            if packet.dts is not None and packet.dts < clock - MAX_CLOCK_STEP_BACK / self.tick:
                self.fault = f"the timestamps go back by {(clock - packet.dts) * self.tick:.0f} s"
                break
            clock = clock if packet.dts is None else packet.dts
            held += packet.size
            if held <= MAX_HELD_BYTES:
                packets.append(packet)
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
        about = np.asarray(keys, np.int64), self.fault, first, packets if held <= MAX_HELD_BYTES else ()
        return Timeline(begin, self._time(rising), rising, numbers, *about)

    def frames(self, timeline: Timeline, wanted: np.ndarray, whole: bool = False) -> Iterator[av.VideoFrame | None]:
        """Yield the frames at (k,) ascending indices into the timeline; None for a frame that cannot be decoded.

        `whole`: decode segments to their ends, because the second field of a frame may be a packet of its own.
        """
        stamps, at = timeline.stamps[wanted].tolist(), 0
        for stamp, frame in self._timed_frames(timeline, wanted, whole):
            while at < len(stamps) and stamp is not None and stamps[at] < stamp:
                yield None
                at += 1
            if at < len(stamps) and stamps[at] == stamp:
                yield frame
                at += 1
            if at == len(stamps):
                return
        yield from [None] * (len(stamps) - at)

    def _timed_frames(self, timeline: Timeline, wanted: np.ndarray, whole: bool) -> Iterator[tuple[Any, av.VideoFrame]]:
        """Yield (timestamp, frame) of the wanted frames and of some others.

        AVI stores when a frame is decoded, not when it is shown. So all frames of AVI are decoded and counted.
        """
        if self.counted:
            everything = dict.fromkeys(range(len(timeline.keys)), inf)
            yield from zip(timeline.stamps.tolist(), self._decode_segments(timeline, everything, None), strict=False)
        else:
            stamps, ends = set(timeline.stamps[wanted].tolist()), timeline.needed(wanted)
            ends = dict.fromkeys(ends, inf) if whole else ends
            yield from ((frame.pts, frame) for frame in self._decode_segments(timeline, ends, stamps))

    def _decode_segments(self, timeline: Timeline, needed: Ends, stamps: set[int] | None) -> Iterator[av.VideoFrame]:
        """Yield the frames of needed segments, each up to its end or its first damage (AVI: that of the file).

        Skip frames that no other frame refers to, except those in `stamps`. If `stamps` is None, decode all.
        """
        at, sound, last = -1, True, max(needed, default=-1)
        for segment, packet in self._number_packets(self._again(timeline)):
            decoder = self._decoder
            # raise on damage instead of concealing it; not for open groups: their first frames lack a reference
            if not decoder.is_open and timeline.closed:
                decoder.options = {**decoder.options, "err_detect": "explode"}
            if segment > at:
                if at in needed and not (sound and segment in needed):
                    yield from _given(decoder.decode, None)[0] if sound else ()
                    decoder.flush_buffers()
                at, sound = segment, sound or not self.counted
            if at > last:
                return
            if at in needed and sound:
                if stamps is not None and decoder.name in SKIPPABLE_CODECS:
                    decoder.skip_frame = "DEFAULT" if packet.pts in stamps else "NONREF"
                frames, sound = _given(decoder.decode, packet)
                yield from frames
                if sound and packet.pts == needed[at]:
                    yield from _given(decoder.decode, None)[0]
                    decoder.flush_buffers()
                    sound = False
        if at in needed and sound:
            yield from _given(self._decoder.decode, None)[0]

    def _again(self, timeline: Timeline) -> Iterator[av.Packet]:
        """Yield the timeline's packets again. If they are not held, seek to the first key frame, or reopen the file."""
        if timeline.packets:
            if self._decoder.is_open:
                self._decoder.flush_buffers()
            yield from timeline.packets
            return
        if self.indexed and len(timeline.keys):
            sought = or_skipped(partial(self._seek, int(timeline.keys[0])))
            packets = self._packets()
            first = None if isinstance(sought, Skipped) else next(packets, None)
            if first and first.is_keyframe and first.pts == timeline.keys[0]:
                yield first
                yield from packets
                return
        opened = or_skipped(partial(self._open, timeline.begin))
        yield from () if isinstance(opened, Skipped) else self._packets()

    @staticmethod
    def _number_packets(packets: Iterator[av.Packet]) -> Iterator[tuple[int, av.Packet]]:
        """Yield (segment, packet); the segment is -1 before the first key frame."""
        segment = -1
        for packet in packets:
            segment += packet.is_keyframe and packet.pts is not None
            yield segment, packet

    def _packets(self) -> Iterator[av.Packet]:
        """Yield packets from the current position to the end or the first damage. Set `fault` to the damage or ""."""
        self.fault = ""
        packets = self._stream.container.demux(self._stream)
        while True:
            packet, damage = None, ""
            try:
                packet = libav_errors("libav", next, packets, None)
            except UnusableSample as unusable:
                damage = str(unusable)
            if self._file.fault:
                raise self._file.fault
            if packet is None or (not packet.size and packet.dts is None):  # the end of the stream, or damage
                self.fault = self._file.damage or damage
                return
            if packet.size:
                yield packet

    def _seek(self, stamp: int) -> None:
        place = f"cannot seek to {stamp * self.tick:.3f} s"
        libav_errors(place, self._stream.container.seek, stamp, stream=self._stream)
        if self._decoder.is_open:
            self._decoder.flush_buffers()

    def _open(self, begin: int | None = None) -> None:
        """Open or reopen the file, at the key frame before timestamp `begin`."""
        self.close()
        self._file = FaultRecordingFile(open_file(self._path))
        try:
            probe = {"skip_loop_filter": "all"}  # for the frames that libav decodes here; they are not shown
            container = open_container("not a video that libav can read", self._file, FORMATS, options=probe)
            self._stream = choose_stream(container)
            self._decoder = choose_decoder(self._stream)
        except UnusableSample as unusable:
            fault = index_fault(self._file)
            self._file.__exit__()
            self._file.check()
            raise UnusableSample(f"{fault}, {unusable}" if fault else str(unusable)) from unusable
        if begin is not None:
            self._seek(begin)

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_stream"):
            self._stream.container.close()
            self._file.__exit__()

    def _time(self, stamp: Any) -> Any:
        return (stamp - self.origin) * self.tick


def libav_errors(what: str, call: Callable[..., T], *given: Any, **named: Any) -> T:
    """Convert errors of libav into `UnusableSample`. EIO means a short file; `FaultRecordingFile` keeps disk faults."""
    try:
        return call(*given, **named)
    except MemoryError as fault:
        bytes(MAX_PACKET_BYTES)  # raises again if this machine is short of memory; else the file is at fault
        raise UnusableSample(f"{what}: needs more memory than is available") from fault
    except Exception as fault:
        early = getattr(fault, "errno", None) == EIO
        said = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
        raise UnusableSample(f"{what}: {'the file ends too early' if early else said.lower()}") from fault


def open_container(what: str, file: FaultRecordingFile, formats: str, **named: Any) -> Any:
    """Open a file of one of these formats with libav. Ignore metadata that is not UTF-8, as PyAV 19 does by itself."""
    import av

    before_19 = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return libav_errors(what, av.open, file, container_options={"format_whitelist": formats}, **before_19, **named)


def _given(decode: Callable[..., list[av.VideoFrame]], *given: Any) -> tuple[list[av.VideoFrame], bool]:
    """Return the decoder's frames up to the first damage, and whether there was no damage."""
    try:
        made = libav_errors("libav", decode, *given)
    except UnusableSample:
        return [], False
    sound = list(takewhile(lambda frame: not frame.is_corrupt, made))
    return sound, len(sound) == len(made)
