"""The README is true: its tasks and its commands; the page of each task is that of its options."""

from __future__ import annotations

import re
import sys

from runs import HERE, real

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


def test_the_page_of_each_task_is_not_stale() -> None:
    """After `python docs/make.py` it is as it should be."""
    sys.path.insert(0, str(HERE.parent / "docs"))
    try:
        from make import page
    finally:
        sys.path.pop(0)
    for name in filter(real, TASKS):
        assert (HERE.parent / "docs" / f"{name}.md").read_text("utf-8") == page(TASKS[name]), "run python docs/make.py"
