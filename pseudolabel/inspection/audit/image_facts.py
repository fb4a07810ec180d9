"""Facts of an image and of its file that need no understanding of what it shows."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from pseudolabel.contracts import UnusableSample

EDGE = 16  # columns and rows at each border whose gradients are facts one by one
PERIOD = 8  # pixels of a JPEG block
SEGMENTS = 32  # of each border, whose pixels are facts
TINY = 0.01  # gray levels, added before a logarithm or a division
MARKS = {b"\xff\xd8": (b"\xff\xda", b"\xff\xd9"), b"\x89P": (b"IDAT", b"IEND")}  # start -> before and after the pixels


def file_facts(encoded: bytes) -> dict[str, np.ndarray]:
    """Return facts of an image file: the log of its size, the bytes before and after its pixels, JPEG quantisation."""
    from PIL import Image

    before, after = MARKS.get(encoded[:2], (b"", b""))
    head, end = (encoded.find(before), encoded.rfind(after)) if before else (0, len(encoded))
    tables = getattr(Image.open(BytesIO(encoded)), "quantization", {})
    return {
        "file size": np.array([np.log(max(1, len(encoded))), head, len(encoded) - end]),
        "JPEG quality": np.array([sum(tables.get(i, ())) for i in range(2)], float),
    }


def image_facts(image: np.ndarray, encoded: bytes | None = None) -> dict[str, np.ndarray]:
    """(H, W, 3) uint8 RGB, and the bytes of its file if there was one -> facts by kind, each a vector of numbers.

    The length of a vector is the same for every image. Raise `UnusableSample` for an image below 4 x 4 pixels.
    """
    import cv2

    if min(image.shape[:2]) < 4:
        raise UnusableSample(f"holds an image of {image.shape[1]} x {image.shape[0]} pixels, 4 x 4 are needed")
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    luma = planes[0]
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    profiles = [_relative(one) for one in (across.mean(0), down.mean(1), luma.var(0), luma.var(1))]
    found = {
        "picture size": np.array(image.shape[:2], float),
        "brightness and contrast": np.array([f(plane) for plane in planes for f in (np.mean, np.std)]),
        "gradients": _steps(luma),
        "chroma": np.concatenate([_steps(plane) for plane in planes[1:]]),
        "border pixels": np.concatenate([*map(_ends, profiles), *map(_border, _sides(luma))]),
        "block grid": np.concatenate([_phases(one) for one in profiles]),
    }
    return found if encoded is None else {**file_facts(encoded), **found}


def patch_facts(image: np.ndarray, at: int, sides: tuple[int, int]) -> np.ndarray:
    """Return mean, spread and gradients of the patch at a place of a grid with `sides` rows and columns."""
    down, across = divmod(at % (sides[0] * sides[1]), sides[1])
    high, wide = image.shape[0] // sides[0], image.shape[1] // sides[1]
    patch = image[down * high : (down + 1) * high, across * wide : (across + 1) * wide].mean(2)
    slopes = [np.abs(np.diff(patch, axis=axis)).mean() if patch.shape[axis] > 1 else 0.0 for axis in (0, 1)]
    return np.array([patch.mean(), patch.std(), *slopes])


def _relative(profile: np.ndarray) -> np.ndarray:
    return np.asarray(profile / (profile.mean() + TINY))


def _steps(plane: np.ndarray) -> np.ndarray:
    """Return the logarithms of the mean differences of pixels that are 1 and 2 apart, across and down."""
    across = [np.abs(plane[:, n:] - plane[:, :-n]).mean() for n in (1, 2)]
    down = [np.abs(plane[n:] - plane[:-n]).mean() for n in (1, 2)]
    return np.asarray(np.log(np.array([*across, *down]) + TINY))


def _ends(profile: np.ndarray) -> np.ndarray:
    """Return the first and the last EDGE values, with zeros where the profile is shorter."""
    found, count = np.zeros(2 * EDGE), min(EDGE, len(profile))
    found[:count], found[len(found) - count :] = profile[:count], profile[-count:]
    return found


def _phases(profile: np.ndarray) -> np.ndarray:
    """Return the mean of the values at each phase of a block of JPEG."""
    return np.array([profile[at::PERIOD].mean() if at < len(profile) else 0.0 for at in range(PERIOD)])


def _sides(luma: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the four outermost lines of pixels, each with its neighbour."""
    return (luma[0], luma[1]), (luma[-1], luma[-2]), (luma[:, 0], luma[:, 1]), (luma[:, -1], luma[:, -2])


def _border(lines: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the first pixel of each segment of a line, and its largest difference from the neighbouring line."""
    line, neighbour = lines
    starts = np.arange(SEGMENTS) * len(line) // SEGMENTS
    apart = line - neighbour
    most, least = np.maximum.reduceat(apart, starts), np.minimum.reduceat(apart, starts)
    starts[-1] = len(line) - 1  # the last corner
    return np.concatenate([line[starts], np.where(most > -least, most, least)])
