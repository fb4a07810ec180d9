"""Values of input columns as facts: encoded media, arrays, texts, rows of tokens, numbers, and lists of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.inspection.audit.image_facts import dhash, image_facts
from pseudolabel.inspection.audit.sound_facts import sound_facts
from pseudolabel.inspection.audit.text_facts import text_facts, token_facts

Facts = Mapping[str, np.ndarray]
SOUND_STARTS = (b"fLaC", b"RIFF", b"OggS", b"ID3", b"FORM")
TOKEN_COLUMNS = ("attention_mask", "token_type_ids")  # beside `input_ids`
IMAGENET_MEAN, IMAGENET_DEVIATION = 118.0, 58.0  # of 0 to 255: what normalised images are multiplied back by


class Item(NamedTuple):
    """One medium, text, row of tokens or number of a row."""

    facts: Facts
    exact: bytes  # equal for equal content
    near: int  # equal for nearly equal content
    image: np.ndarray | None = None


def items_of(row: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, list[list[Item]]]:
    """Return for each input column its parts, each a list of items: of `clips`, three parts of many frames."""
    found = {}
    for name in inputs:
        value = _plain(row[name])
        if name in TOKEN_COLUMNS and "input_ids" in inputs:
            continue
        if _is_tokens(value):
            tokens = {other: _plain(row[other]) for other in TOKEN_COLUMNS if name == "input_ids" and other in inputs}
            found[name] = [[_item(token_facts({"input_ids": value, **tokens}), np.asarray(value).tobytes())]]
        elif isinstance(value, list):
            found[name] = [list(_items(part)) for part in value]
        else:
            found[name] = [list(_items(value))]
    return found


def _plain(value: Any) -> Any:
    """Convert tensors to arrays and pictures of Pillow to (H, W, 3) arrays."""
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        return np.asarray(value.convert("RGB"))
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, tuple):
        value = list(value)
    return list(value) if isinstance(value, np.ndarray) and value.ndim in (1, 4) else value


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], int | np.integer)


def _items(value: Any) -> Iterator[Item]:
    value = _plain(value)
    if isinstance(value, list):
        for part in value:
            yield from _items(part)
    elif isinstance(value, str):
        folded = "".join(filter(str.isalnum, value.lower()))
        yield _item(text_facts(value), value.encode("utf-8", "surrogatepass"), folded.encode())
    elif isinstance(value, Mapping) and "array" in value:
        wave = np.asarray(value["array"])
        yield _item(sound_facts(wave, int(value["sampling_rate"])), wave.tobytes())
    elif isinstance(value, bytes) or (isinstance(value, Mapping) and value.get("bytes")):
        yield _decoded(value if isinstance(value, bytes) else value["bytes"])
    elif isinstance(value, np.ndarray) and value.ndim in (2, 3):
        yield _image(_as_rgb(value), None, value.tobytes())
    elif isinstance(value, int | float | np.number):
        yield _item({"value": np.array([float(value)])}, repr(value).encode())
    elif value is not None:
        raise UserError(f"an input is a {type(value).__name__}, which the audit cannot read; leave out its column")


def _decoded(encoded: bytes) -> Item:
    import soundfile

    from pseudolabel.transforms.image import codec

    if encoded.startswith(SOUND_STARTS) and encoded[8:12] != b"WEBP":
        wave, rate = soundfile.read(BytesIO(encoded), dtype="float32", always_2d=True)
        return _item(sound_facts(wave[:, 0], rate, len(encoded)), encoded)
    return _image(codec.decode_stored({"bytes": encoded}), len(encoded), encoded)


def _image(image: np.ndarray, size: int | None, content: bytes) -> Item:
    return Item(image_facts(image, size), _digest(content), dhash(image), image)


def _item(facts: Facts, content: bytes, near: bytes | None = None) -> Item:
    return Item(facts, _digest(content), int.from_bytes(_digest(content if near is None else near), "little"))


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _as_rgb(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, C) or (C, H, W) of any type -> (H, W, 3) uint8; floats beyond 0..1 count as normalised."""
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.kind == "f":
        within = array.min() >= 0 and array.max() <= 1
        array = array * 255 if within else array * IMAGENET_DEVIATION + IMAGENET_MEAN
    array = np.asarray(np.clip(array, 0, 255), np.uint8)
    array = array[..., None] if array.ndim == 2 else array[..., :3]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
