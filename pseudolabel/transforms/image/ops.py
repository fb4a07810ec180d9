"""Image operations that tasks share, on (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.transforms.image.color import LUMA

JPEG_TOLERANCE = 12.0  # of 255; largest mean loss in 8 x 8 pixels at JPEG quality 95, with a margin for other codecs
THUMBNAIL_TOLERANCE = 12.0  # of 255; largest mean difference of two thumbnails of one region, resized in different ways


def mirror(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3), mirrored left to right."""
    import cv2

    return np.asarray(cv2.flip(image, 1))  # copying a view with negative strides, pixel by pixel, is 40 times slower


def rotate_quarters(image: np.ndarray, quarters: int) -> np.ndarray:
    """(H, W, 3) -> the image rotated counter-clockwise by 0 to 3 quarter turns."""
    import cv2

    codes = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    return np.asarray(cv2.rotate(image, codes[quarters - 1])) if quarters else image


def resize(image: np.ndarray, height: int, width: int, cubic: bool = False) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3): shrink by a whole factor with area averaging, then interpolate bilinearly.

    With `cubic`, an image that is enlarged is interpolated bicubically. Averaging whole blocks prevents aliasing and
    takes a fraction of the time of decoding; averaging fractions of pixels takes longer.
    """
    import cv2

    down, across = image.shape[0] // height, image.shape[1] // width
    if down > 1 or across > 1:
        size = (image.shape[1] // max(across, 1), image.shape[0] // max(down, 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    enlarged = height > image.shape[0] or width > image.shape[1]
    rest = cv2.INTER_CUBIC if cubic and enlarged else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=rest))


def is_flat(image: np.ndarray) -> bool:
    """(H, W, 3) -> whether all pixels have one colour. Two corners are compared first, then a few pixels, for speed."""
    first = image[0, 0]
    corners = first.tolist() == image[-1, -1].tolist()
    return corners and bool((image[::16, ::16] == first).all() and (image == first).all())


def check_not_flat(image: np.ndarray) -> None:
    """Raise `UnusableSample` if all pixels have one colour: the place and the rotation of a part cannot be inferred."""
    if is_flat(image):
        white = ", as in an empty or fully transparent image" if image[0, 0].min() == 255 else ""
        raise UnusableSample(f"blank: all pixels have one colour{white}")


def dhash(image: np.ndarray) -> tuple[int, int]:
    """(H, W, 3) -> the difference hash (64 bits) of the image and of the mirrored image.

    A bit says whether a cell of a 9 x 8 thumbnail is brighter than its right neighbour (Krawetz 2013, "Kind of like
    that"). Size, codec and brightness change few bits.
    """
    import cv2

    some = cv2.cvtColor(cv2.resize(image, (9 * 16, 8 * 16), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(some, (9, 8), interpolation=cv2.INTER_AREA)  # 16 x 16 samples a cell; all pixels: 6 times slower
    brighter = (cells[:, :-1] > cells[:, 1:], cells[:, :0:-1] > cells[:, -2::-1])
    one, mirrored = (int.from_bytes(np.packbits(bits).tobytes(), "big") for bits in brighter)
    return one, mirrored


def equal_up_to_jpeg(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two (H, W, 3) images are equal up to the loss of JPEG, in every window of 8 x 8 pixels."""
    import cv2

    if one.shape != other.shape:
        return False
    apart = cv2.absdiff(one, other).astype(np.float32).mean(2)
    return bool(cv2.blur(apart, (8, 8)).max() <= JPEG_TOLERANCE)


def similar_thumbnail(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether 4 x 4 thumbnails of the luma of two (H, W, 3 or 1) images of any size are similar."""
    import cv2

    gray = [image @ np.array(LUMA, np.float32) if image.shape[2] == 3 else image[..., 0] for image in (one, other)]
    small = [cv2.resize(image.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA) for image in gray]
    return bool(np.abs(small[0] - small[1]).mean() <= THUMBNAIL_TOLERANCE)


def crop(image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """(H, W, 3) and left, top, right, bottom -> the part of the image inside the box."""
    left, top, right, bottom = box
    return image[top:bottom, left:right]
