"""Masked speech: a small HuBERT on spoken digits, one speaker after the other held out; the probe names the digit.

Further arms take the same codes after the mean of each utterance was subtracted from its MFCC (cepstral mean
normalisation), which removes the colour of voice and microphone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pseudolabel import MaskAudio
from pseudolabel.transforms.audio.codec import decode_flac
from pseudolabel.transforms.audio.features import filter_ceiling, log_mel
from teaching.codes import linear_scores
from teaching.experiment import LOADER, ROWS, SHUFFLED, Batch, Budget, Case, Family, Probe, Setup, epochs
from teaching.patches import blocks
from teaching.places import Places, hash_order

SPEAKERS, EACH = 6, 200  # speakers, and recordings of each
CLUSTERS, COPIES = 100, 5
BINS, WIDTH, LONGEST = 40, 64, 40  # mel filters; numbers for a frame; frames of 20 ms (98 of 100 digits fit)
IGNORED = -100
NORMALISED, LOADER_NORMALISED = "rows, means subtracted", "loader, means subtracted"
RATE, HEARD = 16_000, 8_000  # Hz


class Listener(nn.Module):
    """A convolution of stride 2, masked frames, a transformer, and the code of each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(BINS, WIDTH, 3, 2, 1)
        self.hidden = nn.Parameter(0.1 * torch.randn(WIDTH))
        self.places = nn.Parameter(0.02 * torch.randn(LONGEST, WIDTH))
        self.transformer = blocks(WIDTH, 2)
        self.head = nn.Linear(WIDTH, CLUSTERS)

    def encode(self, mel: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(n, 2 LONGEST, BINS) -> (n, LONGEST, WIDTH)"""
        frames = F.gelu(self.convolution(mel.transpose(1, 2))).transpose(1, 2)
        if mask is not None:
            frames = torch.where(mask[..., None], self.hidden, frames)
        return self.transformer(frames + self.places)

    def features(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the means of three consecutive parts of each utterance. Frames of silence at its end are zeros."""
        made, lengths = self.encode(mel), (mel.abs().sum(-1) > 0).sum(1) // 2
        return torch.stack(
            [
                torch.cat([part.mean(0) for part in one[: max(3, int(length))].tensor_split(3)])
                for one, length in zip(made, lengths, strict=True)
            ]
        )


def frame_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """HuBERT's loss: cross entropy of the codes of masked frames."""
    mel, codes, mask = batch
    made = model.head(model.encode(mel, mask))  # type: ignore[operator,union-attr]
    return F.cross_entropy(made[mask], codes[mask])


# --- data ------------------------------------------------------------------------------------------------------------


def recordings(places: Places) -> dict[str, list[Path]]:
    """Return EACH recordings of each speaker, at most."""
    found = dict[str, list[Path]]()
    paths = sorted(places.real("audio/fsdd").rglob("*.wav"))
    for i in hash_order([path.name for path in paths]):
        found.setdefault(paths[i].stem.split("_")[1], []).append(paths[i])
    return {speaker: found[speaker][:EACH] for speaker in sorted(found)}


def source_of(places: Places, fold: int) -> Path:
    """Return the folder of all recordings but those of one speaker."""

    def copy(folder: Path) -> None:
        for number, paths in enumerate(recordings(places).values()):
            for path in paths if number != fold else ():
                shutil.copy(path, folder / path.name)

    return places.folder(f"sources/digits-without-{fold}", copy)


def mel_input(wave: np.ndarray, rate: int) -> np.ndarray:
    """(n,) int16 -> (2 LONGEST, BINS) float32: log mel energies of the wave at unit variance, zeros behind its end."""
    loud = wave.astype(np.float32)
    loud *= 3000 / max(1.0, float(loud.std()))
    mel = log_mel(loud.clip(-32768, 32767).astype(np.int16), rate, filter_ceiling(rate, HEARD), BINS)[: 2 * LONGEST]
    out = np.zeros((2 * LONGEST, BINS), np.float32)
    out[: len(mel)] = (mel + 6) / 4  # about mean 0 and deviation 1
    return out


def pad(frames: np.ndarray, fill: int) -> np.ndarray:
    out = np.full(LONGEST, fill, np.int64)
    out[: len(frames)] = frames[:LONGEST]
    return out


def digits(places: Places) -> dict[str, np.ndarray]:
    """Return what is heard of every recording, its digit, and the number of its speaker."""
    import soundfile
    import soxr

    def make() -> dict[str, np.ndarray]:
        mel, digit, speaker = [], [], []
        for number, paths in enumerate(recordings(places).values()):
            for path in paths:
                wave, rate = soundfile.read(path, dtype="int16")
                mel.append(mel_input(soxr.resample(wave, rate, RATE), RATE))
                digit.append(int(path.stem[0]))
                speaker.append(number)
        return {"mel": np.stack(mel), "digit": np.array(digit), "speaker": np.array(speaker)}

    return places.arrays("digits", make)


def rows_of(places: Places, fold: int, normalised: bool) -> dict[str, np.ndarray]:
    """Return the rows: what is heard, codes, masks; with codes of MFCC, or of MFCC whose means were subtracted."""
    source, name = source_of(places, fold), f"mask-audio-{'normalised-' if normalised else ''}{fold}"

    def make() -> dict[str, np.ndarray]:
        task = MaskAudio(clusters=CLUSTERS, min_seconds=0.1, normalise=normalised)
        table = places.rows(name, task, source, COPIES)
        audio = table["audio"]
        _, first, sound = np.unique(table["key"].to_pylist(), return_index=True, return_inverse=True)
        return {
            "copy": table["copy"].to_numpy(),
            "sound": sound,  # the number of the utterance in `mel`
            "key": np.array([Path(key.partition("#")[0]).stem for key in table["key"].to_pylist()]),
            "mel": np.stack([mel_input(*decode_flac(audio[int(i)].as_py())) for i in first]),
            "labels": np.stack([pad(np.array(codes), IGNORED) for codes in table["labels"].to_pylist()]),
            "mask": np.stack([pad(np.array(mask), 0) for mask in table["mask"].to_pylist()]).astype(bool),
        }

    return places.arrays(name, make)


def by_hand(places: Places, fold: int, normalised: bool) -> dict[str, np.ndarray]:
    """Return what is heard and codes as users make them: MFCC by NumPy and SciPy, scikit-learn's k-means."""
    import soundfile
    import soxr
    from sklearn.cluster import MiniBatchKMeans

    def make() -> dict[str, np.ndarray]:
        mel, cepstra = [], []
        for path in sorted(source_of(places, fold).iterdir()):
            wave, rate = soundfile.read(path, dtype="int16")
            wave = soxr.resample(wave, rate, RATE)
            found = cepstra_by_hand(wave / 32768)
            mel.append(mel_input(wave, RATE))
            cepstra.append(found - found.mean(0) if normalised else found)
        kmeans = MiniBatchKMeans(CLUSTERS, batch_size=10_000, n_init=2, random_state=0).fit(np.concatenate(cepstra))
        codes = [pad(kmeans.predict(found)[::2], IGNORED) for found in cepstra]
        return {"mel": np.stack(mel), "labels": np.stack(codes)}

    return places.arrays(f"mask-audio-by-hand-{'normalised-' if normalised else ''}{fold}", make)


def cepstra_by_hand(wave: np.ndarray) -> np.ndarray:
    """(n,) in [-1, 1) -> (T, 39): MFCC and two slopes, 100 frames a second, on HTK's mel scale."""
    from scipy.fft import dct
    from scipy.signal import savgol_filter

    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + HEARD / 2 / 700), 25) / 2595) - 1)
    at = np.fft.rfftfreq(512, 1 / RATE)[:, None]
    up, down = (at - corners[:-2]) / np.diff(corners)[:-1], (corners[2:] - at) / np.diff(corners)[1:]
    mel = np.log(power @ np.maximum(0, np.minimum(up, down)) + 1e-10)
    static = dct(mel, norm="ortho")[:, :13]
    slope = [savgol_filter(static, 5, 2, deriv=order, axis=0, mode="nearest") for order in (1, 2)]
    return np.hstack([static, *slope]).astype(np.float32)


