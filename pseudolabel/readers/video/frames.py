"""Convert frames of libav to RGB images as a player shows them, in the wanted size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.dynamic_range import require_standard_range
from pseudolabel.readers.image.orientation import upright
from pseudolabel.readers.video.decode import libav_errors

if TYPE_CHECKING:
    import av

MIN_SIDE = 32  # pixels of the short side: below it, no motion is visible
MAX_ASPECT = 8  # long side / short side
ORIENTATIONS = {  # signs of a, b, c, d -> EXIF orientation; pixel (x, y) is shown at (a x + c y, b x + d y)
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class FrameConverter:
    """Converter of frames to upright images of square pixels, on white, with `short` pixels on the short side.

    Use one for many videos: libswscale prepares its tables again only where the shape of the frames changes.
    """

    def __init__(self, short: int) -> None:
        from av.video.reformatter import VideoReformatter

        self.short, self._scale = short, VideoReformatter()

    def __call__(self, frame: av.VideoFrame, aspect: float = 1) -> np.ndarray:
        """Return (h, w, 3) uint8 RGB. Raise `UnusableSample` below `MIN_SIDE`, above `MAX_ASPECT`, or for HDR.

        `aspect`: width / height of a pixel. libswscale scales and converts in one pass.
        """
        require_standard_range(int(frame.color_trc), int(frame.color_primaries))
        width, height = frame.width * aspect, float(frame.height)
        if min(frame.width, frame.height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
            need = f"the short side needs {MIN_SIDE} pixels, the long side at most {MAX_ASPECT} times the short side"
            raise UnusableSample(f"frames of {frame.width} x {frame.height} pixels: {need}")
        scale = self.short / min(width, height)
        clear = any(part.is_alpha for part in frame.format.components)
        small = libav_errors(
            "libswscale",
            self._scale.reformat,
            frame,
            width=round(width * scale),
            height=round(height * scale),
            format="rgba" if clear else "rgb24",
            src_color_range=frame.color_range,
            threads=1,
        ).to_ndarray()
        image, turned = _on_white(small) if clear else small, _orientation(frame)
        return upright(image, turned) if turned > 1 else image


def _orientation(frame: av.VideoFrame) -> int:
    """Return the container's rotation and mirroring as an EXIF orientation, 1 to 8."""
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX) if frame.side_data else None
    if matrix is None:
        return 1
    values = np.frombuffer(bytes(matrix), np.int32)
    return ORIENTATIONS.get(tuple(np.sign(values[[0, 1, 3, 4]]).tolist()), 1)


def _on_white(image: np.ndarray) -> np.ndarray:
    """(h, w, 4) RGBA -> (h, w, 3) on white."""
    alpha = image[..., 3:].astype(np.uint16)
    return np.asarray((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)
