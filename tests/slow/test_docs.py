"""All that the docs tell to type runs, and the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from snippets import ROOT, make_sources, pages, run_block, runnable

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name, page in pages().items() if name != "README.md" and runnable(page)])
def test_the_commands_of_a_page_run(name: str, tmp_path: Path) -> None:
    """In their order, in a folder of their own. A tutorial ends with what two probes tell."""
    if "import torch" in pages()[name].read_text("utf-8"):
        pytest.importorskip("torch")
    make_sources(tmp_path)
    told = "".join(run_block(block, tmp_path) for block in runnable(pages()[name]))
    if name.startswith("docs/tutorials/"):
        losses = [float(loss) for loss in re.findall(r"^step \d+: loss (\S+)$", told, re.MULTILINE)]
        assert losses[-1] < losses[0]
        rates = re.findall(r"^(?:trained|random) \w+: +([01]\.\d\d)$", told, re.MULTILINE)
        assert len(rates) == 2
        assert all(0 <= float(rate) <= 1 for rate in rates)


def test_the_tokenizers_of_the_page_keep_the_text(tmp_path: Path) -> None:
    """What --as-text writes is the source: with its spaces for T5, with its line ends too for RoBERTa."""
    documents = [f"path_{i % 7} {{\n  路径/到, ({i}%) }}" for i in range(500)]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "tales-0.txt").write_text("\n\n".join(documents), "utf-8")
    for block in runnable(pages()["docs/how-to/tokenizers.md"]):
        run_block(block, tmp_path)
    for name, hole, truth in (
        ("corpus-t5", r" ?<extra_id_\d+> ?", " ".join(" ".join(documents).split())),
        ("corpus-roberta", r"\[MASK\]", "\n".join(documents)),
    ):
        texts = duckdb.sql(f"select text from '{tmp_path / name}/data/*.parquet'").fetchall()
        shown = [piece.strip() for (text,) in texts for piece in re.split(hole, text)]
        assert len(shown) > 100
        assert [piece for piece in shown if piece not in truth] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """`mkdocs build --strict`, as docs/index.md says."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "tutorials" / "images.html").exists()
