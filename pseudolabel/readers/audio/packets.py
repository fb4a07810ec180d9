"""Packets of audio that libav finds in a file: whether all are there, and whether one is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from pseudolabel.contracts import FilteredSample, Skipped, UnusableSample, or_skipped
from pseudolabel.readers.sources.file_ends import index_fault
from pseudolabel.readers.sources.formats import mpeg_frame_bytes
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file
from pseudolabel.readers.video.decode import libav_errors, open_container

if TYPE_CHECKING:
    import av

MAX_FRAMES = 1 << 40  # frames, more than any file has: stands for an unknown length
FORMATS = "mov,matroska,asf,avi,flv,mpegts,mpeg,aac,ac3,eac3,mp3,ogg,flac,wav,aiff,caf,tta,wv"  # no playlists
SIZED_FORMATS = ("mov", "asf", "avi", "flac")  # prefixes of names of formats that store the length of each stream
LIBAV_TICKS = 1_000_000  # libav's length of a file is in microseconds
MAX_GAP = 0.5  # seconds that may be missing between packets: encoders leave out up to 0.4 s of silence at once
MAX_STEP = {"flac": 1, "opus": 400, "vorbis": 2048}  # codec -> error in frames of libav's timestamps in Ogg and FLAC
MAX_PADDING = 0.2  # seconds: delay and padding of a lossy codec, which decoders cut off differently


class LibavFile:
    """Audio stream of one open file; `close` closes it. Video streams are not read.

    Raise `UnusableSample` if libav cannot read any audio.
    """

    def __init__(self, where: str) -> None:
        self.where, self.file = where, FaultRecordingFile(open_file(where))
        with ExitStack() as unless_open:
            unless_open.callback(self.file.__exit__)
            if self.file.read(4) == b"RIFX":
                raise UnusableSample("libsndfile does not read this RIFX, and libav takes its bytes in the wrong order")
            self.file.seek(0)
            opened = or_skipped(partial(open_container, "not audio that libav can read", self.file, FORMATS))
            self.file.check()
            if isinstance(opened, Skipped):
                fault = index_fault(self.file)
                raise UnusableSample(f"{fault}, {opened.reason}" if fault else opened.reason)
            self.container = unless_open.enter_context(opened)
            self.stream = _audio(self.container)
            self.format: str = self.container.format.name
            self._codec: str = self.stream.codec_context.codec.canonical_name
            unless_open.pop_all()  # the caller closes the file

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        self.file.__exit__()

    def is_continuous(self, seconds: float) -> bool:
        """Return whether all packets up to `seconds` are there, intact and of one kind, and none follows.

        Read all packets. Use the length in the header of an MP3 only if the header gives the encoder's delay.
        """
        due, broken, longest, tick = None, False, self.longest_gap(), float(self.stream.time_base or 0)
        kinds = set()  # of MP3: MPEG version, sample rate, and whether mono
        for packet in self.packets():
            if broken or isinstance(packet, Skipped):
                return False
            if packet.size and packet.pts is not None:
                if due is not None and abs(packet.pts - due) * tick > longest:
                    return False
                due, broken = packet.pts + (packet.duration or 0), self.is_broken(packet)
                if self._codec in ("mp2", "mp3") and packet.size >= 4:
                    head = bytes(packet)[:4]
                    kinds.add((head[1] >> 1, head[2] >> 2 & 3, head[3] >> 6 == 3))
                    broken |= len(kinds) > 1
        end = (due or 0) * tick
        return self.told_seconds() - MAX_GAP <= end <= seconds + MAX_PADDING

    def longest_gap(self) -> float:
        """Return the seconds that may be missing between packets without damage."""
        if self.format not in ("ogg", "flac"):  # encoders of Ogg and FLAC leave out nothing
            return MAX_GAP
        return MAX_STEP.get(self._codec, 2048) / (self.stream.codec_context.sample_rate or 1)

    def told_seconds(self) -> float:
        """Return the length of the stream by the header; 0 if the header gives no reliable length of this stream."""
        length, stream = self.container.duration, self.stream
        if stream.duration and (self.format.startswith(SIZED_FORMATS) or (self.format == "mp3" and stream.start_time)):
            return float(stream.duration * (stream.time_base or 0))
        alone = len(self.container.streams) == 1
        return length / LIBAV_TICKS if self.format.startswith("matroska") and length and alone else 0.0

    def late_seconds(self) -> float:
        """Return the time before the first frame that `told_seconds` includes: Matroska counts from 0."""
        late = self.container.start_time if self.format.startswith("matroska") else 0
        return max(0, late or 0) / LIBAV_TICKS

    def packets(self) -> Iterator[av.Packet | Skipped]:
        """Yield the packets. The last is empty and flushes the decoder. After damage, yield `Skipped` and stop."""
        following = partial(libav_errors, "libav", next, self.container.demux(self.stream), None)
        while True:
            packet = or_skipped(following)
            if self.file.fault:
                raise self.file.fault
            if packet is None:
                return
            if isinstance(packet, Skipped) or self.file.damage:
                yield Skipped("", self.file.damage or getattr(packet, "reason", ""))
                return
            yield packet

    def is_broken(self, packet: av.Packet) -> bool:
        """Return whether a packet is marked corrupt or, in MP2 and MP3, is not one frame: libav drops the rest."""
        if self._codec not in ("mp2", "mp3") or not packet.size:
            return packet.is_corrupt and not self._codec.startswith("pcm_")  # libav marks a short packet at the end
        head = bytes(packet)[:4]
        size = mpeg_frame_bytes(head)
        return size != packet.size if size else head[:1] != b"\xff"  # size 0: layer I, or a free bit rate


def has_only_sound(where: str) -> bool:
    """Return whether a file has audio and no video, except cover art. Return False if libav cannot read it."""
    from av.stream import Disposition

    file = or_skipped(partial(LibavFile, where))
    if isinstance(file, Skipped):
        return False
    with closing(file):
        return all(stream.disposition & Disposition.attached_pic for stream in file.container.streams.video)


def is_continuous(where: str, seconds: float) -> bool:
    """Return whether a file has all its sound up to `seconds`, and no more. Return True if libav cannot read it."""
    file = or_skipped(partial(LibavFile, where))
    if isinstance(file, Skipped):
        return True
    with closing(file):
        return file.is_continuous(seconds)


def _audio(container: av.container.InputContainer) -> Any:
    from av.stream import Discard

    chosen = container.streams.best("audio")
    if chosen is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams}))
        if not kinds:
            raise UnusableSample("a container without a stream")
        raise FilteredSample(f"no audio stream, only {kinds}")  # a video without sound is not damaged
    if chosen.codec_context is None:
        raise UnusableSample("libav has no decoder for its audio stream")
    if chosen.codec_context.name.startswith("pcm_s64"):
        raise UnusableSample("integers of 64 bits are not read")
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    chosen.codec_context.thread_count = 1
    chosen.codec_context.options = {"err_detect": "crccheck+explode"}  # raise on damage instead of concealing it
    return chosen
