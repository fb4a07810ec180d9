"""The example of a new task is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import FIXTURES, HERE

import pseudolabel

README = (HERE.parent / "README.md").read_text("utf-8")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the package as it is installed, with the README's new task dropped into it and nothing else touched."""
    copy = tmp_path / "site" / "pseudolabel"
    shutil.copytree(Path(pseudolabel.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (code,) = re.findall(r"```python\n(\"\"\".*?class \w+\(ImageTask\).*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 40
    (copy / "tasks" / "guess_flip.py").write_text(code, "utf-8")
    return copy.parent


def test_a_new_task_is_one_file(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def python(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "--out" in python("-m", "pseudolabel", "guess-flip", "--help")
    assert "24 train" in python("-m", "pseudolabel", "guess-flip", FIXTURES / "images", "--out", "out")
    suite = [
        "-m",
        "pytest",
        "-c",
        HERE.parent / "pyproject.toml",
        "--rootdir",
        tmp_path,
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
    ]
    said = python(*suite, HERE / "tasks" / "test_tasks.py", "-k", "guess-flip")
    assert re.search(r"\b\d+ passed", said)
    assert "failed" not in said
