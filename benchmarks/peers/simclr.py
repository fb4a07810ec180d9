"""Pairs of views by lightly's own SimCLRTransform, in a DataLoader of PyTorch.

Two views of 224 pixels of each picture, with the colours, blur and flips of SimCLR, as JPEG of quality 95, in one
Parquet file. The transform ends before it makes a tensor. Unlike the task it does not record what was done to a view,
finds no damage, keeps all rows in memory, and cannot be resumed.

usage: simclr.py SOURCE OUT WORKERS
"""

import sys
from pathlib import Path

import torch
from pictures import encode, jpegs_in, store
from PIL import Image

try:
    import torchvision  # noqa: F401
except RuntimeError:  # its kernels are of another build of torch; its transforms on PIL need none, only their names
    sys.modules.pop("torchvision", None)
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from lightly.transforms import SimCLRTransform  # it imports torchvision


class Pairs(torch.utils.data.Dataset):
    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.views = [view.transform for view in SimCLRTransform(input_size=224, normalize=None).transforms]
        for view in self.views:
            view.transforms = [step for step in view.transforms if type(step).__name__ not in ("ToTensor", "Normalize")]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[str, bytes, bytes]:
        image = Image.open(self.files[number]).convert("RGB")
        return self.files[number].name, encode(self.views[0](image)), encode(self.views[1](image))


if __name__ == "__main__":
    store(Pairs(jpegs_in(Path(sys.argv[1]))), Path(sys.argv[2]), int(sys.argv[3]), ["key", "view_1", "view_2"])
