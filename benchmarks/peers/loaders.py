"""Batches for training as other packages make them, in a DataLoader of PyTorch; nothing is stored.

Print the rows and the seconds of one epoch, as they arrive in this process, start of the workers included. Pairs are
two views of 224 pixels as SimCLR draws them: `lightly` by its own SimCLRTransform on Pillow's images, as floats;
`torchvision` by the same steps of transforms.v2 on uint8 tensors. Tokens are rows of 128 for masked language modelling:
`datasets` tokenizes the text by WORKERS processes, `datasets-one` by one, cuts it, and masks it by the collator of
transformers; `tokenized` only masks.

usage: loaders.py NAME SOURCE WORKERS BATCH PREFETCH [TOKENIZER]
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from loaders.prepare import prepare  # the folder `loaders` beside this one
from mlm import join_and_cut
from pictures import jpegs_in
from PIL import Image


def main() -> None:
    name, source, workers, batch, prefetch = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6])
    prepare()
    load = {"batch_size": batch, "shuffle": True, "num_workers": workers, "prefetch_factor": prefetch}
    begun, before, loader = (pairs if name in ("lightly", "torchvision") else tokens)(name, source, load)
    rows = 0
    for batch in loader:
        rows += len(batch["input_ids"] if "input_ids" in batch else batch[0])
    print(json.dumps({"rows": rows, "seconds": time.monotonic() - begun, "cpu": sum(os.times()[:4]) - sum(before)}))


def pairs(name, source, load):
    import torch

    class Pairs(torch.utils.data.Dataset):
        def __init__(self, files, views):
            self.files, self.views = files, views

        def __len__(self):
            return len(self.files)

        def __getitem__(self, number):
            image = Image.open(self.files[number]).convert("RGB")
            return [view(image) for view in self.views]

    views = lightly_views() if name == "lightly" else [torchvision_view()] * 2
    made = Pairs(jpegs_in(source), views)
    return time.monotonic(), os.times()[:4], torch.utils.data.DataLoader(made, **load)


def lightly_views():
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(input_size=224).transforms


def torchvision_view():
    from torchvision.transforms import v2

    colours = v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8)
    blur = v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], 0.5)
    crop = v2.RandomResizedCrop(224, antialias=True)
    return v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip(), colours, v2.RandomGrayscale(0.2), blur])


def tokens(name, source, load):
    import torch

    cache = tempfile.TemporaryDirectory()
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": cache.name}  # read when they are imported
    import datasets
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=sys.argv[6], **names)
    datasets.disable_progress_bars()
    begun = time.monotonic(), os.times()[:4]
    files = sorted(str(path) for path in source.rglob("*.txt"))
    rows = datasets.load_dataset("text", data_files={"train": files}, split="train")
    processes = {"batched": True, "num_proc": None if name == "datasets-one" else load["num_workers"]}
    rows = rows.map(lambda batch: tokenizer(batch["text"]), remove_columns=["text"], **processes)
    rows = rows.map(join_and_cut, **processes)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15)
    made = torch.utils.data.DataLoader(rows, collate_fn=collator, **load)
    made.cache = cache
    return *((time.monotonic(), os.times()[:4]) if name == "tokenized" else begun), made


if __name__ == "__main__":
    main()
