"""Values of input columns as facts: encoded media, arrays, texts, rows of tokens, numbers, and lists of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, UserError, decoding_errors
from pseudolabel.inspection.audit.image_facts import image_facts
from pseudolabel.inspection.audit.sound_facts import sound_facts
from pseudolabel.inspection.audit.text_facts import number_facts, text_facts, token_facts
from pseudolabel.transforms.image import codec, ops

Facts = Mapping[str, np.ndarray]
SOUND_STARTS = (b"fLaC", b"RIFF", b"OggS", b"ID3", b"FORM", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
TOKEN_COLUMNS = ("attention_mask", "token_type_ids")  # which belong to `input_ids`
IMAGENET_MEAN, IMAGENET_DEVIATION = 118.0, 58.0  # of 0 to 255: what normalised images are multiplied back by


class Item(NamedTuple):
    """One medium, text, row of tokens or number of a row."""

    facts: Facts
    exact: bytes  # equal for equal content
    near: int  # equal for nearly equal content
    image: np.ndarray | None = None


Items = Mapping[str, Sequence[Sequence[Item]]]  # by input column: its parts, each a list of items


def items_of(row: Mapping[str, Any], inputs: Sequence[str]) -> Items:
    """Return for each input column its parts, each a list of items: of `clips`, three parts of many frames.

    Raise `UnusableSample` for a null and for what cannot be decoded, `UserError` for a type that has no facts.
    """
    found = {}
    for name in inputs:
        if name in TOKEN_COLUMNS and "input_ids" in inputs:
            continue
        value = plain(row[name])
        try:
            if name == "input_ids" and is_numbers(value):
                others = {other: plain(row[other]) for other in TOKEN_COLUMNS if other in inputs}
                found[name] = [[_item(token_facts({name: value, **others}), np.asarray(value).tobytes())]]
            elif isinstance(value, list) and not is_numbers(value):
                found[name] = [list(_items(part)) for part in value]
            else:
                found[name] = [list(_items(value))]
        except UnusableSample as fault:
            raise UnusableSample(f"`{name}` {fault}") from fault
        except _NoFactsError as fault:
            raise UserError(
                f"`{name}` holds {fault}, of which the audit knows no facts; leave out the column"
            ) from None
    return found


def images_of(items: Items) -> list[np.ndarray]:
    """Return the images of a row, in order."""
    return [item.image for parts in items.values() for part in parts for item in part if item.image is not None]


def plain(value: Any) -> Any:
    """Convert tensors to arrays, images of Pillow to (H, W, 3) arrays, tuples and (n, H, W, C) arrays to lists."""
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        return np.asarray(value.convert("RGB"))
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    split = isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.ndim == 4)
    return list(value) if split else value


def is_numbers(value: Any) -> bool:
    """Return whether a value is a non-empty list or a 1-dimensional array of numbers."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "biuf" and len(value) > 0
    return isinstance(value, list) and bool(value) and isinstance(value[0], int | float | np.number)


class _NoFactsError(Exception):
    """A value of a type that has no facts; the message names the type."""


def _items(value: Any) -> Iterator[Item]:
    value = plain(value)
    if value is None:
        raise UnusableSample("is null")
    if is_numbers(value):
        with decoding_errors("mixes numbers with other values"):
            array = np.asarray(value)
            facts = number_facts(array.astype(float)) if array.dtype.kind == "f" else token_facts({"input_ids": array})
        yield _item(facts, array.tobytes())
    elif isinstance(value, list):
        for part in value:
            yield from _items(part)
    elif isinstance(value, str):
        folded = "".join(filter(str.isalnum, value.lower()))
        yield _item(text_facts(value), value.encode("utf-8", "surrogatepass"), folded.encode("utf-8", "surrogatepass"))
    elif hasattr(value, "get_all_samples"):  # torchcodec's decoder, as `datasets` returns it
        samples = value.get_all_samples()
        yield _sound(np.asarray(samples.data)[0], int(samples.sample_rate))
    elif isinstance(value, Mapping) and "array" in value:
        yield _sound(np.asarray(value["array"]), int(value["sampling_rate"]))
    elif isinstance(value, bytes):
        yield _decode(value)
    elif isinstance(value, Mapping) and "bytes" in value:
        if not value["bytes"]:
            raise UnusableSample("holds no bytes" + (", only a path" if value.get("path") else ""))
        yield _decode(value["bytes"])
    elif isinstance(value, np.ndarray) and value.ndim in (2, 3) and value.dtype.kind in "biuf" and value.size:
        yield _image(_as_rgb(value), None, value.tobytes())
    elif isinstance(value, int | float | np.number):
        yield _item({"value": np.array([float(value)])}, repr(value).encode())
    else:
        raise _NoFactsError(
            f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        )


def _decode(encoded: bytes) -> Item:
    import soundfile

    if encoded.startswith(SOUND_STARTS) and encoded[8:12] != b"WEBP":
        with decoding_errors("holds a sound that cannot be decoded"):
            wave, rate = soundfile.read(BytesIO(encoded), dtype="float32", always_2d=True)
        return _sound(wave[:, 0], rate, encoded)
    return _image(codec.decode_stored({"bytes": encoded}), encoded, encoded)


def _image(image: np.ndarray, encoded: bytes | None, content: bytes) -> Item:
    return Item(image_facts(image, encoded), _digest(content), ops.dhash(image)[0], image)


def _sound(wave: np.ndarray, rate: int, encoded: bytes | None = None) -> Item:
    return _item(sound_facts(wave, rate, encoded), wave.tobytes())


def _item(facts: Facts, content: bytes, near: bytes | None = None) -> Item:
    return Item(facts, _digest(content), int.from_bytes(_digest(content if near is None else near), "little"))


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).digest()


def _as_rgb(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, C) or (C, H, W) of any type -> (H, W, 3) uint8; floats beyond 0..1 count as normalised."""
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, 2)
    if array.dtype.kind == "b":
        array = array * np.uint8(255)
    if array.dtype.kind == "f":
        array = np.nan_to_num(array)
        within = array.min() >= 0 and array.max() <= 1
        beyond = array.min() >= 0 and array.max() > 8  # 0 to 255
        array = array if beyond else array * 255 if within else array * IMAGENET_DEVIATION + IMAGENET_MEAN
    array = np.asarray(np.clip(array, 0, 255), np.uint8)
    array = array[..., None] if array.ndim == 2 else array[..., : 3 if array.shape[2] >= 3 else 1]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
