"""Sound files opened and decoded by libsndfile, as far as they go."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Extent, Skipped, decoding_errors, or_skipped
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file

if TYPE_CHECKING:
    import soundfile

SANE = 1 << 40  # frames no file has: what is above stands for "not known"
EXACT = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # how the subtypes begin in which any frame can be found at once


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
        exact = sound.subtype.startswith(EXACT) and 0 < frames < SANE
        return Header(sound.samplerate, sound.channels, frames if 0 < frames < SANE else SANE, exact)
