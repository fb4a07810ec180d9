"""Help: whole lines, panels, and examples that run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from runs import NAMES, Command
from snippets import make_sources

from pseudolabel import TASKS
from pseudolabel.cli.help import examples, first_clause
from pseudolabel.tasks.base.modalities import modalities_of


@pytest.mark.parametrize("group", ["", "show", "plan"])
def test_each_command_has_one_whole_line_under_its_panel(group: str, here: Command) -> None:
    told = here(*group.split(), "--help").stdout
    assert all(len(line) <= 80 for line in told.splitlines())
    assert "..." not in told.partition("\n\n  Run the same")[0].replace("COMMAND [ARGS]...", "")
    panel, found = "", dict[str, str]()
    for line in told.splitlines():
        panel = line if re.fullmatch(r"\S.*:", line) else panel
        if named := re.fullmatch(r"  ([a-z-]+)  +(\S.*)", line):
            found[named[1]] = f"{panel} {named[2]}"
    for name in NAMES:
        kinds = modalities_of(TASKS[name])
        assert (
            found[name]
            == f"Tasks for {kinds[0] if len(kinds) == 1 else 'any of these'}: {first_clause(TASKS[name].__doc__)}"
        )
    if not group:
        assert {name for name, line in found.items() if line.startswith("Datasets: ")} >= {"verify", "audit", "finish"}


def test_the_options_of_a_task_are_in_panels(here: Command) -> None:
    told = here("mask-text", "--help").stdout
    panels = re.split(r"\n\n(?=\S)", told)
    where = {
        option: panel.partition(":")[0] for panel in panels for option in re.findall(r"^  (--[a-z-]+)", panel, re.M)
    }
    assert where["--preset"] == "Options of mask-text"
    assert where["--encoding"] == "Reading the source"
    assert (where["--out"], where["--limit"], where["--workers"]) == ("Output", "Selection", "Running")
    assert panels[-1].startswith("Examples:")


def test_the_examples_of_each_help_are_commands(here: Command) -> None:
    """Only their sources do not exist."""
    for name in NAMES:
        shown = here(name, "--help").stdout.partition("Examples:\n")[2].splitlines()
        assert shown == [f"  {line}" for line in examples(TASKS[name])]
        assert all(len(line) <= 80 for line in shown)
        show, run = (shlex.split(line)[1:] for line in shown)
        assert (show[:2], run[0]) == (["show", name], name)
        for words in (show, run):
            done = here(*words)
            assert (done.returncode, "does not exist; give a folder" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_the_examples_of_each_help_run(here: Command, tmp_path: Path) -> None:
    make_sources(tmp_path)
    for name in NAMES:
        show, run = (shlex.split(line)[1:] for line in examples(TASKS[name]))
        assert "chance level: " in here(*show).stdout
        told = here(*run, "--dry-run", "--json")
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["rows"] > 0, run


def test_version_and_no_command(here: Command) -> None:
    assert re.fullmatch(r"pseudolabel \S+\n", here("--version").stdout)
    alone = here()
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr.startswith("Usage: pseudolabel ")


def test_a_shell_completes_names(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COMPLETE": "complete_bash", "COMP_WORDS": "pseudolabel jig", "COMP_CWORD": "1"}.items():
        monkeypatch.setenv(name.replace("COMPLETE", "_PSEUDOLABEL_COMPLETE"), value)
    assert here().stdout.split() == ["jigsaw"]
