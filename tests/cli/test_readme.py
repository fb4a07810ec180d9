"""The README is true: its tasks, its example of a new task, and what it says of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import FIXTURES, HERE, real

import pseudolabel
from pseudolabel import TASKS

README = (HERE.parent / "README.md").read_text("utf-8")


def test_every_task_is_in_the_table() -> None:
    for name in filter(real, TASKS):
        assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE), name


def test_every_command_of_the_readme_has_options_that_exist() -> None:
    from typer.main import get_command

    from pseudolabel.cli.program import app

    group = get_command(app)
    lines = re.findall(r"(?:^|&& )pseudolabel ([a-z-]+) ([^\n`|&]*)", README, re.MULTILINE)
    assert {name for name, _ in lines} >= {"jigsaw", "mask-text"}
    for name, words in lines:
        command = group.get_command(None, name)
        command = command.get_command(None, words.split()[0]) if name in ("show", "plan") else command
        known = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", words):
            assert option in known, f"{name} {words}"


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
    assert "25 images -> 24 rows" in python("-m", "pseudolabel", "guess-flip", FIXTURES / "images", "--out", "out")
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


def test_the_page_of_each_task_is_not_stale() -> None:
    """After `python docs/make.py` it is as it should be."""
    sys.path.insert(0, str(HERE.parent / "docs"))
    try:
        from make import page
    finally:
        sys.path.pop(0)
    for name in filter(real, TASKS):
        assert (HERE.parent / "docs" / f"{name}.md").read_text("utf-8") == page(TASKS[name]), "run python docs/make.py"
