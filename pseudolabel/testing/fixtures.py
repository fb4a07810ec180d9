"""Sources to test tasks on: small images, texts, sounds and videos, all drawn by code, and broken files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import soundfile


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a sky, a hill and a numbered sun, (height, width, 3) uint8: up, down and every corner differ."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    phase, colours = rng.uniform(0, 6.28, 3), rng.uniform(60, 255, (3, 3))
    sky = colours[0] * (1 - y[..., None]) + colours[1] * y[..., None]
    hill = (y > 0.5 + 0.1 * np.sin(9 * x + phase[0]) + 0.05 * np.sin(23 * x + phase[1]))[..., None]
    land = np.where(hill, colours[2] * (0.6 + 0.4 * np.sin(40 * (x + y) + phase[2]))[..., None], sky)
    image: np.ndarray = np.clip(land + rng.normal(0, 6, land.shape), 0, 255).astype(np.uint8)
    centre = (int(rng.integers(width // 4, 3 * width // 4)), height // 4)
    cv2.circle(image, centre, height // 8, (255, 240, 120), -1)
    cv2.putText(image, str(rng.integers(10, 99)), (centre[0] - 18, centre[1] + 10), 0, 1.0, (30, 30, 30), 2)
    return image


def pictures(folder: Path) -> None:
    """Write 24 images in three folders and as many formats, some upright and some wide, and a JPEG cut off half-way."""
    rng = np.random.default_rng(1)
    for i in range(24):
        kind, suffix = (("hills", ".jpg"), ("lakes", ".png"), ("plains", ".webp"))[i % 3]
        height, width = ((120, 160), (150, 110))[i % 2] if suffix == ".png" else ((240, 320), (300, 220))[i % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        options = [cv2.IMWRITE_JPEG_QUALITY, 85] if suffix == ".jpg" else [cv2.IMWRITE_WEBP_QUALITY, 80]
        image = picture(rng, height, width)
        cv2.imwrite(str(folder / kind / f"{i:02d}{suffix}"), image[..., ::-1], options if suffix != ".png" else [])
    whole = (folder / "hills" / "00.jpg").read_bytes()
    (folder / "hills" / "broken.jpg").write_bytes(whole[: len(whole) // 2])


WORDS = {
    "who": "the gardener|my neighbour|an old sailor|the night train|a quiet child|the clockmaker|her brother|nobody",
    "did": "found|carried|forgot|repaired|painted|followed|sold|remembered",
    "what": "a wooden boat|the last letter|seven green bottles|the map of the valley|an unfinished song|"
    "the red umbrella",
    "where": "by the river|under the stairs|in the empty station|behind the orchard|on the roof|near the harbour",
    "when": "before sunrise|late in October|when the rain stopped|after supper|years ago|every second Tuesday",
}


def sentence(rng: np.random.Generator) -> str:
    """Return a random sentence of a small grammar."""
    who, did, what, where, when = (rng.choice(words.split("|")) for words in WORDS.values())
    form = ("{who} {did} {what} {where}.", "{when}, {who} {did} {what}.", "{who} {did} {what} {where}, {when}.")[
        rng.integers(3)
    ]
    text = form.format(who=who, did=did, what=what, where=where, when=when)
    return text[0].upper() + text[1:]


def texts(folder: Path) -> None:
    """Write plain text, Markdown, JSON lines and a gzipped file, and a text whose second paragraph is no UTF-8."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)

    def paragraphs(count: int) -> list[str]:
        return [" ".join(sentence(rng) for _ in range(rng.integers(2, 7))) for _ in range(count)]

    for i in range(4):
        (folder / f"tales-{i}.txt").write_text("\n\n".join(paragraphs(60)) + "\n", "utf-8")
    (folder / "notes.md").write_text("# Notes\n\n" + "\n\n".join(paragraphs(20)) + "\n", "utf-8")
    lines = "".join(json.dumps({"text": text, "number": i}) + "\n" for i, text in enumerate(paragraphs(60)))
    (folder / "letters.jsonl").write_text(lines, "utf-8")
    (folder / "packed.txt.gz").write_bytes(gzip.compress("\n\n".join(paragraphs(60)).encode(), mtime=0))
    (folder / "broken.txt").write_bytes(
        "The first paragraph reads well.\n\nThe caf\xe9 is Latin-1.\n\nThe third is fine.\n".encode("latin-1")
    )


