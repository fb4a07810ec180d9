"""Reader of audio: cut files into utterances, (n,) int16 at one sample rate. No file is held in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Extent, Options, Sample, Skipped, Split, UnusableSample, UserError, or_skipped
from pseudolabel.readers.audio.decode import Header, mix_channels, open_sound, read_header, resample_to_int16
from pseudolabel.readers.audio.flac import WholeSound
from pseudolabel.readers.audio.packets import MAX_FRAMES
from pseudolabel.readers.sources import formats

EXTENT_BYTES = 16 << 20  # bytes of an extent, about: larger files are shared among workers
MAX_UTTERANCE_VALUES = 2**25  # frames x channels of an utterance: a bad header may claim 1024 channels or any rate
CHANNELS_HELP = "Channels to use: mix averages them, split makes a sample of each, N takes the N-th (from 1)."


@dataclass(frozen=True)
class AudioOptions(Options):
    """Options for reading audio."""

    seconds: Annotated[float, Option(min=0.1, max=120, help="Length of the utterances that files are cut into.")] = 15.0
    min_seconds: Annotated[float, Option(min=0, help="Skip shorter utterances, such as the last of a file.")] = 1.0
    rate: Annotated[int, Option(min=1000, max=192_000, help="Sample rate in Hz of the stored audio.")] = 16_000
    channels: Annotated[str, Option(help=CHANNELS_HELP)] = "mix"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in ("mix", "split") and not (self.channels.isdecimal() and int(self.channels)):
            raise UserError(f"--channels {self.channels!r} is not valid; type mix, split, or a number from 1")
        if self.min_seconds > self.seconds:
            raise UserError(f"--min-seconds {self.min_seconds:g} above --seconds {self.seconds:g}; lower --min-seconds")


class Utterance(NamedTuple):
    """Part of one channel, as it is stored."""

    key: str
    wave: np.ndarray  # (n,) int16
    rate: int  # Hz
    heard: float  # Hz, sample rate of the source: the wave has no frequency above half of it
    encoded: bytes = b""  # the FLAC that the source is, if it holds exactly this wave


class AudioReader:
    """Reader of audio. It uses all sound that decodes, even if the header says less or more."""

    suffixes: frozenset[str] = formats.AUDIO

    def __init__(self, options: AudioOptions) -> None:
        self.options = options

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]:
        """Yield a small file as one extent, unopened. Yield a large seekable file in pieces of whole utterances."""
        whole = Extent(key, path, 0, None, size)
        about = or_skipped(partial(read_header, path), key) if size > EXTENT_BYTES else None
        if not isinstance(about, Header) or not about.exact:
            yield whole
            return
        length = self._length(about.rate)
        step = length * max(1, round(EXTENT_BYTES / size * about.frames / length))
        for start in range(0, about.frames, step):
            stop = None if start + step >= about.frames else start + step  # the last one reads to the real end
            share = min(step, about.frames - start) / about.frames
            yield Extent(f"{key}#{start}-{stop or about.frames}", path, start, stop, round(size * share))

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Return the extent cut after `count` samples, and the number of samples in it, both by the header.

        Channels of one utterance stay together. If the length is unknown, cut after one utterance. Always cut: a file
        may be longer than its header says.
        """
        about = or_skipped(partial(read_header, extent.where), extent.key)
        if isinstance(about, Skipped):
            return extent, 1
        length, each = self._length(about.rate), about.channels if self.options.channels == "split" else 1
        frames = (about.frames if extent.stop is None else extent.stop) - extent.start
        utterances = min(-(-frames // length), -(-count // each)) if about.frames < MAX_FRAMES else 1
        stop = extent.start + utterances * length
        cut = extent.stop if extent.stop is not None and stop >= extent.stop else stop
        return extent._replace(stop=cut), max(1, utterances * each)

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Decode the utterances of the split, one at a time."""
        for extent in extents:
            if split.holds(extent.file):
                yield from self._utterances(extent)

    def _length(self, rate: int) -> int:
        """Return the frames of an utterance."""
        return max(1, round(self.options.seconds * rate))

    def _utterances(self, extent: Extent) -> Iterator[Sample | Skipped]:
        sound = or_skipped(partial(open_sound, extent.where, extent.start), extent.key)
        if isinstance(sound, Skipped):
            yield sound
            return
        with closing(sound):
            at, length = extent.start, self._length(sound.rate)
            whole = sound if isinstance(sound, WholeSound) else None
            if length * sound.channels > MAX_UTTERANCE_VALUES:
                long = f"{self.options.seconds:g} s of {sound.channels} channels at {sound.rate} Hz"
                yield Skipped(extent.key, f"{long} are too long; give less --seconds if the header is right")
                return
            while extent.stop is None or at < extent.stop:
                wanted = length if extent.stop is None else min(length, extent.stop - at)
                block, fault = sound.read(wanted)
                if len(block):
                    encoded = whole.encoded if whole and block.shape == (whole.frames, 1) else b""
                    yield from self._samples(extent.file, at, block, sound.rate, encoded)
                at += len(block)
                if fault:
                    following = sound.resume(at + wanted - len(block))  # the next utterance
                    yield Skipped(f"{extent.file}#{at}-{'' if following is None else following}", fault)
                    if following is None:
                        return
                    at = following
                elif len(block) < wanted:
                    break
            if at == extent.start:
                there = "no audio in the file" if not extent.start else "the file is shorter than its header says"
                yield Skipped(extent.key, there)

    def _samples(self, file: str, at: int, block: np.ndarray, rate: int, encoded: bytes) -> Iterator[Sample | Skipped]:
        """Convert (n, channels) float32 to one sample, or to one sample per channel. `encoded`: its FLAC, or b""."""
        key, chosen = f"{file}#{at}-{at + len(block)}", self.options.channels
        if len(block) < self.options.min_seconds * rate:
            reason = f"{len(block) / rate:.2f} s, below --min-seconds {self.options.min_seconds:g}"
            yield Skipped(key, reason, unusable=False, count=block.shape[1] if chosen == "split" else 1)
        elif chosen == "mix":
            yield or_skipped(lambda: Sample(key, self._utterance(key, mix_channels(block, rate), rate, encoded)), key)
        else:
            for number in range(1, block.shape[1] + 1) if chosen == "split" else (int(chosen),):
                name = f"{key}@{number}"
                yield or_skipped(partial(self._channel, name, block, number, rate), name)

    def _channel(self, key: str, block: np.ndarray, number: int, rate: int) -> Sample:
        if number > block.shape[1]:
            raise UnusableSample(f"has {block.shape[1]} channels, --channels is {number}")
        return Sample(key, self._utterance(key, block[:, number - 1], rate))

    def _utterance(self, key: str, wave: np.ndarray, rate: int, encoded: bytes = b"") -> Utterance:
        """Convert (n,) float32, full scale 1, to int16 at `--rate`."""
        return Utterance(
            key,
            resample_to_int16(wave, rate, self.options.rate),
            self.options.rate,
            rate,
            encoded if rate == self.options.rate else b"",
        )
