"""Pictures drawn for the tests of image tasks, and the means to read them back that are none of the tasks' own."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pseudolabel.contracts import chance_for
from pseudolabel.tasks.base import media
from pseudolabel.tasks.base.task import Row, SampleTask, Task


def rows(task: SampleTask, image: np.ndarray, count: int = 1) -> list[Row]:
    """The rows of `count` copies of a picture."""
    chance = chance_for(0, task.name)
    return [encoded(task, row) for i in range(count) for row in task.rows(image, chance("a.png", i))]


def encoded(task: Task, row: Row) -> Row:
    """The row as it is stored."""
    return media.encode_media(task.columns(), row)


def opened(media: dict[str, bytes]) -> np.ndarray:
    """(H, W, 3) RGB of a media column, as any trainer reads it."""
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(media["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


def photograph(height: int, width: int, seed: int = 3) -> np.ndarray:
    """A smooth picture in which no two places look alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def board(down: int, across: int, cell: int) -> np.ndarray:
    """Flat cells: red tells the column, green the row, blue is 90."""
    y, x = np.mgrid[: down * cell, : across * cell] // cell
    return np.stack([40 + 200 * x // across, 40 + 200 * y // down, np.full_like(x, 90)], 2).astype(np.uint8)


def arrow(height: int, width: int) -> np.ndarray:
    """A white arrow on black that points up, its head red, beside a green spot on its right."""
    image = np.zeros((height, width, 3), np.uint8)
    middle, side = width // 2, min(height, width)
    cv2.arrowedLine(
        image, (middle, height // 2 + side // 4), (middle, height // 2 - side // 4), (255, 255, 255), side // 20
    )
    cv2.circle(image, (middle, height // 2 - side // 4), side // 10, (255, 0, 0), -1)
    cv2.circle(image, (middle + side // 4, height // 2), side // 14, (0, 255, 0), -1)
    return image


def sampled(image: np.ndarray, box: Sequence[float], size: tuple[int, int], flip: bool = False) -> np.ndarray:
    """What `box` (left, top, right, bottom) of a picture shows at `size` (height, width), one look per pixel."""
    left, top, right, bottom = box
    x = np.float32(left + (np.arange(size[1]) + 0.5) * (right - left) / size[1] - 0.5)
    y = np.float32(top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0] - 0.5)
    smooth = cv2.GaussianBlur(image, (0, 0), max((right - left) / size[1] / 3, 0.01))
    out = cv2.remap(smooth, *np.meshgrid(x, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out[:, ::-1] if flip else out


def far(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two pictures of one size."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())
