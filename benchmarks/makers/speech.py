"""Speech: pieces of recordings of one speaker, at another speed and loudness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from makers.real_files import sources

RATE = 16_000  # samples a second


def make_speech(minutes: int, folder: Path, data: Path) -> None:
    """FLAC of 16 kHz, utterances of 2 to 20 seconds, in a folder for each speaker as LibriSpeech has them."""
    import soundfile

    recordings: dict[str, list[np.ndarray]] = {}
    for path in sources(data, "audio/librispeech", ".flac", lambda path: soundfile.info(path).samplerate == RATE):
        recordings.setdefault(path.stem.split("-")[0], []).append(soundfile.read(path, dtype="float32")[0])
    number, seconds = 0, 0.0
    while seconds < 60 * minutes:
        rng = np.random.default_rng([6, number])
        speaker = sorted(recordings)[rng.integers(len(recordings))]
        sound = utterance(recordings[speaker], rng)
        target = folder / speaker / f"{number // 50}" / f"{speaker}-{number // 50}-{number % 50:04d}.flac"
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, sound, RATE, "PCM_16")
        number, seconds = number + 1, seconds + len(sound) / RATE


def utterance(recordings: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(samples,) float32: pieces of recordings one after another, at another speed and loudness, with some noise."""
    length, parts = int(rng.uniform(2, 20) * RATE), []
    while sum(map(len, parts)) < length:
        sound = recordings[rng.integers(len(recordings))]
        begin = rng.integers(0, len(sound) - RATE)
        parts.append(sound[begin : begin + int(rng.uniform(1, 6) * RATE)])
    sound = np.concatenate(parts)[:length]
    sound = np.interp(np.arange(0, length - 1, rng.uniform(0.9, 1.1)), np.arange(length), sound).astype(np.float32)
    noise = 0.001 * rng.standard_normal(len(sound), np.float32)
    return np.clip(rng.uniform(0.4, 1) * sound + noise, -1, 1)[: 20 * RATE]
