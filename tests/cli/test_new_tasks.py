"""New tasks: those of CONTRIBUTING.md, dropped into the package or in a package of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import FIXTURES, HERE

import pseudolabel

EXAMPLES = {  # name of the task -> its module, whole
    re.search(r'name = "([a-z-]+)"', code)[1]: code
    for code in re.findall(
        r"```python\n(\"\"\".*?)```", (HERE.parent / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL
    )
    if "@dataclass" in code
}


def python(*words: object, folder: Path, path: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with another one on its path."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_new_task_is_one_file(tmp_path: Path) -> None:
    """In a copy of the package, as it is installed, with the new tasks dropped into it and nothing else touched."""
    copy = tmp_path / "site" / "pseudolabel"
    shutil.copytree(Path(pseudolabel.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in EXAMPLES.items():
        (copy / "tasks" / f"{name.replace('-', '_')}.py").write_text(code, "utf-8")
    where = {"folder": tmp_path, "path": copy.parent}
    made = python("-m", "pseudolabel", "guess-flip", FIXTURES / "images", "--out", "out", "--json", **where).stdout
    assert json.loads(made)["rows"] == {"train": 24}
    (tmp_path / "lines.txt").write_text("one two\n\nword\n\nthree four\n\nthe the\n", "utf-8")
    words = ("swap-words", "lines.txt", "--out", "swapped", "--copies", 3, "--json")
    counts = json.loads(python("-m", "pseudolabel", *words, **where).stdout)
    assert [counts[name] for name in ("seen", "used", "filtered", "missing_rows")] == [4, 2, 2, 0]
    left = [json.loads(line)["key"] for line in (tmp_path / "swapped" / "_skipped.jsonl").read_text().splitlines()]
    assert sorted(left) == ["lines.txt#27", "lines.txt#9"]
    options = ["-c", HERE.parent / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider", "-n", 0, "-m", ""]
    suite = [HERE / "tasks" / "test_tasks.py", "-k", " or ".join(EXAMPLES)]
    said = python("-m", "pytest", *options, *suite, **where).stdout
    assert re.search(r"\b22 passed", said), said


PLUGINS = {  # module -> its code
    "guess_flip": EXAMPLES["guess-flip"],
    "broken": "import a_module_that_is_not_there\n",
    "clash": EXAMPLES["guess-flip"].replace('"guess-flip"', '"jigsaw"'),
}
COMMANDS = """
import json, sys
from pseudolabel.cli.app import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["pseudolabel", *words]
    try:
        main()
    except SystemExit as ended:
        print("exit code", ended.code)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages that declare tasks: one that works, one that does not, one of a taken name."""
    for module, code in PLUGINS.items():
        about = tmp_path / "site" / f"{module}_tasks-1.2.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-tasks\nVersion: 1.2\n")
        (about / "entry_points.txt").write_text(f"[pseudolabel.tasks]\n{module} = {module}:GuessFlip\n")
        (tmp_path / "site" / f"{module}.py").write_text(code, "utf-8")
    return tmp_path / "site"


def test_tasks_of_other_packages(site: Path, tmp_path: Path) -> None:
    images = str(FIXTURES / "images")
    commands = [
        ["--help"],
        ["guess-flip", images, "--out", "out", "--workers", "2", "--json"],
        ["verify", "out", "--against", images, "--json"],
        ["describe", "out", "--json"],
        ["preview", "out"],
        ["show", "guess-flip", f"{images}/hills/03.jpg"],
    ]
    done = python("-c", COMMANDS, json.dumps(commands), folder=tmp_path, path=site)
    assert done.stdout.count("exit code 0") == len(commands), done.stdout + done.stderr
    named = [line for line in done.stderr.splitlines() if "left out" in line]
    assert set(named) == {
        "pseudolabel: the task broken of broken-tasks is left out: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
        "pseudolabel: the task clash of clash-tasks is left out: UserError: "
        "clash.GuessFlip has the name of pseudolabel.tasks.jigsaw.Jigsaw, 'jigsaw'; give it another one",
    }
    help_, _, answers = done.stdout.partition("exit code 0")
    assert "guess-flip" in help_
    made, found, described = (json.loads(line) for line in answers.splitlines() if line.startswith("{"))
    assert made["rows"] == {"train": 24}
    assert found["true"] == 24
    assert described["versions"]["guess_flip-tasks"] == "1.2"
    shutil.rmtree(site / "guess_flip_tasks-1.2.dist-info")
    lost = python("-m", "pseudolabel", "describe", "out", folder=tmp_path, path=site, code=2)
    assert "install guess_flip-tasks==1.2" in lost.stderr


def test_a_module_that_is_imported_before_the_tasks(site: Path, tmp_path: Path) -> None:
    """The module of a task may be imported first, and then be one that other entry points are imported from."""
    code = "import guess_flip; from pseudolabel import TASKS; print(TASKS['guess-flip'].__module__)"
    assert python("-c", code, folder=tmp_path, path=site).stdout == "guess_flip\n"
