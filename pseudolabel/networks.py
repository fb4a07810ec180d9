"""The user's own network, an ONNX file: what it is given, and which numbers are taken of what it gives."""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel import pixels
from pseudolabel.sample import Refused

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIDE = 224  # pixels, where the network takes any size
USUAL = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}  # ImageNet's
ABOUT = "preprocessor_config.json"  # beside the network, as Hugging Face saves it: image_mean, image_std


class Network(NamedTuple):
    """A network of one input, loaded."""

    session: InferenceSession
    side: int  # pixels of a picture, for one of pictures
    mean: np.ndarray
    deviation: np.ndarray

    def picture(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (D,) float32. The network is given (1, 3, side, side) float32: the largest square in
        the middle, resized, over 255, less the mean and over the deviation."""
        height, width, _ = image.shape
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = pixels.resize(image[top : top + short, left : left + short], self.side, self.side)
        x = (square.astype(np.float32) / 255 - self.mean) / self.deviation
        return self._run(x.transpose(2, 0, 1))

    def sound(self, wave: np.ndarray) -> np.ndarray:
        """(n,) int16 -> (D,) float32. The network is given (1, n) float32 in [-1, 1)."""
        return self._run(wave.astype(np.float32) / 32768)

    def _run(self, x: np.ndarray) -> np.ndarray:
        """The first output for a batch of one: (1, D) as it is, (1, T, D) its mean over T, (1, D, H, W) over H, W."""
        name = self.session.get_inputs()[0].name
        (out,) = np.asarray(self.session.run(None, {name: np.ascontiguousarray(x[None], np.float32)})[0], np.float32)
        return np.asarray(out.mean(0) if out.ndim == 2 else out.reshape(len(out), -1).mean(1))


@lru_cache(maxsize=1)
def network(path: Path) -> Network:
    """Load an ONNX file, to run on one thread. Refused where it cannot be, or takes more than one input."""
    try:
        import onnxruntime
    except ImportError:
        raise Refused("--encoder needs onnxruntime; type pip install 'pseudolabel[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        about = json.loads(path.with_name(ABOUT).read_text("utf-8")) if path.with_name(ABOUT).exists() else {}
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        why = " ".join(str(fault).split())[:120]
        raise Refused(f"--encoder {path} cannot be loaded: {why}; give one .onnx file, weights and all") from None
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        takes = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise Refused(f"--encoder {path} takes {takes}; give one whose only input is float32")
    side = inputs[0].shape[-1]
    spread = (np.array(about.get(name, usual), np.float32) for name, usual in USUAL.items())
    return Network(session, side if isinstance(side, int) else SIDE, *spread)


def copied(path: Path, to: Path) -> None:
    """Keep a network, and what lies beside it."""
    shutil.copy(path, to)
    if path.with_name(ABOUT).exists():
        shutil.copy(path.with_name(ABOUT), to.with_name(ABOUT))
