"""Boxes of a row: tasks count them in pixels of the decoded image, which may be reduced; rows count in the source's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pseudolabel.readers.image.reduction import ReducedImage

BOX_COLUMNS = ("box", "boxes")


def scale_boxes(row: dict[str, Any], image: Any, by: Callable[[Any, int], Any]) -> dict[str, Any]:
    """Scale boxes by the factor of a reduced image: `mul` to pixels of the source, `floordiv` to pixels of the image.

    Return the row of any other sample as it is.
    """
    if not isinstance(image, ReducedImage):
        return row
    return {**row, **{name: by(np.array(row[name]), image.factor).tolist() for name in BOX_COLUMNS if name in row}}
