"""The dataset card: `datasets` loads by its header, and its snippet loads shuffled rows of one copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
from runs import FIXTURES

from pseudolabel import Rotate, run


def test_datasets_never_takes_rows_of_another_dataset_from_its_cache(tmp_path: Path) -> None:
    """Its cache knows the name of a folder, not the path; here are two folders of one name, and one made again."""

    def loaded(folder: str, **options: Any) -> list[str]:
        run(Rotate(size=16), FIXTURES / "images" / "hills", out=tmp_path / folder / "rows", workers=1, **options)
        rows = datasets.load_dataset(str(tmp_path / folder / "rows"), cache_dir=str(tmp_path / "cache"))["train"]
        return list(rows["key"])

    first, limited = loaded("one"), loaded("two", limit=3)
    assert (len(set(first)), len(set(limited))) == (8, 3)
    assert loaded("two", limit=3, seed=1, overwrite=True) != limited
    assert loaded("one") == first
