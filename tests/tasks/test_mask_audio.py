"""Codes are those of the stored sound, masks hide what the papers say they do, and both fit the model's frames."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr
from runs import FIXTURES

from pseudolabel import MaskAudio, UserError, run
from pseudolabel.contracts import FilteredSample, Sample, UnusableSample
from pseudolabel.inspection.verify import verify
from pseudolabel.readers.audio.reader import Utterance
from pseudolabel.tasks.mask_audio import MaskAudioLabeler
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.audio.masks import SpanMaskPreset, span_mask
from pseudolabel.transforms.clustering.codebooks import Centroids, fit_centroids, random_projection, save_arrays

SOUNDS = FIXTURES / "audio"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mask-audio") / "made"
    run(MaskAudio(clusters=20), SOUNDS, out=out, workers=1)
    return out


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "data").to_pylist()


def sound(row: dict[str, Any]) -> np.ndarray:
    """The stored sound, (n,) int16, as anybody reads it."""
    wave, rate = soundfile.read(BytesIO(row["audio"]["bytes"]), dtype="int16")
    assert rate == 16_000
    return np.asarray(wave)


def conv_frames(samples: int) -> int:
    """How many frames the conv encoder of wav2vec 2.0 and HuBERT makes, layer by layer."""
    for width, stride in [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2:
        samples = (samples - width) // stride + 1
    return samples


def test_labels_are_as_many_as_the_models_frames() -> None:
    """For every length from 400 to 40,000 samples; a tone in noise, of which each length is the beginning."""
    wave = np.random.default_rng(0).integers(-9000, 9000, 40_000).astype(np.int16)
    book = Centroids(np.random.default_rng(1).normal(0, 10, (8, 39)).astype(np.float32))
    task, rng = MaskAudio(), np.random.default_rng(0)
    features = audio_features.mfcc(wave, 16_000, 8000)
    for samples in range(400, 40_001):
        ten = features[: audio_features.frame_count(samples, 160)]
        assert len(ten[::2]) == conv_frames(samples)
        if samples % 500 == 0 or samples < 800:
            (row,) = MaskAudioLabeler(task, book).rows(Utterance("a", wave[:samples], 16_000, 16_000), rng)
            assert len(row["labels"]) == len(row["mask"]) == conv_frames(samples)
            assert row["labels"] == row["labels_100hz"][::2]
    with pytest.raises(FilteredSample, match="too short for one frame"):
        list(MaskAudioLabeler(task, book).rows(Utterance("a", wave[:399], 16_000, 16_000), rng))


def test_labels_are_the_nearest_centroids_of_the_stored_sound(made: Path) -> None:
    centroids = np.load(made / "centroids.npz")["centroids"].astype(np.float64)
    heard = {0: 8_000, 1: 16_000, 2: 11_025}  # of the fixtures, by their number
    assert len(rows(made)) == 9
    for row in rows(made):
        rate = heard[int(Path(row["key"].partition("#")[0]).stem) % 3]
        features = audio_features.mfcc(sound(row), 16_000, min(rate, 16_000) / 2).astype(np.float64)
        away = ((features[:, None] - centroids) ** 2).sum(2)
        codes = np.array(row["labels_100hz"])
        assert (codes == away.argmin(1)).mean() > 0.999, "but for ties in the last bits"
        assert np.allclose(away[np.arange(len(codes)), codes], away.min(1), rtol=1e-4)
        assert row["labels"] == row["labels_100hz"][::2]
        assert len(row["mask"]) == len(row["labels"]) == conv_frames(len(sound(row)))
        assert abs(row["seconds"] - len(sound(row)) / 16_000) < 1e-4
        assert row["label_hz"] == 50
    assert len({code for row in rows(made) for code in row["labels"]}) == 20


def test_the_ceiling_is_that_of_the_source(made: Path) -> None:
    """A sound of 8 kHz has nothing above 4 kHz: its codes are made of filters below."""
    row = next(row for row in rows(made) if "/0.wav" in row["key"])
    centroids = Centroids(np.load(made / "centroids.npz")["centroids"])
    low, high = (centroids.codes(audio_features.mfcc(sound(row), 16_000, ceiling)) for ceiling in (4000, 8000))
    assert low.tolist() == row["labels_100hz"]
    assert (low != high).any()


def test_normalised_codes_do_not_tell_loudness(tmp_path: Path) -> None:
    """Twice as loud is the same logarithm plus a constant, in each frame."""
    rng, quiet = np.random.default_rng(0), tmp_path / "quiet"
    quiet.mkdir()
    waves = [rng.normal(0, 900 * (2 + np.sin(np.arange(16_000) / 500 * (i + 1)))).astype(np.int16) for i in range(4)]
    for i, wave in enumerate(waves):
        soundfile.write(quiet / f"{i}.wav", wave, 16_000)
    codes = {}
    for normalise in (True, False):
        task = MaskAudio(clusters=5, normalise=normalise)
        run(task, quiet, out=tmp_path / f"{normalise}", workers=1)
        labeler = task.labeler(tmp_path / f"{normalise}").task
        for times in (1, 2):
            made = [labeler.rows(Utterance("a", times * wave, 16_000, 16_000), rng) for wave in waves]
            codes[normalise, times] = [row["labels_100hz"] for (row,) in made]
    assert codes[True, 1] == codes[True, 2]
    assert codes[False, 1] != codes[False, 2]
    centroids = np.load(tmp_path / "True" / "centroids.npz")["centroids"].astype(float)
    for wave, found in zip(waves, codes[True, 1], strict=True):
        features = audio_features.mfcc(wave, 16_000, 8000).astype(float)
        away = ((features - features.mean(0))[:, None] - centroids) ** 2
        assert (away.sum(2).argmin(1) == found).mean() > 0.99
    assert verify(tmp_path / "True", quiet, workers=1).has_no_fault
    with pytest.raises(UserError, match="is for mfcc normalised, not True"):
        MaskAudio(codebook=str(tmp_path / "True" / "centroids.npz"))


def test_refitting_gives_the_same_bytes_whatever_the_workers(made: Path, tmp_path: Path) -> None:
    run(MaskAudio(clusters=20), SOUNDS, out=tmp_path / "two", workers=2)
    assert (tmp_path / "two" / "centroids.npz").read_bytes() == (made / "centroids.npz").read_bytes()
    run(MaskAudio(clusters=20), SOUNDS, out=tmp_path / "other", workers=1, seed=1)
    assert (tmp_path / "other" / "centroids.npz").read_bytes() != (made / "centroids.npz").read_bytes()


def test_a_codebook_labels_new_data_the_same_way(made: Path, tmp_path: Path) -> None:
    run(MaskAudio(codebook=str(made / "centroids.npz")), SOUNDS / "eve", out=tmp_path / "eve")
    before = {row["key"]: row["labels_100hz"] for row in rows(made)}
    again = rows(tmp_path / "eve")
    assert again
    for row in again:
        assert row["labels_100hz"] == before[f"eve/{row['key']}"]
    assert (
        np.load(tmp_path / "eve" / "centroids.npz")["centroids"] == np.load(made / "centroids.npz")["centroids"]
    ).all()


def test_best_rq_codes_are_the_nearest_of_the_projection(tmp_path: Path) -> None:
    run(MaskAudio(targets="best-rq"), SOUNDS, out=tmp_path / "rq", workers=1)
    arrays = np.load(tmp_path / "rq" / "quantiser.npz")
    assert arrays["projection"].shape == (320, 16)
    assert arrays["codebook"].shape == (8192, 16)
    assert np.allclose(np.linalg.norm(arrays["codebook"], axis=1), 1, atol=1e-5)
    codes = set()
    for row in rows(tmp_path / "rq"):
        if "/1.flac" in row["key"] or "/7.flac" in row["key"]:
            mel = audio_features.log_mel(sound(row), 16_000, 8000).astype(np.float64)
            mel = (mel - mel.mean(0)) / mel.std(0)
            four = mel[: len(mel) // 4 * 4].reshape(-1, 320) @ arrays["projection"]
            four /= np.linalg.norm(four, axis=1, keepdims=True)
            away = ((four[:, None] - arrays["codebook"]) ** 2).sum(2)
            assert (away.argmin(1) == row["labels"]).mean() > 0.98
        assert len(row["labels"]) == len(row["mask"]) == audio_features.frame_count(len(sound(row)), 160) // 4
        assert row["label_hz"] == 25
        assert "labels_100hz" not in row
        codes |= set(row["labels"])
    assert len(codes) > 100, "the codes do not collapse"


SHARES = {
    SpanMaskPreset.wav2vec2: 1 - (1 - 0.065) ** 10,
    SpanMaskPreset.hubert: 1 - (1 - 0.08) ** 10,
    SpanMaskPreset.best_rq: 1 - 0.99**40,
}


@pytest.mark.parametrize("preset", list(SpanMaskPreset))
@pytest.mark.parametrize("hz", [50.0, 25.0])
def test_masks_hide_the_share_of_the_paper(preset: SpanMaskPreset, hz: float) -> None:
    """48.9, 56.6 and 33.1 % within a point, over 1,000 utterances of 15 s, at the rate each paper has."""
    rng, frames = np.random.default_rng(0), int(15 * hz) - 1
    masks = np.array([span_mask(preset, frames, hz, rng) for _ in range(1000)])
    at = {SpanMaskPreset.wav2vec2: 50, SpanMaskPreset.hubert: 50, SpanMaskPreset.best_rq: 25}[preset]
    assert abs(masks.mean() - SHARES[preset]) < (0.01 if hz == at else 0.03)
    ends = 0.02 if preset == SpanMaskPreset.best_rq else 0.01  # none of its stretches begins before the sound does
    assert abs(masks[:, : frames // 2].mean() - masks[:, frames // 2 :].mean()) < ends
    length = round((0.4 if preset == SpanMaskPreset.best_rq else 0.2) * hz)
    runs = [np.diff(np.flatnonzero(np.diff(np.pad(mask.astype(int), 1))))[::2] for mask in masks]
    whole = np.concatenate([run[:-1] for run in runs])  # the last of a sound may be cut off by its end
    assert whole.min() == length


def fairseq(sz: int, prob: float, rng: np.random.Generator) -> np.ndarray:
    """fairseq/data/data_utils.py, compute_mask_indices: one row of it, mask_length 10, min_masks 2, no padding."""
    num = max(2, int(prob * sz / 10.0 + rng.random()))
    least = 10
    if sz - least <= num:
        least = sz - num - 1
    starts = rng.choice(sz - least, num, replace=False)
    places = np.unique([start + offset for start in starts for offset in range(10)])
    mask = np.zeros(sz, bool)
    mask[places[places < sz]] = True
    return mask


def test_masks_are_fairseqs() -> None:
    for frames in (99, 749):
        for preset, prob in ((SpanMaskPreset.wav2vec2, 0.65), (SpanMaskPreset.hubert, 0.8)):
            ours = np.array([span_mask(preset, frames, 50.0, np.random.default_rng(i)) for i in range(2000)])
            theirs = np.array([fairseq(frames, prob, np.random.default_rng(9000 + i)) for i in range(2000)])
            assert abs(ours.mean() - theirs.mean()) < 0.005
            assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 0.06


@pytest.mark.parametrize("preset", list(SpanMaskPreset))
def test_short_sounds_have_something_hidden_and_something_left(preset: SpanMaskPreset) -> None:
    for frames in range(2, 60):
        for seed in range(20):
            mask = span_mask(preset, frames, 50.0, np.random.default_rng(seed))
            assert mask.shape == (frames,)
            assert 0 < mask.sum() < frames
    assert span_mask(preset, 1, 50.0, np.random.default_rng(0)).all()


def test_features_of_a_model_are_clustered_by_key(made: Path, tmp_path: Path) -> None:
    """The second iteration: the same features as .npy files and as Parquet give the same labels."""
    rng, features = np.random.default_rng(0), {}
    for row in rows(made):
        features[row["key"]] = rng.normal(0, 1, (len(row["labels"]), 6)).astype(np.float32)
        path = tmp_path / "npy" / f"{row['key']}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features[row["key"]])
    (tmp_path / "parquet").mkdir()
    for i, part in enumerate(np.array_split(list(features), 2)):
        table = pa.table({"key": list(part), "features": [features[key].tolist() for key in part]})
        pq.write_table(table, tmp_path / "parquet" / f"{i}.parquet", row_group_size=2)
    for kind in ("npy", "parquet"):
        run(MaskAudio(clusters=5, features=str(tmp_path / kind)), SOUNDS, out=tmp_path / f"from-{kind}", workers=1)
    one, other = (rows(tmp_path / f"from-{kind}") for kind in ("npy", "parquet"))
    centroids = np.load(tmp_path / "from-npy" / "centroids.npz")["centroids"]
    for row, same in zip(one, other, strict=True):
        away = ((features[row["key"]][:, None] - centroids) ** 2).sum(2)
        assert row["labels"] == same["labels"] == away.argmin(1).tolist()
        assert "labels_100hz" not in row

    task = MaskAudio(clusters=5, features=str(tmp_path / "npy"))
    with pytest.raises(UnusableSample, match="no features for this sample in npy"):
        task.frame_features(Utterance("other.wav#0-9", np.zeros(9, np.int16), 16_000, 16_000))
    key = next(iter(features))
    with pytest.raises(UnusableSample, match="frames, the audio has 49 at 50 Hz"):
        list(
            MaskAudioLabeler(task, Centroids(centroids)).rows(
                Utterance(key, np.ones(16_000, np.int16), 16_000, 16_000), rng
            )
        )


def test_kmeans_is_no_worse_than_lloyd_by_hand() -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(0, 5, (30, 8))[rng.integers(0, 30, 6000)] + rng.normal(0, 1, (6000, 8))).astype(np.float32)
    centroids = fit_centroids(points, 30, seed=3).centroids

    def inertia(centres: np.ndarray) -> float:
        return float(((points[:, None] - centres) ** 2).sum(2).min(1).mean())

    centres = points[rng.permutation(6000)[:30]]
    for _ in range(25):
        nearest = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.array([points[nearest == i].mean(0) if (nearest == i).any() else centres[i] for i in range(30)])
    assert inertia(centroids) < inertia(centres)
    assert (fit_centroids(points, 30, seed=3).centroids == centroids).all()
    assert not (
        random_projection(320, 64, 16, np.random.default_rng(0)).codebook
        == random_projection(320, 64, 16, rng).codebook
    ).all()


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"targets": "hubert"}, "choose among kmeans, best-rq"),
        ({"preset": "mae"}, "choose among wav2vec2, hubert, best-rq"),
        ({"clusters": 1}, "give 2 to 100000"),
        ({"clusters": 5, "targets": "best-rq"}, "leave it out"),
        ({"rate": 16_001}, "give a multiple of 200"),
        ({"seconds": 2.0, "min_seconds": 3.0}, "lower --min-seconds"),
        ({"codebook": "nowhere.npz"}, "cannot be read"),
        ({"features": "nowhere"}, "is not a folder"),
        ({"features": ".", "targets": "best-rq"}, "is only for --targets kmeans"),
        ({"normalise": True, "targets": "best-rq"}, "is only for MFCC"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        MaskAudio(**options)


def test_a_codebook_for_something_else_is_refused(made: Path) -> None:
    with pytest.raises(UserError, match="has no projection"):
        MaskAudio(targets="best-rq", codebook=str(made / "centroids.npz"))
    with pytest.raises(UserError, match=r"is for rate 16000, not 8000"):
        MaskAudio(rate=8_000, codebook=str(made / "centroids.npz"))


@pytest.mark.parametrize("content", [b"", b"PK", b"no numbers", np.arange(9).tobytes()])
def test_a_codebook_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "book.npz").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        MaskAudio(codebook=str(tmp_path / "book.npz"))
    np.save(tmp_path / "plain.npy", np.zeros((3, 39), np.float32))
    with pytest.raises(UserError, match="cannot be read"):
        MaskAudio(codebook=str(tmp_path / "plain.npy"))
    for centroids in (np.full((3, 39), np.nan, np.float32), np.zeros(39, np.float32), np.zeros((3, 39))):
        save_arrays(tmp_path / "book.npz", {"centroids": centroids}, MaskAudio().about)
        with pytest.raises(UserError, match="not a matrix of finite float32"):
            MaskAudio(codebook=str(tmp_path / "book.npz"))


def test_one_ceiling_for_sources_of_several_rates(tmp_path: Path) -> None:
    """The same speech at 16 and at 8 kHz: with one ceiling their codes agree, with each its own they do not."""
    folder, rng = tmp_path / "mixed", np.random.default_rng(0)
    folder.mkdir()
    wave = soundfile.read(SOUNDS / "ben" / "1.flac")[0]
    soundfile.write(folder / "16.wav", wave + 1e-3 * rng.normal(size=len(wave)), 16_000)
    soundfile.write(folder / "8.wav", soxr.resample(soundfile.read(folder / "16.wav")[0], 16_000, 8_000), 8_000)
    agree = {}
    for ceiling in (None, 3900.0):
        out = tmp_path / str(ceiling)
        run(MaskAudio(clusters=8, ceiling=ceiling), folder, out=out, workers=1)
        one, other = sorted(rows(out), key=lambda row: row["key"])
        agree[ceiling] = np.mean(np.array(one["labels_100hz"][5:200]) == other["labels_100hz"][5:200])
        assert (one["ceiling"], other["ceiling"]) == ((8000, 4000) if ceiling is None else (3900, 3900))
        book = Centroids(np.load(out / "centroids.npz")["centroids"])
        for row in (one, other):  # from the row alone
            assert book.codes(audio_features.mfcc(sound(row), 16_000, row["ceiling"])).tolist() == row["labels_100hz"]
    assert agree[3900.0] > 0.8 > 0.5 > agree[None]


def test_no_file_alone_makes_the_codebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Utterance("a", np.random.default_rng(0).integers(-99, 99, 16_000 * 60).astype(np.int16), 16_000, 16_000)
    seen = list(MaskAudio().observe(Sample(f"a#{i}", long) for i in range(50)))
    assert sum(array.nbytes for array in seen) <= 32 * 2**20 // 16 + seen[0].nbytes


def test_features_one_cannot_use_are_skipped_with_the_reason(tmp_path: Path) -> None:
    task = MaskAudio(features=str(tmp_path))
    for name, array in (("nan", np.full((9, 4), np.nan)), ("flat", np.zeros(9)), ("none", np.zeros((0, 4)))):
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "text.npy").write_text("no numbers")
    for name in ("nan", "flat", "none"):
        with pytest.raises(UnusableSample, match=r"not a finite \(n, D\) matrix"):
            task.frame_features(Utterance(name, np.zeros(9, np.int16), 16_000, 16_000))
    with pytest.raises(UnusableSample, match=r"text\.npy cannot be read"):
        task.frame_features(Utterance("text", np.zeros(9, np.int16), 16_000, 16_000))
    for rows, numbers in ((9, 4), (2000, 1)):  # of the same size, but with one other number, amidst many as well
        array = np.ones((rows, numbers))
        np.save(tmp_path / "nan.npy", array)
        before = task.precomputed.digest
        array[rows // 2] = 0
        np.save(tmp_path / "nan.npy", array)
        assert task.precomputed.digest != before
    (tmp_path / "part.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"part\.parquet: cannot be read"):
        task.frame_features(Utterance("lost", np.zeros(9, np.int16), 16_000, 16_000))


def test_a_source_without_a_frame_is_refused_with_code_3(tmp_path: Path) -> None:
    (tmp_path / "silent").mkdir()
    soundfile.write(tmp_path / "silent" / "a.wav", np.zeros(32_000), 16_000)
    with pytest.raises(UserError, match="no frame to learn codes from") as refused:
        run(MaskAudio(), tmp_path / "silent", out=tmp_path / "out", workers=1)
    assert refused.value.code == 3


def test_features_of_another_width_than_the_codebook_are_skipped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((49, 4), np.float32))
    coded = MaskAudioLabeler(MaskAudio(features=str(tmp_path)), Centroids(np.ones((3, 6), np.float32)))
    with pytest.raises(UnusableSample, match="4 numbers per frame, the codebook 6"):
        list(coded.rows(Utterance("a", np.ones(16_000, np.int16), 16_000, 16_000), np.random.default_rng(0)))


def test_few_frames_for_each_cluster_are_remarked(tmp_path: Path) -> None:
    run(MaskAudio(clusters=200), SOUNDS, out=tmp_path / "out", workers=1)
    assert "frames per cluster; 39 or more are recommended" in (tmp_path / "out" / "README.md").read_text()


def test_fewer_frames_than_clusters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--clusters 50000: only"):
        run(MaskAudio(clusters=50_000), SOUNDS, out=tmp_path / "out", workers=1)
