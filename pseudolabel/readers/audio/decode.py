"""Decode audio files with libsndfile, up to the first damage, and resample them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Extent, FilteredSample, Skipped, UnusableSample, decoding_errors, or_skipped
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file

if TYPE_CHECKING:
    import soundfile

MAX_FRAMES = 1 << 40  # frames, more than any file has: stands for an unknown length
MAX_PEAK = 1.5  # full scale is 1: lossy codecs exceed it slightly; clipping larger peaks would lose too much
MIN_HZ = 4000  # Hz, sample rate of a source: speech is not intelligible below it
SEEKABLE_SUBTYPES = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # prefixes of subtypes that seek to an exact frame


# --- libsndfile ------------------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """Facts from the header of an audio file."""

    rate: int  # Hz
    channels: int
    frames: int  # `MAX_FRAMES` if unknown
    exact: bool  # the length is known, and the file can seek to any frame


def _open(extent: Extent) -> tuple[soundfile.SoundFile, FaultRecordingFile]:
    """Open a file at the extent's first frame. The caller closes the `SoundFile` and the file."""
    import soundfile

    file = FaultRecordingFile(open_file(extent.where))
    with ExitStack() as unless_open:
        unless_open.enter_context(file)
        with file.decoding_errors("not audio that libsndfile can read"):
            sound = soundfile.SoundFile(file)
        sound.seekable = lambda: False  # else soundfile seeks after each read, which fails for FLAC of unknown length
        if extent.start:
            with file.decoding_errors(f"cannot seek to frame {extent.start}"):
                sound.seek(extent.start)
        unless_open.pop_all()  # the caller closes the file
    return sound, file


def _seek(sound: soundfile.SoundFile, frame: int) -> None:
    with decoding_errors(f"cannot seek to frame {frame}"):
        sound.seek(frame)


def _decoded(sound: soundfile.SoundFile, file: FaultRecordingFile, count: int) -> tuple[np.ndarray, str]:
    """Return the next `count` frames, (n, channels) float32, and "".

    Return fewer frames at the end of the file. Return fewer frames and the reason if the file is damaged.
    """
    blocks, left, reason = [np.empty((0, sound.channels), np.float32)], count, ""
    while left:
        wanted = min(left, sound.samplerate)  # one second at a time: damage costs one second at most
        block = or_skipped("", partial(_read, sound, wanted))
        if file.fault:
            raise file.fault
        if isinstance(block, Skipped):
            reason = file.damage or block.reason
            break
        blocks.append(block)
        left -= len(block)
        if len(block) < wanted:
            reason = file.damage
            break
    return np.concatenate(blocks), reason


def _read(sound: soundfile.SoundFile, count: int) -> np.ndarray:
    with decoding_errors("libsndfile"):
        return np.asarray(sound.read(count, dtype="float32", always_2d=True))


def _header(path: str) -> Header:
    sound, file = _open(Extent("", path, 0, None, 0))
    with file, sound:
        frames = sound.frames
        exact = sound.subtype.startswith(SEEKABLE_SUBTYPES) and 0 < frames < MAX_FRAMES
        return Header(sound.samplerate, sound.channels, frames if 0 < frames < MAX_FRAMES else MAX_FRAMES, exact)


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
