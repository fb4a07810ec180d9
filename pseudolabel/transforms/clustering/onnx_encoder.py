"""ONNX encoder: the user's network, its input, and the part of its output that is used as features."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, UserError, decoding_errors, one_line
from pseudolabel.storage.files import file_stamp
from pseudolabel.transforms.image import ops

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEFAULT_SIDE = 224  # pixels, if the network takes any size
IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}  # the defaults
PREPROCESSOR_FILE = "preprocessor_config.json"  # beside the network, as saved by Hugging Face: image_mean, image_std


class Network(NamedTuple):
    """A loaded network with one input."""

    session: InferenceSession
    side: int  # pixels of the input, if the network takes images
    mean: np.ndarray
    deviation: np.ndarray
    digest: str  # SHA-256 of all that features depend on: the file, the mean, the deviation

    def picture(self, image: np.ndarray) -> np.ndarray:
        """Return (D,) float32 features of an (H, W, 3) uint8 RGB image. The input is (1, 3, side, side) float32: the
        largest square in the centre, resized, divided by 255, minus the mean, divided by the deviation."""
        height, width, _ = image.shape
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = ops.resize(image[top : top + short, left : left + short], self.side, self.side)
        x = (square.astype(np.float32) / 255 - self.mean) / self.deviation
        return self._finite(x.transpose(2, 0, 1))

    def sound(self, wave: np.ndarray) -> np.ndarray:
        """Return (D,) float32 features of an (n,) int16 waveform. The input is (1, n) float32 in [-1, 1)."""
        return self._finite(wave.astype(np.float32) / 32768)

    def _finite(self, x: np.ndarray) -> np.ndarray:
        found = self.of(x)
        if not np.isfinite(found).all():
            raise UnusableSample("the output of the network has NaN or infinity")
        return found

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the first output for a batch of one: (1, D) itself, (1, T, D) averaged over T, (1, D, H, W) over H, W.

        Raise `UnusableSample` if the network fails on `x`, for example because a waveform is too short.
        """
        name = self.session.get_inputs()[0].name
        with decoding_errors("the network fails on this input"):
            given = {name: np.ascontiguousarray(x[None], np.float32)}
            (out,) = np.asarray(self.session.run(None, given)[0], np.float32)
            if out.ndim not in (1, 2, 3) or not out.size:
                raise UnusableSample(f"the output is {(1, *out.shape)}, not (1, D), (1, T, D) or (1, D, H, W)")
            return np.asarray(out.mean(0) if out.ndim == 2 else out.reshape(len(out), -1).mean(1))


def load_network(path: Path) -> Network:
    """Load an ONNX file for one thread. Raise `UserError` if loading fails or the input is not one float32 tensor."""
    return _load_network(path, file_stamp(path), file_stamp(path.with_name(PREPROCESSOR_FILE)))


def output_width(path: Path, wave: int | None) -> int:
    """Return D for waveforms of `wave` samples, or for images if None. Raise `UserError` if the network fails."""
    loaded = load_network(path)
    wanted = (3, loaded.side, loaded.side) if wave is None else (wave,)
    try:
        return len(loaded.of(np.zeros(wanted, np.float32)))
    except UnusableSample as bad:
        (takes,) = loaded.session.get_inputs()
        what = f"takes {takes.name} of shape {takes.shape}, but is given {(1, *wanted)}"
        raise UserError(f"--encoder {path} {what}: {bad}; give a network for this modality and a batch of 1") from None


@lru_cache(maxsize=1)
def _load_network(path: Path, written: tuple[int, int], beside: tuple[int, int]) -> Network:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("--encoder needs onnxruntime; type pip install 'pseudolabel[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # onnxruntime would read external weights from the current folder; give it a folder that does not exist
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path / "none"))
    try:
        content = path.read_bytes()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        about = json.loads(path.with_name(PREPROCESSOR_FILE).read_text("utf-8")) if beside != (0, 0) else {}
        spread = [np.array(np.broadcast_to(about.get(name, usual), 3), np.float32) for name, usual in IMAGENET.items()]
    except Exception as fault:  # a third-party decoder may raise anything for a bad file
        raise UserError(
            f"--encoder {path} cannot be loaded: {one_line(fault)}; give one .onnx file with all weights"
        ) from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        takes = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise UserError(f"--encoder {path} takes {takes}; give a network with one input, of float32")
    side = inputs[0].shape[-1] if inputs[0].shape else DEFAULT_SIDE
    own = sha256(content + b"".join(array.tobytes() for array in spread)).hexdigest()
    return Network(session, side if isinstance(side, int) else DEFAULT_SIDE, spread[0], spread[1], own)


def copy_network(path: Path, to: Path) -> None:
    """Copy a network, and its `PREPROCESSOR_FILE` if there is one."""
    shutil.copy(path, to)
    if path.with_name(PREPROCESSOR_FILE).exists():
        shutil.copy(path.with_name(PREPROCESSOR_FILE), to.with_name(PREPROCESSOR_FILE))
