"""Decode audio files with libsndfile, or else with libav, and resample them."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from pseudolabel.contracts import FilteredSample, Skipped, UnusableSample, decoding_errors, or_skipped
from pseudolabel.readers.audio.flac import FLAC_HEAD, WholeSound, decode_whole
from pseudolabel.readers.audio.libav import LibavSound
from pseudolabel.readers.audio.packets import MAX_FRAMES, is_continuous
from pseudolabel.readers.sources.file_ends import left_over
from pseudolabel.readers.sources.formats import LIBAV_AUDIO
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file

MAX_PEAK = 1.5  # full scale is 1: lossy codecs exceed it slightly; clipping larger peaks would lose too much
MIN_MIX = 0.1  # energy of the sum of channels / sum of their energies: 1 if independent, 0.5 to 2 in stereo recordings
MIN_LOUD = 0.1  # energy of a second / mean energy of the utterance; below it, a second is a pause and is not checked
STEADY = 0.05  # seconds of an interval; sounds below two intervals are not checked: channels may cancel by chance
MIN_HZ = 4000  # Hz, sample rate of a source: speech is not intelligible below it
# first bytes of the formats that libav decodes; FLAC too, as libav detects lost frames (`decode_whole`: if short)
LIBAV_HEAD = re.compile(rb"fLaC|....ftyp|\x1aE\xdf\xa3|0&\xb2u|\x0bw|\xff[\xf0\xf1\xf8\xf9]", re.DOTALL)
SEEKABLE_SUBTYPES = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # prefixes of subtypes that seek to an exact frame


# --- files ------------------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """Facts from the header of an audio file."""

    rate: int  # Hz
    channels: int
    frames: int  # `MAX_FRAMES` if unknown
    exact: bool  # the length is known, and the file can seek to any frame


class Sound(Protocol):
    """An open audio file, read from one frame on."""

    rate: int  # Hz
    channels: int

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """Return the next `count` frames, (n, channels) float32, and "".

        Return fewer frames at the end of the file. Return fewer frames and the reason if the file is damaged.
        """
        ...

    def resume(self, frame: int) -> int | None:
        """Continue after a fault, at `frame` or where sound goes on. Return that frame; None if no sound is left."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class SndfileSound:
    """Audio of one open file, by libsndfile."""

    def __init__(self, file: FaultRecordingFile, start: int) -> None:
        import soundfile

        with file.decoding_errors("not audio that libsndfile can read"):
            self._sound = soundfile.SoundFile(file)
        self._sound.seekable = lambda: False  # else soundfile seeks after each read: fails for FLAC of unknown length
        if start:
            with file.decoding_errors(f"cannot seek to frame {start}"):
                self._sound.seek(start)
        self.rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self._file = file

    @property
    def frames(self) -> int:
        """Return the length in the header; `MAX_FRAMES` if unknown."""
        return min(int(self._sound.frames), MAX_FRAMES)

    def header(self) -> Header:
        """Return the facts of the header."""
        exact = self._sound.subtype.startswith(SEEKABLE_SUBTYPES) and self.frames < MAX_FRAMES
        return Header(self.rate, self.channels, self.frames or MAX_FRAMES, exact and self._sound.format != "FLAC")

    def has_all(self, where: str) -> bool:
        """Return whether libsndfile reads all of the sound in the file, and detects missing sound.

        libsndfile reads nothing if the header says a length of 0, reads only the first of joined streams, estimates the
        length of an MP3 without a header, skips lost pages of Ogg and lost frames of FLAC, and stops after damage.
        """
        if self._sound.format not in ("MP3", "OGG"):
            return self.frames > 0 and self._sound.format != "FLAC"
        return is_continuous(where, self.frames / self.rate)

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """See `Sound.read`."""
        blocks, left = [np.empty((0, self.channels), np.float32)], count
        while left:
            wanted = min(left, self.rate)  # one second at a time: damage costs one second at most
            block = or_skipped(partial(self._decode, wanted))
            if self._file.fault:
                raise self._file.fault
            if isinstance(block, Skipped):
                return np.concatenate(blocks), f"does not decode from here on: {self._file.damage or block.reason}"
            blocks.append(block)
            left -= len(block)
            if len(block) < wanted:
                damage = self._file.damage
                return np.concatenate(blocks), f"does not decode from here on: {damage}" if damage else self._rest()
        return np.concatenate(blocks), ""

    def resume(self, frame: int) -> int | None:
        """See `Sound.resume`."""
        sought = frame < self._sound.frames and or_skipped(partial(self._seek, frame))
        return frame if sought is None else None

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        self._file.__exit__()

    def _rest(self) -> str:
        """Return what follows the sound and is not read; "" if nothing does."""
        here = self._file.tell()
        return left_over(self._file) if here < self._file.seek(0, os.SEEK_END) else ""

    def _seek(self, frame: int) -> None:
        with decoding_errors(f"cannot seek to frame {frame}"):
            self._sound.seek(frame)

    def _decode(self, count: int) -> np.ndarray:
        with decoding_errors("libsndfile"):
            return np.asarray(self._sound.read(count, dtype="float32", always_2d=True))


