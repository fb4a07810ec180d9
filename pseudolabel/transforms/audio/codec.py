"""Codec for stored audio: arrays to FLAC and back."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors


def encode_flac(wave: np.ndarray, rate: int) -> bytes:
    """Encode (n,) int16 as a FLAC file with one channel and 16 bits, without loss."""
    import soundfile

    file = BytesIO()
    soundfile.write(file, wave, rate, "PCM_16", format="FLAC")
    return file.getvalue()


def decode_flac(media: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Decode a value of a media column to (n,) int16 and the rate in Hz. Raise `UnusableSample` if not mono audio."""
    import soundfile

    with decoding_errors("holds audio that cannot be decoded"):
        wave, rate = soundfile.read(BytesIO(media["bytes"]), dtype="int16")
    if wave.ndim != 1:
        raise UnusableSample(f"holds audio with {wave.shape[1]} channels instead of 1")
    return wave, rate
