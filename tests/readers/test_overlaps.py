"""Sources that share files: refused if a walk of the file system finds a file in two of them, and only then."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from runs import Command

from pseudolabel import UserError
from pseudolabel.engine.scan import resolve_sources
from pseudolabel.readers.sources.overlaps import check_overlaps


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("p/0.png", "p/hat/1.png", "p/hat/deep/2.png", "p/.hidden/3.png", "p-hat/4.png", "q/5.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(tmp_path / name)
    for link, to in {"hat-link": "p/hat", "p/linked": "q", "p/6.png": "q/5.png", "q-link": "q"}.items():
        (tmp_path / link).symlink_to(tmp_path / to)
    (tmp_path / "inside.txt").write_text("q/5.png\nhat-link/1.png\n")
    (tmp_path / "beside.txt").write_text("q/5.png\np-hat/4.png\n")
    (tmp_path / "absolute.txt").write_text(f"{tmp_path}/p/0.png\n")
    (tmp_path / "hidden.txt").write_text("p/.hidden/3.png\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shares_files(sources: Sequence[str]) -> bool:
    """Return whether two sources have the same directory entry, or one gives the target of a link of another one."""
    found = Counter[tuple[int, str]]()
    for source in sources:
        if source.startswith("@"):
            entries = {Path(line) for line in Path(source[1:]).read_text().split()}
        elif Path(source).is_file():
            entries = {Path(source)} | ({Path(os.path.realpath(source))} if os.path.islink(source) else set())
        else:
            walked = [(Path(top), names) for top, _, names in os.walk(source) if "/." not in top]
            entries = {top / name for top, names in walked for name in names}
        found.update({(entry.parent.stat().st_ino, entry.name) for entry in entries})
    return max(found.values()) > 1


CASES = (
    *("p p/hat", "p/hat p", "p p/hat/deep", "p p/hat/1.png", "p hat-link", "q q-link", "hat-link p/hat/deep"),
    *("q/5.png p/6.png", "p p/6.png", "p @inside.txt", "@inside.txt p/hat", "p @absolute.txt", "p/0.png @absolute.txt"),
    *(
        "p q",
        "p p-hat",
        "p p/linked",
        "p p/.hidden",
        "p/hat p/0.png",
        "p @beside.txt",
        "p @hidden.txt",
        "p p/.hidden/3.png",
    ),
)


@pytest.mark.parametrize("words", CASES)
def test_a_source_that_shares_files_with_another_is_refused(place: Path, words: str) -> None:
    sources = words.split()
    if shares_files(sources):
        with pytest.raises(UserError, match=r"would be read twice; leave one|are the same; leave one"):
            resolve_sources(sources)
    else:
        assert len(resolve_sources(sources)) == 2


def test_in_stores_and_in_the_command(place: Path, here: Command) -> None:
    from upath import UPath

    for inner, refused in (("memory://b/p/hat", True), ("memory://b/p/hat/1.png", True), ("memory://b/p-hat", False)):
        sources = [UPath("memory://b/p"), UPath(inner)]
        if refused:
            with pytest.raises(UserError, match="is also in the source memory://b/p"):
                check_overlaps(sources)
        else:
            check_overlaps(sources)
    with pytest.raises(UserError, match="s3://b/x is also in the source s3://b"):
        check_overlaps([UPath("s3://b"), UPath("s3://b/x")])
    done = here("rotate", "p", "p/hat", "--validation", 0.3)
    assert (done.returncode, list(place.glob("*-rotate"))) == (2, [])
    assert "p/hat is also in the source p, so it would be read twice" in done.stderr