def open_sound(where: str, start: int = 0) -> Sound:
    """Open a file at a frame: by libsndfile if that reads all of it, else by libav."""
    sound = _open(where, start)
    if isinstance(sound, SndfileSound) and not sound.has_all(where):
        other = or_skipped(partial(LibavSound, where, start))
        if isinstance(other, LibavSound):
            sound.close()
            return other
    return sound


def _open(where: str, start: int = 0) -> SndfileSound | LibavSound | WholeSound:
    """Open a file by libsndfile if that knows its format, else by libav. Decode a short FLAC as a whole."""
    file = FaultRecordingFile(open_file(where))
    with ExitStack() as unless_open:
        unless_open.enter_context(file)
        head = file.read(16)
        file.check()
        if head.startswith(FLAC_HEAD) and not start and (whole := decode_whole(file)):
            return whole
        if where.lower().endswith(LIBAV_AUDIO) or LIBAV_HEAD.match(head):
            return LibavSound(where, start)
        file.seek(0)
        sound = or_skipped(partial(SndfileSound, file, start))
        if isinstance(sound, Skipped):
            other = or_skipped(partial(LibavSound, where, start))
            if isinstance(other, Skipped):
                raise UnusableSample(sound.reason)
            return other
        unless_open.pop_all()  # the caller closes the file
    return sound


def read_header(where: str) -> Header:
    """Return the header of a file."""
    with closing(_open(where)) as sound:
        return (
            sound.header() if isinstance(sound, SndfileSound) else Header(sound.rate, sound.channels, *sound.length())
        )


def mix_channels(block: np.ndarray, rate: int) -> np.ndarray:
    """(n, channels) float32 -> (n,) float32: the mean. Raise `FilteredSample` if the channels cancel each other, in
    the whole block or in one second.

    The sum of independent channels has the sum of their energies. If one of two equal channels is inverted, their sum
    is only the noise in which they differ. Energy is the variance within each `STEADY` seconds, because neither an
    offset nor its slow change is heard.
    """
    size = round(STEADY * rate)
    if block.shape[1] > 1 and len(block) >= 2 * size:
        steady = block[: len(block) // size * size].reshape(-1, size, block.shape[1])
        with np.errstate(all="ignore"):  # NaN and infinite samples are refused later
            energy = np.stack([steady.var(1, dtype=np.float64).sum(1), steady.sum(2).var(1, dtype=np.float64)], 1)
            seconds = np.array_split(energy, max(1, round(len(energy) * STEADY)))
            own, mixed = np.array([part.mean(0) for part in (energy, *seconds)]).T
            cancel = np.flatnonzero((mixed < MIN_MIX * own) & (own >= MIN_LOUD * own[0]))
        if len(cancel) and (block != block[0]).any():
            where = f" from {cancel[0] - 1} s on" if cancel[0] else ""
            share = f"their sum has {mixed[cancel[0]] / own[cancel[0]]:.2g} of their energy"
            raise FilteredSample(f"the channels cancel each other{where}: {share}; choose one with --channels")
    return np.asarray(block.mean(1)) if block.shape[1] > 1 else block[:, 0]


def resample_to_int16(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(n,) float32 at `rate` Hz, full scale 1 -> (m,) int16 at `to` Hz, by soxr at its quality HQ.

    Raise `UnusableSample` for a low rate, NaN, large peaks or no samples at `to` Hz, `FilteredSample` for silence.
    """
    import soxr

    if rate < MIN_HZ:
        raise UnusableSample(f"the sample rate of {rate} Hz is too low for speech")
    low, high = float(wave.min()), float(wave.max())  # NaN if a sample is NaN
    if not np.isfinite(high - low):
        raise UnusableSample("has samples that are NaN or infinite")
    if (loudest := max(-low, high)) > MAX_PEAK:
        raise UnusableSample(f"has samples of {loudest:g}, but full scale is 1")
    if low == high:
        raise FilteredSample("silent: all samples are the same")
    if rate != to:
        wave = soxr.resample(np.ascontiguousarray(wave), rate, to, quality="HQ")
    if not len(wave):
        raise UnusableSample(f"too short: {len(wave)} samples at {to} Hz")
    scaled = wave * np.float32(32768)
    return np.asarray(np.rint(scaled, out=scaled).clip(-32768, 32767, out=scaled).astype(np.int16))
