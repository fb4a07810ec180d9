"""Decode audio with libav: files that libsndfile does not read, reads in part, or reads across missing sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Skipped, UnusableSample, or_skipped
from pseudolabel.readers.audio.packets import MAX_FRAMES, MAX_GAP, LibavFile
from pseudolabel.readers.sources.file_ends import left_over, missing_bytes
from pseudolabel.readers.video.decode import libav_errors

if TYPE_CHECKING:
    import av

TIMED_FORMATS = ("mov", "matroska", "asf", "avi", "flv", "mpeg", "ogg", "flac")  # prefixes: packets have timestamps
MAX_JUNK_BYTES = 1 << 24  # bytes that are searched for the next packet after damage
FULL_SCALE = {"u1": 2**7, "i2": 2**15, "i4": 2**31, "i8": 2**63}  # of integer samples, by NumPy's type


class Gap(NamedTuple):
    """A place where sound is missing."""

    reason: str
    until: int | None  # the frame where sound goes on; None: nowhere


class LibavSound(LibavFile):
    """Audio of one open file, decoded from a frame on. Encoder delay and padding are cut off as libav does it."""

    def __init__(self, where: str, start: int = 0) -> None:
        super().__init__(where)
        with ExitStack() as unless_decoded:
            unless_decoded.callback(self.close)
            self.rate: int = self.stream.codec_context.sample_rate or 0  # Hz
            self.channels: int = self.stream.codec_context.layout.nb_channels
            self._context = self.stream.codec_context
            self._origin: int | None = 0 if start else None  # timestamp of frame 0
            items = self._decode_blocks(start)
            first = next(items, None)  # sets the true rate and channels: a header of AAC may give half of them
            self._items = items if first is None else chain((first,), items)
            self._held = np.empty((0, self.channels), np.float32)  # decoded, but not read yet
            self._until: int | None = None  # the frame where sound goes on after a fault
            if self.rate <= 0:
                raise UnusableSample("the sample rate is unknown")
            unless_decoded.pop_all()  # the caller closes the file

    def length(self) -> tuple[int, bool]:
        """Return the number of frames by the header of a FLAC, and whether seeks are exact.

        Return `MAX_FRAMES` and False if the length is unknown. If streams are joined, a seek may end in a wrong stream.
        """
        frames = round(self.told_seconds() * self.rate) if self.format == "flac" and self._origin == 0 else 0
        if not frames:
            return MAX_FRAMES, False
        with closing(LibavSound(self.where, frames - 1)) as end:
            last, fault = end.read(2)
        return frames, len(last) == 1 and not fault

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """See `Sound.read`."""
        blocks, left = [np.empty((0, self.channels), np.float32)], count
        while left:
            if not len(self._held):
                item = next(self._items, None)
                if not isinstance(item, np.ndarray):
                    reason, self._until = item or ("", None)
                    return np.concatenate(blocks), reason
                self._held = item
            blocks.append(self._held[:left])
            self._held = self._held[left:]
            left -= len(blocks[-1])
        return np.concatenate(blocks), ""

    def resume(self, frame: int) -> int | None:
        """See `Sound.resume`. Ignore `frame`: continue with the next sound that decodes."""
        return self._until

    def _decode_blocks(self, start: int) -> Iterator[np.ndarray | Gap]:
        """Yield blocks of (n, channels) float32 from a frame on, and the places where frames are missing."""
        end, fault, started = 0, "", False  # end: frames
        failed = 0  # ticks of the preceding packets that do not decode
        top, read = 0, 0  # byte offsets: of the first packet, and after the last whole packet
        timed, longest = self.format.startswith(TIMED_FORMATS), self.longest_gap()
        for packet in self._packets_from(start):
            frames = packet if isinstance(packet, Skipped) else or_skipped(partial(self._frames, packet))
            if isinstance(packet, Skipped) or isinstance(frames, Skipped):
                fault = fault or f"does not decode: {getattr(frames, 'reason', '')}"
                if isinstance(packet, Skipped):
                    read = self.file.tell()
                else:
                    failed += packet.duration or 0
                continue
            begin = self._place(packet, read, lost=bool(fault)) if read else packet.pos or 0
            for frame in frames:
                if not started:
                    self.rate, self.channels, started = frame.sample_rate, frame.layout.nb_channels, True
                    tick = frame.time_base or self.stream.time_base  # None where the header is broken
                    timed, self._frames_per_tick = timed and bool(tick), float((tick or 0) * self.rate)
                if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.channels):
                    yield Gap(f"{self._change(frame)}, {self._seconds_left(frame, failed):.1f} s are left", None)
                    return
                missing = self._missing(frame, end, damaged=bool(fault)) if timed else 0
                if fault and not timed:
                    missing = round(end * (begin - read) / max(1, read - top))
                if fault or missing > longest * self.rate:
                    end += max(0, missing)
                    lost = f", {missing / self.rate:.2f} s are lost, by the {'timestamps' if timed else 'bytes'}"
                    if end > start:
                        yield Gap((fault or "sound is missing") + (lost if missing > 0 else ""), end)
                fault, failed, block = "", 0, _float32(frame)[max(0, -missing) :]
                end += len(block)
                if end > start:
                    yield block[max(0, start - end + len(block)) :]
            if packet.size:
                top, read = top if read else begin, begin + packet.size
        if lost := self._lost_end(end, top, read, fault):
            yield Gap(lost, None)

    def _lost_end(self, end: int, top: int, read: int, fault: str) -> str:
        """Return what is missing after the last packet, "" if nothing is. See `_decode_blocks` for the arguments."""
        told = self.told_seconds()
        missing_seconds = told - self.late_seconds() - end / self.rate if self.rate else 0.0
        if missing_seconds > MAX_GAP:
            ends = f"the file ends {missing_seconds:.2f} s before the length in its header"
            return f"{fault}, {ends}" if fault else ends
        if fault:
            left = self.file.seek(0, os.SEEK_END) - read
            seconds = left / max(1, read - top) * end / max(1, self.rate)
            return f"{fault}, about {left:,} bytes are left, {seconds:.2f} s at the bit rate so far"
        return left_over(self.file) or ("" if told else missing_bytes(self.file))

    def _place(self, packet: av.Packet, read: int, *, lost: bool) -> int:
        """Return the place of a packet in the file, in bytes, after a packet that ended at `read`.

        If packets are lost and the format has no timestamps, search for the packet: libav does not count skipped bytes.
        """
        if self.format.startswith(TIMED_FORMATS):
            return packet.pos or read
        if not lost:
            return read
        here = self.file.tell()
        self.file.seek(read)
        after = self.file.read(MAX_JUNK_BYTES).find(bytes(packet))
        self.file.seek(here)
        return read + max(0, after)

    def _missing(self, frame: av.AudioFrame, end: int, *, damaged: bool) -> int:
        """Return how many frames lie between `end` and a frame, by its timestamp; less than 0 if a page comes twice.

        A timestamp that goes back by more than `MAX_GAP` belongs to another stream, joined to the first.
        """
        if frame.pts is None:
            return 0
        if self._origin is None:
            self._origin = self.stream.start_time or 0 if damaged else frame.pts
        missing = round((frame.pts - self._origin) * self._frames_per_tick) - end
        if missing < -MAX_GAP * self.rate:
            self._origin, missing = frame.pts - round(end / self._frames_per_tick), 0
        return int(missing) if damaged or abs(missing) > self.longest_gap() * self.rate else 0

    def _packets_from(self, start: int) -> Iterator[av.Packet | Skipped]:
        """Yield the packets from a frame on or from earlier. Seek in FLAC only: its timestamps count frames."""
        for stamp in (start, 0) if start and self.format == "flac" else ():
            or_skipped(partial(libav_errors, "libav", self.container.seek, stamp, stream=self.stream))
            packets = self.packets()
            first = next(packets, None)
            if first and (isinstance(first, Skipped) or not stamp or (first.pts or 0) <= start):
                yield first
                yield from packets
                return
        yield from self.packets()

    def _frames(self, packet: av.Packet) -> list[av.AudioFrame]:
        """Decode a packet. Raise `UnusableSample` if any of it is damaged."""
        given = packet if packet.size else None  # None flushes the decoder
        broken = self.is_broken(packet)
        frames: list[av.AudioFrame] = [] if broken else libav_errors("libav", self._context.decode, given)
        if broken or any(frame.is_corrupt for frame in frames):
            raise UnusableSample("libav: damaged data")
        return frames

    def _change(self, frame: av.AudioFrame) -> str:
        if frame.sample_rate != self.rate:
            return f"the sample rate changes from {self.rate} to {frame.sample_rate} Hz"
        return f"the number of channels changes from {self.channels} to {frame.layout.nb_channels}"

    def _seconds_left(self, frame: av.AudioFrame, failed: int) -> float:
        """Return the seconds from a frame to the end, and of `failed` ticks before it. Read all packets."""
        left = failed + sum(packet.duration or 0 for packet in self.packets() if not isinstance(packet, Skipped))
        stale = self._codec == "aac" and self.format in ("aac", "mpegts")  # libav's durations are for the first rate
        scale = self.rate / frame.sample_rate if stale else 1
        return float(frame.samples / frame.sample_rate + left * (self.stream.time_base or 0) * scale)


def _float32(frame: av.AudioFrame) -> np.ndarray:
    """Return the samples of a frame, (n, channels) float32, full scale 1."""
    wave = frame.to_ndarray()
    wave = wave.T if frame.format.is_planar else wave.reshape(-1, frame.layout.nb_channels)
    kind = wave.dtype.str[1:]
    if kind not in FULL_SCALE:
        return np.ascontiguousarray(wave, np.float32)
    if kind == "i2":
        return np.asarray(np.multiply(wave, np.float32(1 / FULL_SCALE[kind]), dtype=np.float32, order="C"))
    centred = wave.astype(np.float64) - (128 if kind == "u1" else 0)
    return np.ascontiguousarray(centred / FULL_SCALE[kind], np.float32)
