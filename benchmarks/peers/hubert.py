"""Labels of HuBERT's first iteration, as fairseq's simple_kmeans makes them, by librosa and scikit-learn.

13 coefficients and two deltas every 10 ms, 100 clusters, batches of 10,000, 20 trials of k-means++. WORKERS is the
number of threads of the numerical libraries; one process does it all. Unlike the task it stores no sound and no masks,
reads all of it in memory, and cannot be resumed.

usage: hubert.py SOURCE OUT WORKERS
"""

import sys
from pathlib import Path

import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

RATE, STEP, WINDOW, CLUSTERS = 16_000, 160, 400, 100


def features(path: Path) -> np.ndarray:
    """(frames, 39) float32"""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == RATE
    mfcc = librosa.feature.mfcc(
        y=sound.mean(1), sr=RATE, n_mfcc=13, n_fft=WINDOW, hop_length=STEP, win_length=WINDOW, n_mels=23, center=False
    )
    return np.concatenate([mfcc, librosa.feature.delta(mfcc), librosa.feature.delta(mfcc, order=2)]).T


def main() -> None:
    source, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    files = sorted(source.rglob("*.flac"))
    with threadpool_limits(workers):
        sounds = [features(path) for path in files]
        kmeans = MiniBatchKMeans(
            CLUSTERS,
            batch_size=10_000,
            n_init=20,
            max_iter=100,
            tol=0.0,
            max_no_improvement=100,
            reassignment_ratio=0.0,
            random_state=0,
        ).fit(np.concatenate(sounds))
        labels = [kmeans.predict(sound) for sound in sounds]
    out.mkdir(parents=True)
    keys = [str(path.relative_to(source)) for path in files]
    pq.write_table(pa.table({"key": keys, "labels": labels}), out / "train.parquet")


if __name__ == "__main__":
    main()
