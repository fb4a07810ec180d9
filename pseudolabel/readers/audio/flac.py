"""FLAC: decode a short file as a whole with libsndfile, and prove by its checksum that all of the sound is there."""

from __future__ import annotations

import os
from hashlib import md5
from io import BytesIO

import numpy as np

from pseudolabel.contracts import Skipped, UnusableSample, decoding_errors, or_skipped
from pseudolabel.readers.sources.opening import FaultRecordingFile

FLAC_HEAD = b"fLaC"
STREAMINFO = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")  # header of the first block: not the last one, or the last
FRAME_HEADS = (b"\xff\xf8", b"\xff\xf9")
RATES = (88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # Hz, by code from 1
FRAME_RATES = dict(enumerate(RATES, 1))  # code in the header of a frame -> Hz; 0 and 12 to 14: not in the code
MAX_WHOLE_BYTES = 1 << 24  # of a file
MAX_WHOLE_VALUES = 1 << 23  # frames x channels: 9 minutes of mono at 16 kHz, 32 MB as float32


class WholeSound:
    """Audio of a file that is decoded: the `Sound` of (n, channels) float32. `encoded`: the file without metadata."""

    def __init__(self, wave: np.ndarray, rate: int, encoded: bytes) -> None:
        self.rate, self.channels, self._left, self.encoded = rate, wave.shape[1], wave, encoded
        self.frames = len(wave)

    def length(self) -> tuple[int, bool]:
        """Return the number of frames, and that seeks are exact."""
        return self.frames, True

    def read(self, count: int) -> tuple[np.ndarray, str]:
        """See `Sound.read`."""
        block, self._left = self._left[:count], self._left[count:]
        return block, ""

    def resume(self, frame: int) -> int | None:
        """See `Sound.resume`. There are no faults."""
        return None

    def close(self) -> None:
        """Free the memory."""
        self._left = self._left[:0]


def streaminfo(flac: bytes) -> tuple[int, int, int, int]:
    """Return (Hz, channels, bits, frames) from the first 42 bytes of a FLAC (RFC 9639, 8.2); zeros for other data."""
    if not flac.startswith(FLAC_HEAD) or len(flac) < 42:
        return 0, 0, 0, 0
    facts = int.from_bytes(flac[18:26], "big")  # Hz (20 bits), channels - 1 (3), bits - 1 (5), frames (36)
    return facts >> 44, (facts >> 41 & 7) + 1, (facts >> 36 & 31) + 1, facts & (1 << 36) - 1


def decode_whole(file: FaultRecordingFile) -> WholeSound | None:
    """Return the sound of a short FLAC of 16 bits; None if its header does not prove that all of it is there.

    libsndfile takes half of libav's time, but joins the sound on both sides of lost frames, and stops at the length in
    the header. So the length is hidden from it, and it decodes up to the end of the file. All is there, and nothing
    more, if the number of frames and the MD5 of the samples are those of the header (RFC 9639, section 8.2).
    Raise `UnusableSample` if header and first frame have different sample rates, which the MD5 does not cover.
    """
    import soundfile

    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(42)
    rate, channels, bits, frames = streaminfo(head)
    if (
        head[4:8] not in STREAMINFO
        or bits != 16
        or not 0 < frames * channels <= MAX_WHOLE_VALUES
        or size > MAX_WHOLE_BYTES
    ):
        return None
    rest = file.read()
    if file.fault:
        raise file.fault
    frame = _skip_metadata(head, rest)[:3]
    if frame[:2] in FRAME_HEADS and FRAME_RATES.get(frame[2] & 15, rate) != rate:
        raise UnusableSample(f"the header has {rate} Hz, the first frame {FRAME_RATES[frame[2] & 15]} Hz")
    hidden = head[:21] + bytes((head[21] & 0xF0, 0, 0, 0, 0)) + head[26:] + rest

    def decode() -> tuple[np.ndarray, int]:
        with decoding_errors("libsndfile"), soundfile.SoundFile(BytesIO(hidden)) as sound:
            sound.seekable = lambda: False  # else soundfile seeks after each read: fails for FLAC of unknown length
            return sound.read(frames + 1, dtype="int16", always_2d=True), sound.samplerate

    decoded = or_skipped(decode)
    if isinstance(decoded, Skipped) or len(decoded[0]) != frames or md5(decoded[0].data).digest() != head[26:42]:
        return None
    return WholeSound(decoded[0] * np.float32(1 / 32768), decoded[1], _without_metadata(head, rest))


def _without_metadata(head: bytes, rest: bytes) -> bytes:
    """Return a FLAC without tags, pictures and seek points. b"" if these or the sizes of blocks are broken."""
    least, most = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")  # samples; the least of all: 16
    frames = _skip_metadata(head, rest)
    return FLAC_HEAD + b"\x80" + head[5:] + frames if 16 <= least <= most and frames[:2] in FRAME_HEADS else b""


def _skip_metadata(head: bytes, rest: bytes) -> bytes:
    """Return the frames, which follow STREAMINFO and the other blocks of metadata."""
    last, at = head[4] >> 7, 0
    while not last and at + 4 <= len(rest):
        last, at = rest[at] >> 7, at + 4 + int.from_bytes(rest[at + 1 : at + 4], "big")
    return rest[at:]
