"""Boxes of a row: tasks count them in pixels of the decoded image, which may be reduced; rows count in the source's."""

from __future__ import annotations

from typing import Any

import numpy as np

from pseudolabel.readers.image.reduction import ReducedImage

BOX_COLUMNS = ("box", "boxes")


def in_source_pixels(row: dict[str, Any], image: Any) -> dict[str, Any]:
    """Multiply boxes in pixels of a reduced image by its factor. Return the row of any other sample as it is."""
    if not isinstance(image, ReducedImage):
        return row
    return {**row, **{name: (np.array(row[name]) * image.factor).tolist() for name in BOX_COLUMNS if name in row}}


def in_image_pixels(row: dict[str, Any], image: Any) -> dict[str, Any]:
    """Undo `in_source_pixels`."""
    if not isinstance(image, ReducedImage):
        return row
    return {**row, **{name: (np.array(row[name]) // image.factor).tolist() for name in BOX_COLUMNS if name in row}}
