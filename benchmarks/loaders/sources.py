"""The sources of the rows: pictures and texts without signal, drawn from a seed, and real ones from a folder.

Made when first asked for, below WORK (REFEREE_WORK, or a folder of the system's temporary one). Real data is read from
DATA (REFEREE_DATA, or ../shared/data beside the repository).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from pseudolabel.transforms.text.vocabulary import train_wordpiece

WORK = Path(os.environ.get("REFEREE_WORK", Path(tempfile.gettempdir()) / "pseudolabel-referee"))
DATA = Path(os.environ.get("REFEREE_DATA", Path(__file__).parents[3] / "shared" / "data"))
PICTURES = 400
WIDTH, HEIGHT = 500, 375  # pixels: to 256 they shrink by no whole number
QUALITY = 95  # of JPEG
FORMATS = ("png", "444", "422", "420")  # PNG, and the sampling of a JPEG
DOCUMENTS, SENTENCES = 150, 40  # of random words
WORDS = 1000  # random words to draw from
CHAPTER = 10_000  # characters of a piece of a novel
VOCABULARY = 2000

Noise = Callable[[np.random.Generator], np.ndarray]


class MissingData(Exception):
    """Real data is not where it is looked for."""


def white(rng: np.random.Generator) -> np.ndarray:
    """Every value is independent."""
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def pink(rng: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of photographs, on a torus: no place and no direction is special."""
    across, down = np.fft.fftfreq(WIDTH)[None], np.fft.fftfreq(HEIGHT)[:, None]
    falls = 1 / np.maximum(np.hypot(across, down), 1 / max(HEIGHT, WIDTH))
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, HEIGHT, WIDTH))) * falls).real
    return np.moveaxis((128 + 40 * waves / waves.std()).clip(0, 255).astype(np.uint8), 0, 2)


def pictures(noise: Noise, formats: tuple[str, ...], folder: Path) -> None:
    """Write PICTURES pictures, in the formats in turn."""
    import cv2

    rng = np.random.default_rng(0)
    for i in range(PICTURES):
        kind, options = formats[i % len(formats)], []
        if kind != "png":
            factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{kind}")
            options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        cv2.imwrite(str(folder / f"{i:04d}.{'png' if kind == 'png' else 'jpg'}"), noise(rng)[..., ::-1], options)


def random_words(folder: Path) -> None:
    """Write DOCUMENTS documents of sentences; the words of a sentence are all different."""
    rng, letters = np.random.default_rng(0), np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = sorted({"".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(WORDS)})
    for i in range(DOCUMENTS):
        sentences = [" ".join(rng.choice(words, rng.integers(4, 25), replace=False)) for _ in range(SENTENCES)]
        (folder / f"{i:04d}.txt").write_text("\n".join(sentences) + "\n", "utf-8")
    train_tokenizer(folder)


def novels(folder: Path) -> None:
    """Write the novels in pieces of about CHAPTER characters, each a file: a source of its own."""
    for path in sorted(real("text/novels").glob("*.txt")):
        text = path.read_text("utf-8", "replace")
        for number, start in enumerate(range(0, len(text), CHAPTER)):
            (folder / f"{path.stem}-{number:03d}.txt").write_text(text[start : start + CHAPTER], "utf-8")
    train_tokenizer(folder)


def photographs(folder: Path) -> None:
    """Copy the real photographs."""
    for path in sorted(real("images/clothing").rglob("*.jp*g")):
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")


SOURCES: dict[str, Callable[[Path], None]] = {
    "noise_png": partial(pictures, white, ("png",)),
    "noise_jpeg_420": partial(pictures, white, ("420",)),
    "noise_jpeg_422": partial(pictures, white, ("422",)),
    "noise_mixed": partial(pictures, pink, FORMATS),
    "photographs": photographs,
    "words": random_words,
    "novels": novels,
}


def folder_of(source: str) -> Path:
    """Return the folder of a source, made if it is not there. Raise `MissingData`."""
    folder = WORK / "sources" / source
    if not folder.exists():
        unfinished = folder.with_name(f"{source}.{os.getpid()}")
        unfinished.mkdir(parents=True)
        try:
            SOURCES[source](unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def tokenizer_of(source: str) -> Path:
    """Return the tokenizer.json that was trained on a source of texts."""
    return folder_of(source) / "tokenizer" / "tokenizer.json"


def files_of(source: str) -> list[Path]:
    """Return the files of a source, in order."""
    return sorted(path for path in folder_of(source).iterdir() if path.is_file())


def real(name: str) -> Path:
    """Return a folder of real data. Raise `MissingData`."""
    if not (DATA / name).is_dir():
        raise MissingData(f"there is no folder {DATA / name}; set REFEREE_DATA")
    return DATA / name


def train_tokenizer(folder: Path) -> None:
    """Train BERT's kind of tokenizer on the texts of a folder: the same one in each process."""
    tokenizer = train_wordpiece((path.read_text("utf-8") for path in sorted(folder.glob("*.txt"))), VOCABULARY)
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
