"""Sound files opened and decoded by libsndfile, as far as they go, and brought to another rate."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Extent, FilteredSample, Skipped, UnusableSample, decoding_errors, or_skipped
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file

if TYPE_CHECKING:
    import soundfile

MAX_FRAMES = 1 << 40  # frames no file has: what is above stands for "not known"
MAX_PEAK = 1.5  # times full scale: lossy codecs go a little above 1; of more, too much would be clipped
MIN_HZ = 4000  # Hz of a source: of less, no word is left
SEEKABLE_SUBTYPES = (
    "PCM",
    "FLOAT",
    "DOUBLE",
    "ULAW",
    "ALAW",
)  # how the subtypes begin in which any frame can be found at once


# --- libsndfile ------------------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """What a header says, and whether a place in the file can be found by counting."""

    rate: int
    channels: int
    frames: int
    exact: bool


def _open(extent: Extent) -> tuple[soundfile.SoundFile, FaultRecordingFile]:
    """Open a file at the extent's first frame."""
    import soundfile

    file = FaultRecordingFile(open_file(extent.where))
    with ExitStack() as unless_open:
        unless_open.enter_context(file)
        with file.decoding_errors("not a sound that libsndfile reads"):
            sound = soundfile.SoundFile(file)
        sound.seekable = lambda: False  # else soundfile seeks after each read, which FLAC without a length cannot bear
        if extent.start:
            with file.decoding_errors(f"has no place {extent.start}"):
                sound.seek(extent.start)
        unless_open.pop_all()  # whoever reads it closes it
    return sound, file


def _seek(sound: soundfile.SoundFile, frame: int) -> None:
    with decoding_errors(f"has no place {frame}"):
        sound.seek(frame)


def _decoded(sound: soundfile.SoundFile, file: FaultRecordingFile, count: int) -> tuple[np.ndarray, str]:
    """The next `count` frames, (n, channels) float32: fewer at the end, or before what cannot be decoded, and why."""
    blocks, left, reason = [np.empty((0, sound.channels), np.float32)], count, ""
    while left:
        wanted = min(left, sound.samplerate)  # by the second, so that one that is broken costs no more
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
    """(n,) float32 at `rate` Hz, full scale 1 -> (m,) int16 at `to` Hz, by soxr's HQ.

    Raise `UnusableSample` if the samples are no sound, and `FilteredSample` if they are silent.
    """
    import soxr

    if rate < MIN_HZ:
        raise UnusableSample(f"recorded at {rate} Hz, too few for speech")
    loudest = float(np.abs(wave).max())
    if not np.isfinite(loudest):
        raise UnusableSample("has samples that are no numbers")
    if loudest > MAX_PEAK:
        raise UnusableSample(f"has samples of {loudest:g}, where 1 is full scale")
    if (wave == wave[0]).all():
        raise FilteredSample("silent: all samples are the same")
    if rate != to:
        wave = soxr.resample(np.ascontiguousarray(wave), rate, to, quality="HQ")
    if not len(wave):
        raise UnusableSample(f"{len(wave)} samples at {to} Hz")
    return np.asarray(np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16))
