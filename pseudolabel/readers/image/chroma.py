"""Chroma subsampling: find files whose chroma is coarser in one direction, and make it as coarse in the other.

JPEG 4:2:2 has half of the chroma samples across and all of them down. Whoever turns such an image leaves a trace of the
turn. WebP is not looked at: its chroma is 4:2:0 or 4:4:4, the same in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import decoding_errors
from pseudolabel.readers.image.tone import BAND_ROWS

if TYPE_CHECKING:
    from PIL import Image

AV1_CONFIGURATION = b"av1C\x81"  # type of the box, then its marker and version; profile and sampling follow
YCBCR, JPEG_IN_TIFF = 6, 7  # PhotometricInterpretation, Compression


class Sampling(NamedTuple):
    """How many pixels share a sample of chroma, and whether the decoder interpolated between samples."""

    across: int
    down: int
    smooth: bool

    @property
    def even(self) -> bool:
        """Whether chroma is equally fine in both directions."""
        return self.across == self.down


def jpeg_sampling(factors: bytes) -> Sampling:
    """Sampling factors of the components, across in the high 4 bits and down in the low ones -> their `Sampling`."""
    across, down = [factor >> 4 for factor in factors], [factor & 15 for factor in factors]
    steps = max(across) // max(1, min(across)), max(down) // max(1, min(down))
    return Sampling(*steps, smooth=max(steps) == 2)  # libjpeg repeats samples that stand for more than two pixels


def picture_sampling(picture: Image.Image, data: bytes) -> Sampling:
    """Return how the chroma of an opened image is sampled."""
    if picture.format == "JPEG":
        return jpeg_sampling(bytes(h << 4 | v for _, h, v, _ in picture.layer))  # type: ignore[attr-defined]
    if picture.format == "TIFF" and picture.tag_v2.get(262) == YCBCR:  # type: ignore[attr-defined]
        across, down = picture.tag_v2.get(530, (2, 2))  # type: ignore[attr-defined]
        return Sampling(across, down, picture.tag_v2.get(259) == JPEG_IN_TIFF)  # type: ignore[attr-defined]
    if picture.format == "AVIF":
        found = data.find(AV1_CONFIGURATION)
        if found >= 0:
            flags = data[found + 6]
            return Sampling(1 + (flags >> 3 & 1), 1 + (flags >> 2 & 1), True)
    return Sampling(1, 1, True)


def even_jpeg(data: bytes, sampling: Sampling) -> np.ndarray:
    """Decode a JPEG of YCbCr to (H, W, 3) uint8 RGB, not yet upright, with chroma equally coarse in both directions."""
    from PIL import Image

    with decoding_errors("broken JPEG"):
        picture = Image.open(BytesIO(data), formats=("JPEG",))
        picture.draft("YCbCr", None)  # conversion to RGB would clip, and mix luma into chroma
        luma, blue, red = (np.array(picture.getchannel(channel)) for channel in range(3))
    del picture
    return _merge(luma, [red, blue], sampling)


def even_chroma(image: np.ndarray, sampling: Sampling) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same, with chroma equally coarse in both directions."""
    import cv2

    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return _merge(luma, chroma, sampling)


def _merge(luma: np.ndarray, chroma: Sequence[np.ndarray], sampling: Sampling) -> np.ndarray:
    import cv2

    planes = [luma, *(_reduce(plane, sampling) for plane in chroma)]
    out = np.empty((*luma.shape, 3), np.uint8)
    for top in range(0, len(out), BAND_ROWS):
        band = cv2.merge([plane[top : top + BAND_ROWS] for plane in planes])
        out[top : top + BAND_ROWS] = cv2.cvtColor(band, cv2.COLOR_YCrCb2RGB)
    return out


def _reduce(plane: np.ndarray, sampling: Sampling) -> np.ndarray:
    """(H, W) -> (H, W): average the finer direction as encoders do, and enlarge it as the decoder did."""
    import cv2

    step = max(sampling.across, sampling.down)
    across, down = step // sampling.across, step // sampling.down  # one of them is 1
    height, width = plane.shape
    padded = cv2.copyMakeBorder(plane, 0, -height % down, 0, -width % across, cv2.BORDER_REPLICATE)
    full = padded.shape[::-1]
    coarse = cv2.resize(padded, (full[0] // across, full[1] // down), interpolation=cv2.INTER_AREA)
    kind = cv2.INTER_LINEAR if sampling.smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(coarse, full, interpolation=kind)[:height, :width])
