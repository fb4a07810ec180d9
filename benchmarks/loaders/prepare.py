"""What each maker does first: seeds for all generators, and a torchvision that can be imported."""

from __future__ import annotations

import random
from importlib.util import find_spec

import numpy as np
import torch

LIBRARIES: list[torch.library.Library] = []  # they live as long as the process


def prepare() -> None:
    """Seed the generators of Python, NumPy and PyTorch, which works in one thread; import torchvision if it is there.

    Where torchvision's kernels are of another build of PyTorch, the operators that its Python part names are declared
    without them: its transforms need none.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the packages draw from it
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if find_spec("torchvision") and not LIBRARIES:
        try:
            import torchvision
        except RuntimeError:
            LIBRARIES.append(torch.library.Library("torchvision", "DEF"))
            for name in ("nms", "qnms"):
                LIBRARIES[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            import torchvision  # noqa: F401
