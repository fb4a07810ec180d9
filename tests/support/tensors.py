"""Values of a loader, compared with those that a run stores."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cv2
import numpy as np
import soundfile

JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


def is_stored_value(ours: Any, stored: Any, decoded: bool = False) -> bool:
    """Whether a value of a loader is the stored one. OpenCV encodes an image as a run does; if `decoded`, the
    stored one is decoded instead, since its label was made from it."""
    if isinstance(stored, str | None):
        return bool(ours == stored)
    if isinstance(stored, list) and (isinstance(ours, list) or has_media(stored)):
        return len(ours) == len(stored) and all(
            is_stored_value(*pair, decoded) for pair in zip(ours, stored, strict=True)
        )
    if not isinstance(stored, dict):
        return bool((ours.numpy() == np.array(stored)).all())
    if ours.ndim == 1:
        return bool((ours.numpy() == soundfile.read(BytesIO(stored["bytes"]), dtype="int16")[0]).all())
    shown = cv2.cvtColor(ours.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2BGR) if len(ours) == 3 else ours[0].numpy()
    if len(ours) == 1 or decoded:
        return bool((shown == cv2.imdecode(np.frombuffer(stored["bytes"], np.uint8), cv2.IMREAD_UNCHANGED)).all())
    return cv2.imencode(".jpg", shown, JPEG)[1].tobytes() == stored["bytes"]


def has_media(stored: Any) -> bool:
    while isinstance(stored, list) and stored:
        stored = stored[0]
    return isinstance(stored, dict)
