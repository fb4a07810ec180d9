"""Chroma subsampling: find files whose chroma is coarser in one direction, and make it as coarse in the other.

JPEG 4:2:2 has half of the chroma samples across and all of them down. After a rotation by 90 degrees, the chroma is
coarser in the other direction, which reveals the rotation. WebP needs no check: its chroma is 4:2:0 or 4:4:4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

BAND_ROWS = 64  # a multiple of the pixels that share a sample of chroma
AV1_CONFIGURATION = b"av1C\x81"  # type of the box, then its marker and version; profile and sampling follow
YCBCR, JPEG_IN_TIFF = 6, 7  # PhotometricInterpretation, Compression


class Sampling(NamedTuple):
    """How many pixels share a sample of chroma, and whether the decoder interpolated between samples."""

    across: int
    down: int
    smooth: bool

    @property
    def even(self) -> bool:
        """Return whether chroma is equally fine in both directions."""
        return self.across == self.down


def jpeg_sampling(factors: bytes) -> Sampling:
    """Return the `Sampling` of the components' factors: across in the high 4 bits, down in the low 4 bits."""
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


def even_chroma(image: np.ndarray, sampling: Sampling, ycc: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB, or Y, Cb, Cr if `ycc` -> (H, W, 3) uint8 RGB with chroma equally coarse both ways."""
    import cv2

    step, out = max(sampling.across, sampling.down), np.empty_like(image)
    for top in range(0, len(image), BAND_ROWS):  # a band stays in the processor's cache
        start = max(0, top - step)  # interpolation needs a sample of chroma above the band, and one below
        band = image[start : top + BAND_ROWS + step]
        luma, *chroma = cv2.split(band if ycc else cv2.cvtColor(band, cv2.COLOR_RGB2YCrCb))
        planes = [luma, *(_reduce(plane, sampling) for plane in (chroma[::-1] if ycc else chroma))]
        made = cv2.merge([plane[top - start :][:BAND_ROWS] for plane in planes])
        cv2.cvtColor(made, cv2.COLOR_YCrCb2RGB, dst=out[top : top + BAND_ROWS])
    return out


def _reduce(plane: np.ndarray, sampling: Sampling) -> np.ndarray:
    """(H, W) -> (H, W): average the finer direction as encoders do, and enlarge it as the decoder did."""
    import cv2

    step = max(sampling.across, sampling.down)
    across, down = step // sampling.across, step // sampling.down  # one of them is 1
    height, width = plane.shape
    padded = cv2.copyMakeBorder(plane, 0, -height % down, 0, -width % across, cv2.BORDER_REPLICATE)
    full = padded.shape[::-1]
    mean = cv2.INTER_LINEAR if step == 2 else cv2.INTER_AREA  # of two they are the same, in half the time
    coarse = cv2.resize(padded, (full[0] // across, full[1] // down), interpolation=mean)
    kind = cv2.INTER_LINEAR if sampling.smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(coarse, full, interpolation=kind)[:height, :width])
