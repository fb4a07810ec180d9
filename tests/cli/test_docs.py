"""README and docs are true: their commands run, their options exist, their links lead somewhere, no page is stale."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from runs import real
from snippets import ROOT, blocks, make_sources, pages, run_block, runnable

from pseudolabel import TASKS

sys.path.insert(0, str(ROOT / "docs"))
README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.encode()) <= 9000
    assert len(re.findall(r"^python3 -m venv", README, re.MULTILINE)) == 2, ".ci/run takes these"


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    make_sources(tmp_path)
    told = [run_block(block, tmp_path) for block in runnable(ROOT / "README.md")]
    texts = [block.text for block in blocks(ROOT / "README.md") if block.language == "text"]
    assert told[-1] == texts[-1], "what Python prints"
    shown = "".join(told).splitlines()
    for line in texts[1].splitlines()[:5]:
        assert line in shown, "what `show` prints"


def test_every_option_of_the_docs_exists() -> None:
    from typer.main import get_command

    from pseudolabel.cli.program import app

    group = get_command(app)
    seen = set()
    for name, page in pages().items():
        lines = re.findall(r"(?:^|&& |wrap ['\"]|`)pseudolabel (.*)", page.read_text("utf-8"), re.MULTILINE)
        for line in lines:
            words = re.findall(r"--?[a-z-]+|[\w-]+", re.split(r"[`|]| && |#", line)[0])
            command = group.get_command(None, words[0]) if words else None  # type: ignore[attr-defined]
            if command is None:  # `pseudolabel.open`, `pseudolabel TASK`
                continue
            if words[0] in ("show", "plan") and words[1:]:
                command = command.get_command(None, words[1]) or command
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            for option in re.findall(r"--[a-z][a-z-]+", line.partition("`")[0].partition(" && ")[0]):
                assert option in known | {"--help"}, f"{name}: {line}"
            seen.add(words[0])
    assert seen >= set(filter(real, TASKS)) | {"show", "verify", "preview", "describe", "audit", "plan", "finish"}


def test_every_link_leads_to_a_file() -> None:
    for name, page in pages().items():
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!\w+:)([^)#\s]+)", text):
            assert (page.parent / link).exists(), f"{name}: {link}"


def test_no_page_of_the_code_is_stale() -> None:
    """After `python docs/make.py` all are as they should be."""
    from make import pages as made

    for path, text in made().items():
        file = ROOT / "docs" / path
        assert file.exists(), f"no {path}: run python docs/make.py"
        assert file.read_text("utf-8") == text, "run python docs/make.py"
