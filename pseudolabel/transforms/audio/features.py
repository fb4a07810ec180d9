"""Sound as arrays: (n,) int16 at 16 kHz, one channel, and the features of it that tasks share.

Windows are of 25 ms, each 10 ms after the last, and lie wholly in the sound, as Kaldi's do by default (snip_edges).
At 16 kHz the window 2t covers the very samples that frame t of the conv encoder of wav2vec 2.0 and HuBERT sees.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

RATE = 16_000  # samples a second
WINDOW, HOP = 400, 160  # samples at that rate: 25 and 10 ms
CONV_STRIDE = 320  # samples from frame to frame of the conv encoder, which sees WINDOW of them
MIN_MEL_HZ = 20.0  # Hz: lowest of the mel filters
PREEMPHASIS = 0.97  # of a sample is taken from the next
MIN_ENERGY = 1.1920929e-07  # energy: below it no logarithm is taken (Kaldi's: the epsilon of float32)
LIFTER = 22
CEPSTRA, FILTERS = 13, 23
HANN, POVEY = 1.0, 0.85  # the power of Hann's window that a window is
PARTS = 5  # of a sound, whose order `statistics` tells
STATISTICS = 2 * 3 * CEPSTRA + PARTS * CEPSTRA  # 143 numbers
FRAMES_AT_ONCE = 128  # frames: their spectra stay in the cache


def frame_count(samples: int, hop: int, window: int = WINDOW) -> int:
    """How many windows lie in so many samples: by `HOP`, Kaldi's frames; by `CONV_STRIDE`, the conv encoder's.

    The rows of a feature are `frame_count(n, HOP)`; each second one, from the first, is the conv encoder's:
    ceil(frames(n, HOP) / 2) == frames(n, CONV_STRIDE).
    """
    return max(0, (samples - window) // hop + 1)


def mfcc(wave: np.ndarray, rate: int, ceiling: float) -> np.ndarray:
    """(n,) int16 -> (T, 39) float32: 13 MFCC, their deltas, and the deltas of those, 100 a second.

    What fairseq's examples/hubert/simple_kmeans/dump_mfcc_feature.py makes of a wave in [-1, 1):
    torchaudio.compliance.kaldi.mfcc(use_energy=False), and torchaudio.functional.compute_deltas twice. Povey's window,
    23 mel filters, the natural logarithm, the orthonormal DCT, liftered by 22. Kaldi itself takes int16 for numbers as
    they are, by which the first coefficient is larger by sqrt(23) * 2 * ln(32768), about 100.

    `filter_ceiling` is the highest frequency of the mel filters, in Hz: `rate` / 2 there. Above the half of the rate
    that a sound was recorded at there is only silence, and filters set there would tell nothing but that.
    """
    static = _log_mel(wave, rate, ceiling, FILTERS, POVEY) @ _cosines()
    once = deltas(static)
    return np.hstack([static, once, deltas(once)])


def log_mel(wave: np.ndarray, rate: int, ceiling: float, bins: int = 80) -> np.ndarray:
    """(n,) int16 -> (T, `bins`) float32: natural logarithms of mel energies, 100 a second, for BEST-RQ.

    As NeMo has it for that (parts/preprocessing/features.py, FilterbankFeatures): a wave in [-1, 1), pre-emphasis of
    0.97, Hann's window (symmetric) of 25 ms by 10 ms, an FFT of 512, power, 80 filters, the natural logarithm.
    As Kaldi has it, so that all is shared with `mfcc`: windows lie in the sound (NeMo's are centred, and pad it), each
    frame loses its mean (NeMo: none does), triangles of height 1 in mel, 1127 ln(1 + f / 700), from 20 Hz to
    `filter_ceiling` (NeMo: Slaney's mel and equal areas, from 0 Hz), max(energy, 1.19e-7) (NeMo: energy + 2^-24). No
    dither (NeMo: 1e-5), and not normalised: that is the caller's. Where `filter_ceiling` is below 3 kHz, some of 80
    filters fall between the frequencies of the FFT, and are constant.
    """
    return _log_mel(wave, rate, ceiling, bins, HANN)


def deltas(features: np.ndarray) -> np.ndarray:
    """(T, D) -> (T, D): the slope at each frame, sum of n (c[t + n] - c[t - n]) over n = 1, 2, by 10.

    Beyond its ends the first and the last frame go on. torchaudio.functional.compute_deltas of win_length 5.
    """
    if not len(features):
        return features
    c = np.pad(features, ((2, 2), (0, 0)), "edge")
    return np.asarray((c[3:-1] - c[1:-3] + 2 * (c[4:] - c[:-4])) / 10)


def stack_frames(features: np.ndarray, count: int) -> np.ndarray:
    """(T, D) -> (T // count, count * D): so many consecutive frames side by side; the rest at the end is dropped."""
    rows = len(features) // count
    return features[: rows * count].reshape(rows, count * features.shape[1])


def filter_ceiling(rate: int, heard: float) -> float:
    """Highest Hz of the mel filters for a sound at `rate`, recorded at `heard`: half of the lower one."""
    return min(rate, heard) / 2


def statistics(features: np.ndarray) -> np.ndarray:
    """(T, 39) of `mfcc`, T of 1 or more -> (143,): mean and deviation, and the means of five parts in order.

    The parts are of the 13 MFCC alone, without the mean of the whole: how the sound goes, be it loud or not.
    """
    static = features[:, :CEPSTRA] - features[:, :CEPSTRA].mean(0)
    bounds = np.linspace(0, len(features), PARTS + 1).astype(int)
    parts = [static[min(a, len(static) - 1) : max(b, a + 1)].mean(0) for a, b in pairwise(bounds)]
    return np.concatenate([features.mean(0), features.std(0), *parts])


def _log_mel(wave: np.ndarray, rate: int, ceiling: float, bins: int, power: float) -> np.ndarray:
    """(n,) int16 -> (T, bins) float32, as Kaldi's src/feat (feature-window.cc, feature-fbank.cc, mel-computations.cc).

    There each frame loses its mean, m, and is then pre-emphasised. Here the wave is, and each frame loses 0.03 m:
    the same but for the frame's first sample, and that one the window makes 0.
    """
    from scipy.fft import rfft

    size, hop = WINDOW * rate // RATE, HOP * rate // RATE
    out = np.empty((frame_count(len(wave), hop, size), bins), np.float32)
    window, bank = _window(size, power), _bank(rate, size, bins, ceiling)
    padded = np.zeros((FRAMES_AT_ONCE, _fft(size)), np.float32)
    for i in range(0, len(out), FRAMES_AT_ONCE):
        rows = out[i : i + FRAMES_AT_ONCE]
        x = wave[i * hop : (i + len(rows) - 1) * hop + size].astype(np.float32) / 32768
        cut = sliding_window_view(x, size)[::hop]
        means = (1 - PREEMPHASIS) * cut.mean(1, keepdims=True)
        x[1:] -= PREEMPHASIS * x[:-1]  # and so `cut`
        block = padded[: len(rows)]
        np.subtract(cut, means, out=block[:, :size])
        block[:, :size] *= window
        spectrum = rfft(block, workers=1)
        np.matmul(spectrum.real**2 + spectrum.imag**2, bank, out=rows)
    return np.asarray(np.log(np.maximum(out, MIN_ENERGY, out=out), out=out))


def _fft(size: int) -> int:
    """The power of two that a window of so many samples is padded to."""
    return 1 << (size - 1).bit_length()


@lru_cache
def _window(size: int, power: float) -> np.ndarray:
    """(size,) float32: Hann's window, 0 at both ends, to this power."""
    return (np.hanning(size) ** power).astype(np.float32)


@lru_cache
def _bank(rate: int, size: int, bins: int, ceiling: float) -> np.ndarray:
    """(F, bins) float32: the weight of each of the F frequencies of a spectrum in each of the mel filters.

    Triangles in mel from `FLOOR` to `filter_ceiling` Hz, each from the middle of the one before to the middle of the
    next.
    """

    def mel(hertz: np.ndarray) -> np.ndarray:
        return np.asarray(1127 * np.log1p(hertz / 700))

    low, high = mel(np.array([MIN_MEL_HZ, ceiling]))
    corners = np.linspace(low, high, bins + 2)
    at = mel(np.fft.rfftfreq(_fft(size), 1 / rate))[:, None]
    step = corners[1] - corners[0]
    return np.asarray(np.maximum(0, 1 - np.abs(at - corners[1:-1]) / step), np.float32)


@lru_cache
def _cosines() -> np.ndarray:
    """(FILTERS, CEPSTRA) float32: the orthonormal DCT, its cepstra liftered."""
    k, n = np.arange(CEPSTRA), np.arange(FILTERS)[:, None]
    cosines = np.sqrt(2 / FILTERS) * np.cos(np.pi / FILTERS * (n + 0.5) * k)
    cosines[:, 0] = np.sqrt(1 / FILTERS)
    return np.asarray(cosines * (1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER)), np.float32)
