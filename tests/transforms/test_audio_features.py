"""Features of sound: against Kaldi's C++ (kaldi_native_fbank), a loop over frames, and sums done by hand."""

from __future__ import annotations

from io import BytesIO
from math import ceil, log, sqrt

import kaldi_native_fbank as kaldi
import numpy as np
import pytest
import soundfile

from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.audio.features import CONV_STRIDE, HOP, WINDOW, frame_count

Sounds = list[tuple[np.ndarray, int]]  # each (n,) int16, and its rate


def sweep(samples: int = 50_000, rate: int = 16_000) -> np.ndarray:
    """A loud tone that rises through the band, quiet noise, and an offset: (n,) int16."""
    seconds = np.arange(samples) / rate
    tone = 9000 * np.sin(2 * np.pi * (100 + 0.2 * rate / seconds[-1] * seconds) * seconds)
    return (tone + np.random.default_rng(1).normal(500, 200, samples)).astype(np.int16)


@pytest.fixture(params=["drawn", "librispeech", "fsdd"])
def sounds(request: pytest.FixtureRequest) -> Sounds:
    """Drawn ones; read speech, at 16 kHz; digits of a quarter of a second or more, at 8 kHz."""
    if request.param == "drawn":
        return [(sweep(), 16_000), (sweep(401), 16_000), (sweep(30_000, 22_050), 22_050)]
    folder = request.getfixturevalue("shared") / "audio" / request.param
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav"))
    return [soundfile.read(path, dtype="int16") for path in files[:: len(files) // 6]]


def all_frames(computer: kaldi.OnlineMfcc | kaldi.OnlineFbank, wave: np.ndarray, rate: int, scale: float) -> np.ndarray:
    computer.accept_waveform(rate, wave.astype(np.float32) * np.float32(scale))
    computer.input_finished()
    return np.array([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def kaldi_mfcc(wave: np.ndarray, rate: int, ceiling: float, scale: float = 2**-15) -> np.ndarray:
    """Kaldi's defaults, without dither and energy: (T, 13)."""
    options = kaldi.MfccOptions()
    options.use_energy = False
    options.frame_opts.samp_freq, options.frame_opts.dither, options.mel_opts.high_freq = rate, 0, ceiling
    return all_frames(kaldi.OnlineMfcc(options), wave, rate, scale)


def kaldi_fbank(wave: np.ndarray, rate: int, ceiling: float, bins: int) -> np.ndarray:
    """Kaldi's defaults, without dither, by Hann's window: (T, bins)."""
    options = kaldi.FbankOptions()
    options.frame_opts.window_type, options.mel_opts.num_bins = "hanning", bins
    options.frame_opts.samp_freq, options.frame_opts.dither, options.mel_opts.high_freq = rate, 0, ceiling
    return all_frames(kaldi.OnlineFbank(options), wave, rate, 2**-15)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Coefficients that spread by 15 to 20. A few of faint frames are off by 0.01, in Kaldi as well: it is float32."""
    assert one.shape == other.shape
    gaps = np.abs(one - other)
    return bool(gaps.max() < 0.02 and sqrt(np.square(gaps).mean()) < 5e-4)


@pytest.mark.parametrize(("share", "bins"), [(1, 80), (0.5, 40)])
def test_mfcc_and_log_mel_are_kaldis(sounds: Sounds, share: float, bins: int) -> None:
    for wave, rate in sounds:
        top = share * rate / 2
        assert alike(audio_features.mfcc(wave, rate, top)[:, :13], kaldi_mfcc(wave, rate, top))
        assert alike(audio_features.log_mel(wave, rate, top, bins), kaldi_fbank(wave, rate, top, bins))


def test_kaldis_scale_moves_the_first_coefficient_alone() -> None:
    wave = sweep()
    moved = kaldi_mfcc(wave, 16_000, 8000, scale=1) - audio_features.mfcc(wave, 16_000, 8000)[:, :13]
    assert np.abs(moved - [sqrt(23) * 2 * log(32768), *[0] * 12]).max() < 0.02


def test_deltas_are_slopes() -> None:
    features = audio_features.mfcc(sweep(9000), 16_000, 8000)
    for before, after in ((0, 13), (13, 26)):
        c, last = features[:, before : before + 13].astype(float), len(features) - 1
        for t, row in enumerate(features[:, after : after + 13]):
            slope = sum(n * (c[min(t + n, last)] - c[max(t - n, 0)]) for n in (1, 2)) / 10
            assert np.abs(row - slope).max() < 1e-4
    line = np.arange(20.0)[:, None] * [1, -3]
    assert np.allclose(audio_features.deltas(line)[2:-2], [1, -3])


def test_each_second_frame_is_the_conv_encoders() -> None:
    for n in range(WINDOW, 40_001):
        assert ceil(frame_count(n, HOP) / 2) == frame_count(n, CONV_STRIDE)
    assert [frame_count(n, HOP) for n in (0, 399, 400, 559, 560)] == [0, 0, 1, 1, 2]
    wave, block = sweep(), WINDOW + (audio_features.FRAMES_AT_ONCE - 1) * HOP
    for n in (0, 1, 399, 400, 559, 560, block - 1, block, block + HOP - 1, block + HOP, 2 * block):
        assert audio_features.mfcc(wave[:n], 16_000, 8000).shape == (frame_count(n, HOP), 39)
        assert audio_features.log_mel(wave[:n], 16_000, 8000, 40).shape == (frame_count(n, HOP), 40)


def test_a_frame_is_made_of_its_window_alone() -> None:
    quiet = np.zeros(8000, np.int16)
    loud = quiet.copy()
    loud[3000:3010] = 20_000
    changed = (audio_features.log_mel(loud, 16_000, 8000) != audio_features.log_mel(quiet, 16_000, 8000)).any(1)
    assert [t for t in range(frame_count(8000, HOP)) if t * HOP < 3010 and t * HOP + WINDOW > 3000] == [
        *changed.nonzero()[0]
    ]


def test_silence_is_finite() -> None:
    silence = np.zeros(4000, np.int16)
    assert np.allclose(audio_features.log_mel(silence, 16_000, 8000), log(np.finfo(np.float32).eps))
    features = audio_features.mfcc(silence, 16_000, 8000)
    assert np.allclose(features[:, 0], sqrt(23) * log(np.finfo(np.float32).eps), atol=1e-3)
    assert np.allclose(features[:, 1:], 0, atol=1e-3)


def test_the_same_wave_gives_the_same_bytes() -> None:
    wave = sweep()
    kept = wave.copy()
    for feature in (audio_features.mfcc, audio_features.log_mel):
        first = feature(wave, 16_000, 8000)
        feature(wave[::-1], 16_000, 8000)
        again = feature(wave, 16_000, 8000)
        assert first.dtype == np.float32
        assert first.tobytes() == again.tobytes()
    assert (wave == kept).all()


def test_stacked_frames_lie_side_by_side() -> None:
    features = np.arange(22).reshape(11, 2)
    assert audio_features.stack_frames(features, 4).tolist() == [[*range(8)], [*range(8, 16)]]
    assert audio_features.stack_frames(features, 12).shape == (0, 24)


def test_flac_keeps_every_sample() -> None:
    noise = np.random.default_rng(2).integers(-32768, 32768, 5000).astype(np.int16)
    for wave, rate in ((sweep(), 16_000), (noise, 8000), (noise[:1], 44_100)):
        encoded = audio_codec.encode_flac(wave, rate)
        again, rate_again = soundfile.read(BytesIO(encoded), dtype="int16")
        about = soundfile.info(BytesIO(encoded))
        assert rate_again == rate
        assert again.tobytes() == wave.tobytes()
        assert (about.format, about.subtype, about.channels, about.frames) == ("FLAC", "PCM_16", 1, len(wave))
