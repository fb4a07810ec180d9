"""High dynamic range and wide gamut, in videos and images: refused, because they would look faded as BT.709."""

from __future__ import annotations

from pseudolabel.contracts import UnusableSample

# Transfer characteristics and colour primaries of ITU-T H.273. P3 is accepted, as images with a P3 profile are
WIDE_TRANSFERS = {8: "linear", 9: "logarithmic", 10: "logarithmic", 16: "PQ", 18: "HLG"}
WIDE_PRIMARIES = {9: "BT.2020"}
TO_SDR = "ffmpeg -vf zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709,format=yuv420p"


def wide_range(transfer: int, primaries: int) -> str:
    """Return the names of those codes that are of high dynamic range or wide gamut; else ""."""
    return ", ".join(filter(None, (WIDE_TRANSFERS.get(transfer), WIDE_PRIMARIES.get(primaries))))


def require_standard_range(transfer: int, primaries: int) -> None:
    """Raise `UnusableSample` if one of the codes is of high dynamic range or wide gamut."""
    names = wide_range(transfer, primaries)
    if names:
        raise UnusableSample(f"HDR or wide gamut ({names}) is not read; convert it: {TO_SDR}")
