"""Decode audio files with libsndfile, or else with libav, and resample them."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from pseudolabel.contracts import FilteredSample, Skipped, UnusableSample, decoding_errors, or_skipped
from pseudolabel.readers.audio.libav import LibavSound
from pseudolabel.readers.sources.formats import LIBAV_AUDIO
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file

MAX_FRAMES = 1 << 40  # frames, more than any file has: stands for an unknown length
MAX_PEAK = 1.5  # full scale is 1: lossy codecs exceed it slightly; clipping larger peaks would lose too much
MIN_MIX = 0.1  # energy of the sum of channels against theirs: independent ones give 1, stereo recordings 0.5 to 2
MIN_COMPARED = 0.1  # seconds: in shorter sounds channels may cancel by chance
MIN_HZ = 4000  # Hz, sample rate of a source: speech is not intelligible below it
STREAM_FORMATS = ("MP3", "OGG", "FLAC")  # of libsndfile: no header tells where their sound ends in the file
MAX_PADDING = 4096  # frames: delay and padding of a lossy codec, which decoders cut off differently; not a rest
READ_AHEAD = 8192  # bytes that libFLAC reads at once
FLAC_MARK = b"fLaC"
LIBAV_HEAD = re.compile(rb"....ftyp|\x1aE\xdf\xa3|0&\xb2u|\x0bw|\xff[\xf0\xf1\xf8\xf9]", re.DOTALL)  # their first bytes
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
        """Continue after a fault at `frame`, or where sound begins again. Return the place; None at the end."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class SndfileSound:
    """Audio of one open file, by libsndfile; where it stops before the bytes end, the rest is decoded by libav."""

    def __init__(self, file: FaultRecordingFile, where: str, start: int) -> None:
        import soundfile

        with file.decoding_errors("not audio that libsndfile can read"):
            self._sound = soundfile.SoundFile(file)
        self._sound.seekable = lambda: False  # else soundfile seeks after each read: fails for FLAC of unknown length
        if start:
            with file.decoding_errors(f"cannot seek to frame {start}"):
                self._sound.seek(start)
        self.rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self._file, self._where, self._at = file, where, start
        self._rest: LibavSound | None = None  # what follows the end that libsndfile reports

    def header(self) -> Header:
        """Return what the header says."""
        frames = self._sound.frames if 0 < self._sound.frames < MAX_FRAMES else MAX_FRAMES
        exact = self._sound.subtype.startswith(SEEKABLE_SUBTYPES) and frames < MAX_FRAMES
        if exact and self._sound.format == "FLAC":  # a seek in joined ones may lead into another stream
            last = or_skipped("", partial(self._last, frames))
            exact = not isinstance(last, Skipped) and len(last) == 1 and self._bytes_left() <= READ_AHEAD
            self._file.check()
        return Header(self.rate, self.channels, frames, exact)

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """See `Sound.read`."""
        blocks, left, reason = [np.empty((0, self.channels), np.float32)], count, ""
        while left and not reason and not self._rest:
            wanted = min(left, self.rate)  # one second at a time: damage costs one second at most
            if self._sound.format == "FLAC" and self._at < self._sound.frames:
                wanted = min(wanted, self._sound.frames - self._at)  # beyond it libFLAC fails, be there more or not
            block = or_skipped("", partial(self._decode, wanted))
            if self._file.fault:
                raise self._file.fault
            if isinstance(block, Skipped):
                reason = f"does not decode from here on: {self._file.damage or block.reason}"
                break
            blocks.append(block)
            self._at += len(block)
            left -= len(block)
            if len(block) < wanted:
                damage = self._file.damage
                reason = f"does not decode from here on: {damage}" if damage else self._go_on()
                if not self._rest:
                    break
        if self._rest and left:
            block, reason = self._rest.read(left)
            blocks.append(block)
        return np.concatenate(blocks), reason

    def resume(self, frame: int) -> int | None:
        """See `Sound.resume`."""
        if self._rest:
            return self._rest.resume(frame)
        endless = self._sound.format == "OGG" and self._sound.frames >= MAX_FRAMES  # joined: a seek may never return
        if endless or frame >= self._sound.frames or isinstance(or_skipped("", partial(self._seek, frame)), Skipped):
            return None
        self._at = frame
        return frame

    def close(self) -> None:
        """Close the file."""
        self._sound.close()
        self._file.__exit__()
        if self._rest:
            self._rest.close()

    def _seek(self, frame: int) -> None:
        with decoding_errors(f"cannot seek to frame {frame}"):
            self._sound.seek(frame)

    def _last(self, frames: int) -> np.ndarray:
        self._seek(frames - 1)
        return self._decode(1)

    def _decode(self, count: int) -> np.ndarray:
        with decoding_errors("libsndfile"):
            return np.asarray(self._sound.read(count, dtype="float32", always_2d=True))

    def _go_on(self) -> str:
        """Open what follows the end that libsndfile reports, if there is anything. Return the fault, if any.

        libsndfile believes its estimate of the length of an MP3 without a Xing header, believes the count in a FLAC,
        and reads the first of joined streams.
        """
        left = self._bytes_left() if self._sound.format in STREAM_FORMATS else 0
        if not left:
            return ""
        rest = or_skipped("", partial(LibavSound, self._where))
        if isinstance(rest, Skipped):
            return self._unread(left, rest.reason)
        lost = rest.resume(self._at) is None
        held, fault = rest.look(MAX_PADDING + 1)
        if held > MAX_PADDING:
            self._rest = rest
            return ""
        rest.close()
        return self._unread(left, fault, estimate=lost) if fault else ""

    def _unread(self, left: int, fault: str, *, estimate: bool = True) -> str:
        read = self._file.tell()
        about = f"; about {left / read * self._at / self.rate:.1f} s are left, by the bytes" if estimate else ""
        return f"{left:,} bytes are left after the end that libsndfile reports: {fault}{about}"

    def _bytes_left(self) -> int:
        """Return the bytes after the end that libsndfile reports, at least 1 if something may follow unread."""
        at, size = self._file.tell(), self._file.seek(0, os.SEEK_END)
        self._file.seek(max(len(FLAC_MARK), at - READ_AHEAD))
        joined = FLAC_MARK in self._file.read(READ_AHEAD)
        self._file.seek(at)
        self._file.check()
        return max(size - at, int(joined or self._sound.frames >= MAX_FRAMES))


