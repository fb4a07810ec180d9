"""Map values of more than 8 bits to 8 bits."""

from __future__ import annotations

import re

import numpy as np

from pseudolabel.contracts import UnusableSample

BAND_ROWS = 256  # rows converted at a time, which avoids a second copy of a large image


def parse_span(span: str) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """Parse `"0.5%,99.5%"` or `"0,4095"`: return (number, is percentile) of both ends. Else raise `ValueError`."""
    number = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(%?)\s*"
    match = re.fullmatch(f"{number},{number}", span)
    if not match:
        raise ValueError(span)
    low, high = (float(match[1]), match[2] == "%"), (float(match[3]), match[4] == "%")
    if (low[1] == high[1] and low[0] >= high[0]) or any(share and not 0 <= x <= 100 for x, share in (low, high)):
        raise ValueError(span)
    return low, high


def stretch(values: np.ndarray, span: str) -> np.ndarray:
    """Map `span` of (H, W) or (H, W, C) values to 0..255 uint8, clipped. NaN and a constant image become 0."""
    low, high = _bounds(values, span)
    # halve all values: the differences of 64-bit floats stay finite, and no result changes
    scale = 255 / (high / 2 - low / 2) if high > low else 0.0
    out = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):
        for top in range(0, len(values), BAND_ROWS):
            band = (values[top : top + BAND_ROWS].astype(np.float64) / 2 - low / 2) * scale
            out[top : top + BAND_ROWS] = np.nan_to_num(band, nan=0, posinf=255, neginf=0).clip(0, 255).round()
    return out


def check_range(image: np.ndarray, values: np.ndarray, span: str) -> None:
    """Raise `UnusableSample` if an image has one colour because of `span`, not because of its values or transparency.

    `image` was made from `values`, (H, W) or (H, W, C).
    """
    if _is_flat(image) and _is_flat(stretch(values, span)) and not _is_flat(values):
        least, most = (float(edge(values[np.isfinite(values)])) for edge in (np.min, np.max))
        raise UnusableSample(f"--range {span} makes all pixels one colour: values are {least:g} to {most:g}")


def _is_flat(image: np.ndarray) -> bool:
    return bool((image[0] == image[0, 0]).all() and (image == image[0, 0]).all())


def _bounds(values: np.ndarray, span: str) -> tuple[float, float]:
    """Return the two values of `span`. Percentiles are computed on a regular grid of at most 2^20 pixels."""
    step = int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / 2**20)))
    seen = values[::step, ::step]
    seen = seen[np.isfinite(seen)].astype(np.float64)
    if not seen.size:
        raise UnusableSample("no finite pixel")
    low, high = (float(np.percentile(seen, x)) if share else x for x, share in parse_span(span))
    # percentiles may be equal, for example with a few bright specks on a plain background: use the whole range
    return (low, high) if high > low else (float(seen.min()), float(seen.max()))
