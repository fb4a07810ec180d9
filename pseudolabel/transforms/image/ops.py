"""Pictures as arrays: (H, W, 3) uint8 RGB, and the few operations that tasks share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pseudolabel.transforms.image.color import LUMA

JPEG_TOLERANCE = (
    12.0  # of 255: what JPEG takes from a place of 8 x 8 pixels at q95, at most, with room for another codec
)
THUMBNAIL_TOLERANCE = 12.0  # the mean of the same, of thumbnails of one place that were made in two ways


def mirror(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3), left and right swapped."""
    import cv2

    return np.asarray(cv2.flip(image, 1))  # a view of negative strides is copied pixel by pixel, at 40 times the cost


def rotate_quarters(image: np.ndarray, quarters: int) -> np.ndarray:
    """(H, W, 3) -> the same counter-clockwise by 0 to 3 quarters of a circle."""
    import cv2

    codes = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    return np.asarray(cv2.rotate(image, codes[quarters - 1])) if quarters else image


def resize(image: np.ndarray, height: int, width: int, cubic: bool = False) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3): shrunk by a whole number with area averaging, then bilinear for the rest.

    Where it is enlarged, and `cubic`, it is bicubic.

    Averaging whole blocks keeps aliasing out at a fraction of a decode's time; of fractions of pixels it costs more.
    """
    import cv2

    down, across = image.shape[0] // height, image.shape[1] // width
    if down > 1 or across > 1:
        size = (image.shape[1] // max(across, 1), image.shape[0] // max(down, 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    enlarged = height > image.shape[0] or width > image.shape[1]
    rest = cv2.INTER_CUBIC if cubic and enlarged else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=rest))


def dhash(image: np.ndarray) -> tuple[int, int]:
    """(H, W, 3) -> 64 bits of which few change with size, codec or brightness; and those of the picture mirrored.

    Is each cell of a 9 x 8 thumbnail brighter than the one to its right? (Krawetz 2013, "Kind of like that".)
    """
    import cv2

    some = cv2.cvtColor(cv2.resize(image, (9 * 16, 8 * 16), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(some, (9, 8), interpolation=cv2.INTER_AREA)  # of 16 x 16 places each; of all, six times as slow
    brighter = (cells[:, :-1] > cells[:, 1:], cells[:, :0:-1] > cells[:, -2::-1])
    one, mirrored = (int.from_bytes(np.packbits(bits).tobytes(), "big") for bits in brighter)
    return one, mirrored


def equal_up_to_jpeg(one: np.ndarray, other: np.ndarray) -> bool:
    """(H, W, 3) twice: whether they are one picture, up to what JPEG loses: in every place of 8 x 8 pixels."""
    import cv2

    if one.shape != other.shape:
        return False
    apart = cv2.absdiff(one, other).astype(np.float32).mean(2)
    return bool(cv2.blur(apart, (8, 8)).max() <= JPEG_TOLERANCE)


def similar_thumbnail(one: np.ndarray, other: np.ndarray) -> bool:
    """(H, W, 3 or 1), of any sizes: whether thumbnails of 4 x 4 of their lightness are about the same."""
    import cv2

    gray = [image @ np.array(LUMA, np.float32) if image.shape[2] == 3 else image[..., 0] for image in (one, other)]
    small = [cv2.resize(image.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA) for image in gray]
    return bool(np.abs(small[0] - small[1]).mean() <= THUMBNAIL_TOLERANCE)


def crop(image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """(H, W, 3) and left, top, right, bottom -> the part of it in there."""
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def crop_subpixel(image: np.ndarray, box: Sequence[float], side: int = 128) -> np.ndarray:
    """(H, W, 3) and left, top, right, bottom, fractions of pixels as well -> (side, side, 3): what lies in there."""
    import cv2

    left, top, right, bottom = box
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(left + steps * (right - left) - 0.5, top + steps * (bottom - top) - 0.5)
    return np.asarray(
        cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    )
