"""Audio features that tasks share, from (n,) int16 mono audio of any rate. Constants in samples are for 16 kHz.

Windows have 25 ms and a hop of 10 ms, and lie completely inside the audio, as in Kaldi by default (snip_edges).
At 16 kHz, window 2t covers the same samples as frame t of the conv encoder of wav2vec 2.0 and HuBERT.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

RATE = 16_000  # Hz
WINDOW, HOP = 400, 160  # samples at RATE: 25 and 10 ms
CONV_STRIDE = 320  # samples between frames of the conv encoder; each frame sees WINDOW samples
MIN_MEL_HZ = 20.0  # Hz; lowest frequency of the mel filters
PREEMPHASIS = 0.97  # share of a sample that is subtracted from the next sample
MIN_ENERGY = 1.1920929e-07  # lower limit of the energy before the logarithm (as Kaldi: float32 epsilon)
LIFTER = 22
CEPSTRA, FILTERS = 13, 23
HANN, POVEY = 1.0, 0.85  # exponents of Hann's window
PARTS = 5  # consecutive parts of the audio; `statistics` has their means in order
STATISTICS = 2 * 3 * CEPSTRA + PARTS * CEPSTRA  # 143 values
FRAMES_AT_ONCE = 128  # frames; their spectra fit into the CPU cache


def frame_count(samples: int, hop: int, window: int = WINDOW) -> int:
    """Return the number of windows in audio with `samples` samples. `HOP` gives Kaldi's frames, `CONV_STRIDE` those of
    the conv encoder. Features of n samples have `frame_count(n, HOP)` rows. Every second row, from the first, belongs
    to a frame of the conv encoder: ceil(frame_count(n, HOP) / 2) == frame_count(n, CONV_STRIDE).
    """
    return max(0, (samples - window) // hop + 1)


def mfcc(wave: np.ndarray, rate: int, ceiling: float) -> np.ndarray:
    """(n,) int16 -> (T, 39) float32: 13 MFCC, their deltas and the deltas of the deltas, 100 frames a second.

    Same as fairseq's examples/hubert/simple_kmeans/dump_mfcc_feature.py for a waveform in [-1, 1):
    torchaudio.compliance.kaldi.mfcc(use_energy=False), then torchaudio.functional.compute_deltas twice. The MFCC
    use Povey's window, 23 mel filters, the natural logarithm, the orthonormal DCT and lifter 22. Kaldi itself does not
    scale int16 samples; its first coefficient is larger by sqrt(23) * 2 * ln(32768), about 100.

    `ceiling` is the highest frequency of the mel filters in Hz, from `filter_ceiling`; fairseq uses `rate` / 2.
    Upsampled audio is silent above half its original rate, so filters above that frequency carry no information.
    """
    static = _log_mel(wave, rate, ceiling, FILTERS, POVEY) @ _cosines()
    once = deltas(static)
    return np.hstack([static, once, deltas(once)])


def log_mel(wave: np.ndarray, rate: int, ceiling: float, bins: int = 80) -> np.ndarray:
    """(n,) int16 -> (T, bins) float32: natural logarithms of mel energies, 100 frames a second, for BEST-RQ.

    As in NeMo (parts/preprocessing/features.py, FilterbankFeatures): a waveform in [-1, 1), pre-emphasis of 0.97, a
    symmetric Hann window of 25 ms with a hop of 10 ms, an FFT of 512, power, 80 filters, the natural logarithm. The
    rest is as in Kaldi, to share the code of `mfcc`: windows inside the audio (NeMo: centred and padded), the mean of
    each frame subtracted (NeMo: not), triangles of height 1 on the mel scale 1127 ln(1 + f / 700) from 20 Hz to
    `ceiling` (NeMo: Slaney's mel scale, equal areas, from 0 Hz), max(energy, 1.19e-7) (NeMo: energy + 2^-24), no dither
    (NeMo: 1e-5). The caller normalises. If `ceiling` is below 3 kHz, some of 80 filters lie between the frequencies of
    the FFT and are constant.
    """
    return _log_mel(wave, rate, ceiling, bins, HANN)


def deltas(features: np.ndarray) -> np.ndarray:
    """(T, D) -> (T, D): the slope at each frame, sum of n (c[t + n] - c[t - n]) over n = 1, 2, divided by 10.

    The first and last frame are repeated at the ends. Same as torchaudio.functional.compute_deltas(win_length=5).
    """
    if not len(features):
        return features
    c = np.pad(features, ((2, 2), (0, 0)), "edge")
    return np.asarray((c[3:-1] - c[1:-3] + 2 * (c[4:] - c[:-4])) / 10)


def stack_frames(features: np.ndarray, count: int) -> np.ndarray:
    """(T, D) -> (T // count, count * D): join each `count` consecutive frames; drop the remainder at the end."""
    rows = len(features) // count
    return features[: rows * count].reshape(rows, count * features.shape[1])


def filter_ceiling(rate: int, heard: float) -> float:
    """Return the highest frequency of the mel filters in Hz: half the lower of `rate` and the original rate `heard`."""
    return min(rate, heard) / 2


def statistics(features: np.ndarray) -> np.ndarray:
    """(T, 39) of `mfcc`, T >= 1 -> (143,): mean, standard deviation, and the means of five consecutive parts.

    The means of parts use the 13 MFCC only, minus their overall mean. They show how the audio changes, not loudness.
    """
    static = features[:, :CEPSTRA] - features[:, :CEPSTRA].mean(0)
    bounds = np.linspace(0, len(features), PARTS + 1).astype(int)
    parts = [static[min(a, len(static) - 1) : max(b, a + 1)].mean(0) for a, b in pairwise(bounds)]
    return np.concatenate([features.mean(0), features.std(0), *parts])


def _log_mel(wave: np.ndarray, rate: int, ceiling: float, bins: int, power: float) -> np.ndarray:
    """(n,) int16 -> (T, bins) float32, as Kaldi's src/feat (feature-window.cc, feature-fbank.cc, mel-computations.cc).

    Kaldi subtracts the mean m of each frame, then pre-emphasises the frame. This code pre-emphasises the waveform and
    subtracts 0.03 m. Only the first sample of a frame differs, and the window multiplies the first sample by 0.
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
        x[1:] -= PREEMPHASIS * x[:-1]  # `cut` is a view of `x` and changes too
        block = padded[: len(rows)]
        np.subtract(cut, means, out=block[:, :size])
        block[:, :size] *= window
        spectrum = rfft(block, workers=1)
        np.matmul(spectrum.real**2 + spectrum.imag**2, bank, out=rows)
    return np.asarray(np.log(np.maximum(out, MIN_ENERGY, out=out), out=out))


def _fft(size: int) -> int:
    """Return the FFT length: the power of two to which a window of `size` samples is padded."""
    return 1 << (size - 1).bit_length()


@lru_cache
def _window(size: int, power: float) -> np.ndarray:
    """Return (size,) float32: Hann's window, 0 at both ends, raised to `power`."""
    return (np.hanning(size) ** power).astype(np.float32)


@lru_cache
def _bank(rate: int, size: int, bins: int, ceiling: float) -> np.ndarray:
    """Return (F, bins) float32: the weights of the F frequencies of a spectrum in the mel filters.

    Triangles on the mel scale from `MIN_MEL_HZ` to `ceiling` Hz; each starts and ends at its neighbours' centres.
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
    """Return (FILTERS, CEPSTRA) float32: the orthonormal DCT, multiplied by the lifter."""
    k, n = np.arange(CEPSTRA), np.arange(FILTERS)[:, None]
    cosines = np.sqrt(2 / FILTERS) * np.cos(np.pi / FILTERS * (n + 0.5) * k)
    cosines[:, 0] = np.sqrt(1 / FILTERS)
    return np.asarray(cosines * (1 + LIFTER / 2 * np.sin(np.pi * k / LIFTER)), np.float32)
