"""Rows as other packages' code makes them, for `pseudolabel audit`: `loaders:MAKER__SOURCE`, e.g.
`loaders:torchvision_rotate__noise_jpeg_422`, from the folder `benchmarks`.

Makers are the functions of `pictures`, `masks` and `texts`; sources are those of `sources`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

MODULES = ("pictures", "masks", "texts")


def __getattr__(name: str) -> Callable[[], Iterator[dict[str, Any]]]:
    maker, two, source = name.partition("__")
    for module in MODULES if maker and two else ():
        if maker in vars(found := import_module(f"loaders.{module}")):
            return partial(vars(found)[maker], source)
    raise AttributeError(f"loaders has no {name}; give MAKER__SOURCE")
