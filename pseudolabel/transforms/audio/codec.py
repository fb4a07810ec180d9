"""Encoded sound: FLAC to and from arrays."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors


def encode_flac(wave: np.ndarray, rate: int) -> bytes:
    """(n,) int16 -> the bytes of a FLAC of one channel and 16 bits: nothing is lost."""
    import soundfile

    file = BytesIO()
    soundfile.write(file, wave, rate, "PCM_16", format="FLAC")
    return file.getvalue()


def decode_flac(media: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """What a media column holds -> (n,) int16 and its rate.

    Raises `UnusableSample` where it is no sound of one channel.
    """
    import soundfile

    with decoding_errors("holds a sound that cannot be decoded"):
        wave, rate = soundfile.read(BytesIO(media["bytes"]), dtype="int16")
    if wave.ndim != 1:
        raise UnusableSample(f"holds a sound of {wave.shape[1]} channels")
    return wave, rate
