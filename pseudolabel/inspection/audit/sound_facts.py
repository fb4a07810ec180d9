"""Facts of a sound that need no understanding of what is said."""

from __future__ import annotations

import numpy as np

BANDS = 16  # of equal width, from 0 Hz to half the rate
TINY = 1e-9  # added before a logarithm


def sound_facts(wave: np.ndarray, rate: int, encoded: bytes | None) -> dict[str, np.ndarray]:
    """(n,) samples, the rate in Hz, and the bytes of the file if there was one -> facts by kind, vectors of numbers."""
    wave = np.asarray(wave, np.float64)
    end = max(1, len(wave) // 20)
    levels = np.log([rms(part) + TINY for part in (wave, wave[:end], wave[-end:])])
    power = np.abs(np.fft.rfft(wave)) ** 2 if len(wave) else np.zeros(1)
    bands = np.log([part.mean() + TINY if len(part) else TINY for part in np.array_split(power, BANDS)])
    found = {
        "length": np.array([len(wave) / rate, rate]),
        "loudness": np.array([*levels, np.abs(wave).max(initial=0), wave.mean() if len(wave) else 0.0]),
        "spectrum": bands - bands.mean(),
    }
    return found if encoded is None else {"file size": np.array([np.log(max(1, len(encoded)))]), **found}


def rms(wave: np.ndarray) -> float:
    """Return the root of the mean square, 0 for no samples."""
    return float(np.sqrt(np.mean(wave**2))) if len(wave) else 0.0