def babble(rng: np.random.Generator, rate: int, seconds: float) -> np.ndarray:
    """Make a voice of vowels and hisses, (rate * seconds,) float64, so that its frames fall into groups."""
    parts: list[np.ndarray] = []
    n = int(rate * seconds)
    pitch = rng.uniform(90, 220)
    while sum(len(part) for part in parts) < n:
        t = np.arange(int(rate * rng.uniform(0.08, 0.25))) / rate
        if rng.random() < 0.3:
            sound = 0.08 * rng.normal(size=len(t))
        else:
            formants = ((730, 1090), (270, 2290), (300, 870), (530, 1840), (570, 840))[rng.integers(5)]
            harmonics = pitch * np.arange(1, int(0.45 * rate / pitch))
            loud = np.sum([np.exp(-(((harmonics - f) / 120) ** 2)) for f in formants], 0) + 0.02
            sound = 0.1 * (loud[:, None] * np.sin(2 * np.pi * harmonics[:, None] * t)).sum(0)
        parts.append(sound * np.hanning(len(t)) ** 0.3)
    return np.concatenate(parts)[:n] + 1e-4 * rng.normal(size=n)


def sounds(folder: Path) -> None:
    """Write nine sounds of two to five seconds, of three rates, one of two voices, and a WAV cut off in its header."""
    rng = np.random.default_rng(3)
    for i in range(9):
        voice = ("ada", "ben", "eve")[i % 3]
        suffix, rate, subtype = ((".wav", 8000, "ULAW"), (".flac", 16000, "PCM_16"), (".wav", 11025, "PCM_U8"))[i % 3]
        sound = babble(rng, rate, 2 + i % 4)
        if i == 4:
            sound = np.stack([sound, babble(rng, rate, 2 + i % 4)], 1)
        (folder / voice).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / voice / f"{i}{suffix}", sound.clip(-1, 1), rate, subtype)
    whole = (folder / "ada" / "0.wav").read_bytes()
    (folder / "ada" / "broken.wav").write_bytes(whole[:30])


def film(rng: np.random.Generator, height: int, width: int, count: int) -> Iterator[np.ndarray]:
    """Yield `count` frames, (height, width, 3) uint8: a landscape passes by, and a ball flies through it."""
    land = cv2.GaussianBlur(picture(rng, height, width + 3 * count), (0, 0), 1.5)
    speed, start = rng.uniform(1.5, 3), rng.uniform(0, 0.5)
    for i in range(count):
        left = round(i * speed)
        frame = np.ascontiguousarray(land[:, left : left + width])
        up = abs(np.sin(3 * (start + i / count)))
        cv2.circle(frame, (width * i // count, round(height * (0.9 - 0.7 * up))), height // 8, (230, 40, 40), -1)
        yield frame


def films(folder: Path) -> None:
    """Write six videos of three seconds, in three formats, and one that breaks off."""
    rng = np.random.default_rng(4)
    kinds = (("boats", ".mp4", "libx264"), ("kites", ".webm", "libvpx-vp9"), ("trains", ".mkv", "libx265"))
    for i in range(6):
        kind, suffix, codec = kinds[i % 3]
        height, width = ((120, 160), (144, 112))[i % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        options = {"crf": "30", "x265-params": "log-level=none"} if codec == "libx265" else {"crf": "30"}
        with av.open(str(folder / kind / f"{i}{suffix}"), "w") as out:
            stream = out.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 150_000
            for frame in film(rng, height, width, 80):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode(None))
    whole = (folder / "trains" / "2.mkv").read_bytes()
    (folder / "trains" / "broken.mkv").write_bytes(whole[: len(whole) // 8])


MAKERS: dict[str, Callable[[Path], None]] = {"images": pictures, "text": texts, "audio": sounds, "video": films}
SUFFIXES = {"images": ".jpg", "text": ".txt", "audio": ".wav", "video": ".mp4"}  # folder -> a suffix of its files


def source_of(task: Any, folder: Path) -> Path:
    """Return the folder below `folder` that has the files of the task's modality."""
    for name, suffix in SUFFIXES.items():
        if suffix in task.reader().suffixes:
            return folder / name
    raise AssertionError(f"{task.name} reads none of {', '.join(SUFFIXES.values())}; give check_task a source")