def span_mask(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw masks with HuBERT's numbers: .8 in spans of 10, at least two."""
    mask = np.zeros((len(lengths), LONGEST), bool)
    for row, length in zip(mask, np.minimum(lengths, LONGEST), strict=True):
        span = max(1, min(10, length // 2))
        spans = max(2, int(0.8 * length / span + rng.random()))
        starts = rng.permutation(max(1, length - span))[:spans]
        row[np.minimum(starts[:, None] + np.arange(span), length - 1)] = True
    return mask


# --- the family ------------------------------------------------------------------------------------------------------


def stored_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    rng, rows = np.random.default_rng(case.seed), rows_of(places, case.fold, case.arm == NORMALISED)
    mel, sound, labels, mask = (torch.from_numpy(rows[name]) for name in ("mel", "sound", "labels", "mask"))
    if case.arm == SHUFFLED:
        known = labels != IGNORED
        labels[known] = labels[known][torch.from_numpy(rng.permutation(int(known.sum())))]
    for chosen in epochs(rows["copy"], batch, rng):
        at = torch.from_numpy(chosen)
        yield mel[sound[at]], labels[at], mask[at] & (labels[at] != IGNORED)


def loader_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    rng, made = np.random.default_rng(case.seed), by_hand(places, case.fold, case.arm == LOADER_NORMALISED)
    mel, labels = torch.from_numpy(made["mel"]), torch.from_numpy(made["labels"])
    lengths = (made["labels"] != IGNORED).sum(1)
    for chosen in epochs(np.zeros(len(mel), int), batch, rng):
        at = torch.from_numpy(chosen)
        yield mel[at], labels[at], torch.from_numpy(span_mask(lengths[chosen], rng))


def prepare(places: Places, folds: int) -> dict[str, Any]:
    digits(places)
    for fold in range(folds):
        for normalised in (False, True):
            rows_of(places, fold, normalised)
            by_hand(places, fold, normalised)
    codes = {arm: [scores_of(places, fold, arm == NORMALISED) for fold in range(folds)] for arm in (ROWS, NORMALISED)}
    return {"megabytes_per_copy": places.megabytes_per_copy("mask-audio-0", COPIES), "copies": COPIES, "codes": codes}


def scores_of(places: Places, fold: int, normalised: bool) -> dict[str, Any]:
    """Return what linear models predict from the codes of a dataset."""
    rows = rows_of(places, fold, normalised)
    first = rows["copy"] == 0
    names = [name.split("_") for name in rows["key"][first]]
    digits, speakers = np.array([int(name[0]) for name in names]), np.array([name[1] for name in names])
    return linear_scores([codes[codes != IGNORED] for codes in rows["labels"][first]], digits, speakers, CLUSTERS)


def setup(places: Places, case: Case, batch: int) -> Setup:
    found = digits(places)
    mel, digit, out = torch.from_numpy(found["mel"]), found["digit"], found["speaker"] == case.fold
    probe = Probe(mel[~out], digit[~out], mel[out], digit[out])
    make = loader_batches if case.arm in (LOADER, LOADER_NORMALISED) else stored_batches
    return Setup(Listener(), frame_loss, make(places, case, batch), probe)


FAMILIES = (
    Family(
        "mask-audio",
        "1,000 spoken digits of five speakers",
        "10 digits, spoken by a sixth; each of six in turn",
        f"--clusters {CLUSTERS} --min-seconds 0.1 --copies {COPIES}",
        Budget(400, 32, 2e-3),
        prepare,
        setup,
        (NORMALISED, LOADER_NORMALISED),
        SPEAKERS,
        3,
    ),
)
