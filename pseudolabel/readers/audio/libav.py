"""Decode audio with libav: formats that libsndfile does not read, and what follows where libsndfile stops too early."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pseudolabel.contracts import FilteredSample, Skipped, UnusableSample, or_skipped
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file
from pseudolabel.readers.video.decode import libav_errors

if TYPE_CHECKING:
    import av

FORMATS = "mov,matroska,asf,aac,ac3,eac3,mp3,ogg,flac,wav,aiff"  # no playlists, which open other files
TIMED_FORMATS = ("mov", "matroska", "asf")  # prefixes of names of formats that store the time of each packet
SIZED_FORMATS = ("mov", "asf")  # prefixes of names of formats that store the length of each stream
LIBAV_TICKS = 1_000_000  # libav's length of a file is in microseconds
MAX_GAP = 0.5  # seconds that may be missing between packets: encoders leave out up to 0.4 s of silence at once
FULL_SCALE = {"u1": 2**7, "i2": 2**15, "i4": 2**31, "i8": 2**63}  # of integer samples, by NumPy's type


class LibavSound:
    """Audio stream of one open file, decoded from its start; `close` closes it. A film's pictures are not read.

    Encoder delay and padding are cut off as libav does it. Raise `UnusableSample` if libav cannot read any audio.
    """

    def __init__(self, where: str) -> None:
        import av

        self._file = FaultRecordingFile(open_file(where))
        with ExitStack() as unless_open:
            unless_open.callback(self._file.__exit__)
            named = {"metadata_errors": "ignore", "container_options": {"format_whitelist": FORMATS}}
            opened = or_skipped(
                "", partial(libav_errors, "not audio that libav can read", av.open, self._file, **named)
            )
            self._file.check()
            if isinstance(opened, Skipped):
                raise UnusableSample(opened.reason)
            self._container = unless_open.enter_context(opened)
            self._stream = _audio(self._container)
            self.rate: int = self._stream.codec_context.sample_rate or 0  # Hz
            self.channels: int = self._stream.codec_context.layout.nb_channels
            self._end = 0  # frame of the sound after `_held`
            self._gap = False  # whether frames are missing after `_end`, without damage
            self._held = np.empty((0, self.channels), np.float32)  # decoded, but not read yet
            self._blocks = self._decoded()
            first = next(self._blocks, None)  # its rate and channels are the true ones: headers of AAC may tell half
            if isinstance(first, np.ndarray):
                self._held = first
            self._fault = first if isinstance(first, str) else ""  # reason why frames are missing after `_held`
            if self.rate <= 0:
                raise UnusableSample("the sample rate is unknown")
            unless_open.pop_all()  # the caller closes the file

    @property
    def at(self) -> int:
        """Return the frame that is read next."""
        return self._end - len(self._held)

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """Return the next `count` frames, (n, channels) float32, and "".

        Return fewer frames at the end. Return fewer frames and the reason where the file is damaged.
        """
        blocks, left = [np.empty((0, self.channels), np.float32)], count
        while left:
            if not len(self._held):
                fault, self._fault = self._fault, ""
                following = fault or next(self._blocks, None)
                if not isinstance(following, np.ndarray):
                    return np.concatenate(blocks), following or ""
                self._held = following
            blocks.append(self._held[:left])
            self._held = self._held[left:]
            left -= len(blocks[-1])
        return np.concatenate(blocks), ""

    def resume(self, frame: int) -> int | None:
        """See `Sound.resume`. If frames are missing without damage, nothing before `frame` is left out."""
        frame, self._gap = (0 if self._gap else frame), False
        while not len(self._held) or self._end <= frame:
            following = next(self._blocks, None)
            if following is None:
                return None
            self._fault = following if isinstance(following, str) else ""
            self._held = self._held[:0] if isinstance(following, str) else following
        self._fault = ""
        self._held = self._held[max(0, frame - self.at) :]
        return self.at

    def look(self, count: int) -> tuple[int, str]:
        """Decode `count` frames ahead, or up to a fault or the end. Return the number there are, and the fault."""
        while len(self._held) < count and not self._fault:
            following = next(self._blocks, None)
            if following is None:
                break
            if isinstance(following, str):
                self._fault = following
            else:
                self._held = np.concatenate([self._held, following])
        return len(self._held), self._fault

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.__exit__()

    def _decoded(self) -> Iterator[np.ndarray | str]:
        """Yield blocks of (n, channels) float32 and, where frames are missing, the reason."""
        origin, damaged, started = None, False, False
        timed = self._container.format.name.startswith(TIMED_FORMATS)
        for packet in self._packets():
            frames = packet if isinstance(packet, Skipped) else or_skipped("", partial(self._frames, packet))
            if isinstance(frames, Skipped):
                if not damaged:
                    yield f"does not decode from here on: {frames.reason}"
                damaged = True
                continue
            for frame in frames:
                if not started:
                    self.rate, self.channels, started = frame.sample_rate, frame.layout.nb_channels, True
                if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.channels):
                    yield f"{self._change(frame)}; {self._seconds_left(frame):.1f} s are left"
                    return
                tick = frame.time_base or self._stream.time_base  # None where the header is broken
                if timed and tick and frame.pts is not None:
                    origin = frame.pts if origin is None else origin
                    place = round(float((frame.pts - origin) * tick) * self.rate)
                    missing = (place - self._end) / self.rate
                    if missing > MAX_GAP and not damaged:
                        self._gap = True
                        yield f"{missing:.2f} s are missing here, by the timestamps in the file"
                    self._end = place if damaged or missing > MAX_GAP else self._end
                damaged, block = False, _float32(frame)
                self._end += len(block)
                yield block
        missing = self._told_seconds() - self._end / self.rate if self.rate else 0
        if missing > MAX_GAP and not damaged:
            yield f"the file ends {missing:.2f} s before the length in its header"

    def _told_seconds(self) -> float:
        """Return the length in the header; 0 if there is none, or one of a whole film only."""
        name, length = self._container.format.name, self._container.duration
        if name.startswith(SIZED_FORMATS) and self._stream.duration:
            return float(self._stream.duration * (self._stream.time_base or 0))
        alone = len(self._container.streams) == 1
        return length / LIBAV_TICKS if name.startswith("matroska") and length and alone else 0.0

    def _packets(self) -> Iterator[av.Packet | Skipped]:
        """Yield the packets, the last without data, which makes the decoder give all. End with the damage, if any."""
        packets = self._container.demux(self._stream)
        while True:
            packet = or_skipped("", partial(libav_errors, "libav", next, packets, None))
            if self._file.fault:
                raise self._file.fault
            if packet is None:
                return
            if isinstance(packet, Skipped) or self._file.damage:
                yield Skipped("", self._file.damage or getattr(packet, "reason", ""))
                return
            yield packet

    def _frames(self, packet: av.Packet) -> list[av.AudioFrame]:
        """Decode a packet. Raise `UnusableSample` if any of it is damaged."""
        given = packet if packet.size else None  # None makes the decoder give all it holds
        frames: list[av.AudioFrame] = libav_errors("libav", self._stream.codec_context.decode, given)
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            raise UnusableSample("libav: damaged data")
        return frames

    def _change(self, frame: av.AudioFrame) -> str:
        if frame.sample_rate != self.rate:
            return f"the sample rate changes from {self.rate} to {frame.sample_rate} Hz"
        return f"the number of channels changes from {self.channels} to {frame.layout.nb_channels}"

    def _seconds_left(self, frame: av.AudioFrame) -> float:
        """Return the seconds from a frame to the end, by the packets. Read them all."""
        left = sum(packet.duration or 0 for packet in self._packets() if not isinstance(packet, Skipped))
        return float(frame.samples / frame.sample_rate + left * (self._stream.time_base or 0))


def has_only_sound(where: str) -> bool:
    """Return whether a file has audio and no video, except cover art. Return False if libav cannot read it."""
    from av.stream import Disposition

    sound = or_skipped("", partial(LibavSound, where))
    if isinstance(sound, Skipped):
        return False
    films = [s for s in sound._container.streams.video if not s.disposition & Disposition.attached_pic]
    sound.close()
    return not films


def _audio(container: av.container.InputContainer) -> Any:
    from av.stream import Discard

    chosen = container.streams.best("audio")
    if chosen is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise FilteredSample(f"no audio stream, only {kinds}")  # a film without sound is not damaged
    if chosen.codec_context is None:
        raise UnusableSample("libav has no decoder for its audio stream")
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    chosen.codec_context.thread_count = 1
    chosen.codec_context.options = {"err_detect": "crccheck+explode"}  # raise on damage instead of concealing it
    return chosen


def _float32(frame: av.AudioFrame) -> np.ndarray:
    """Return the samples of a frame, (n, channels) float32, full scale 1."""
    wave = frame.to_ndarray()
    wave = wave.T if frame.format.is_planar else wave.reshape(-1, frame.layout.nb_channels)
    kind = wave.dtype.str[1:]
    if kind not in FULL_SCALE:
        return np.ascontiguousarray(wave, np.float32)
    centred = wave.astype(np.float64 if kind in ("i4", "i8") else np.float32) - (128 if kind == "u1" else 0)
    return np.ascontiguousarray(centred / FULL_SCALE[kind], np.float32)