def open_sound(where: str, start: int = 0) -> Sound:
    """Open a file at a frame: by libav if its name or its first bytes are of a format that only libav reads."""
    file = FaultRecordingFile(open_file(where))
    with ExitStack() as unless_open:
        unless_open.enter_context(file)
        head = file.read(16)
        file.check()
        if where.lower().endswith(LIBAV_AUDIO) or LIBAV_HEAD.match(head):
            return LibavSound(where)
        file.seek(0)
        sound = SndfileSound(file, where, start)
        unless_open.pop_all()  # the caller closes the file
    return sound


def read_header(where: str) -> Header:
    """Return the header of a file."""
    with closing(open_sound(where)) as sound:
        return (
            sound.header() if isinstance(sound, SndfileSound) else Header(sound.rate, sound.channels, MAX_FRAMES, False)
        )


def mix_channels(block: np.ndarray, rate: int) -> np.ndarray:
    """(n, channels) float32 -> (n,) float32: the mean. Raise `FilteredSample` if the channels cancel each other.

    Channels that are independent give a sum of as much energy as they have together; with one of two inverted, the sum
    is the noise that differs between them. Energy is that of deviations from the mean: an offset is not heard.
    """
    if block.shape[1] > 1 and len(block) >= MIN_COMPARED * rate:
        with np.errstate(all="ignore"):  # NaN and infinite samples are refused later
            own, mixed = float(block.var(0, dtype=np.float64).sum()), float(block.sum(1).var(dtype=np.float64))
        if mixed < MIN_MIX * own and (block != block[0]).any():
            share = f"their sum has {mixed / own:.2g} of their energy"
            raise FilteredSample(f"the channels cancel each other: {share}; choose one with --channels")
    return np.asarray(block.mean(1))


def resample_to_int16(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(n,) float32 at `rate` Hz, full scale 1 -> (m,) int16 at `to` Hz, by soxr at its quality HQ.

    Raise `UnusableSample` for a low rate, NaN, large peaks or no samples at `to` Hz, `FilteredSample` for silence.
    """
    import soxr

    if rate < MIN_HZ:
        raise UnusableSample(f"the sample rate of {rate} Hz is too low for speech")
    loudest = float(np.abs(wave).max())
    if not np.isfinite(loudest):
        raise UnusableSample("has samples that are NaN or infinite")
    if loudest > MAX_PEAK:
        raise UnusableSample(f"has samples of {loudest:g}, but full scale is 1")
    if (wave == wave[0]).all():
        raise FilteredSample("silent: all samples are the same")
    if rate != to:
        wave = soxr.resample(np.ascontiguousarray(wave), rate, to, quality="HQ")
    if not len(wave):
        raise UnusableSample(f"too short: {len(wave)} samples at {to} Hz")
    return np.asarray(np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16))
