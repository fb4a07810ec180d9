"""The fenced blocks of README and docs, a folder with the files that they speak of, and running them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from runs import FIXTURES, HERE

ROOT = HERE.parent
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\n(<!-- not run: [^\n]+ -->)?", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r"^python3 -m venv .*pip install -q \. && ")  # .ci/run runs these commands as they stand


class Block(NamedTuple):
    """A fenced block: its language, its text, and whether it is to be run."""

    language: str
    text: str
    runs: bool


def pages() -> dict[str, Path]:
    """README and all pages of docs/, by their path from the top."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path for path in found}


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [Block(language, text, language in ("sh", "python") and not comment) for language, text, comment in found]


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that are run. Python blocks that follow each other are one script."""
    joined: list[Block] = []
    for block in blocks(page):
        text = INSTALL.sub("", block.text)
        if not block.runs or text.startswith("python3 -m venv"):
            continue
        if joined and block.language == joined[-1].language == "python":
            joined[-1] = joined[-1]._replace(text=f"{joined[-1].text}\n{text}")
        else:
            joined.append(Block(block.language, text, True))
    return joined


def make_sources(folder: Path) -> None:
    """Put what the pages speak of into a folder, made of fixtures: images/, speech/, videos/, corpus/ and the like."""
    shutil.copytree(FIXTURES, folder / "fixtures")
    for name, kind in {"images": "images", "new-images": "images", "speech": "audio", "videos": "video"}.items():
        shutil.copytree(FIXTURES / kind, folder / name)
    for name in ("text", "corpus"):
        shutil.copytree(FIXTURES / "text", folder / name)
    (folder / "latin1").mkdir()
    (folder / "latin1" / "a.txt").write_bytes("Der Läufer ging über die Brücke.\n\n".encode("latin-1") * 99)
    shutil.make_archive(str(folder / "pics"), "zip", folder, "images/hills")
    shutil.make_archive(str(folder / "more-pics"), "gztar", folder, "images/lakes")
    names = (f"images/{path.relative_to(folder / 'images')}\n" for path in sorted((folder / "images").rglob("*.jpg")))
    (folder / "files.txt").write_text("".join(names), "utf-8")
    lines = (folder / "corpus" / "tales-0.txt").read_text("utf-8").split(". ")
    rows = (f'"{line.strip()}",{"boat" if "boat" in line else "none"}\n' for line in lines if '"' not in line)
    (folder / "texts.csv").write_text("text,label\n" + "".join(rows), "utf-8")


def run_block(block: Block, folder: Path) -> str:
    """Run a block in a folder. Return its output; fail with it if it does not end well."""
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    if block.language == "python":
        script = folder / "snippet.py"
        script.write_text(block.text, "utf-8")
        command = [sys.executable, str(script)]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    one = {"OMP_NUM_THREADS": "1"}  # networks this small only wait for other threads
    quiet = {"HF_HOME": str(folder / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": paths, **quiet, **one}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout
