"""What the files about the package say agrees: its version, and what the extra `train` installs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest
from runs import HERE, NAMES

from pseudolabel import TASKS
from pseudolabel.writers.card import _python

ROOT = HERE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_one_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## \[(.*?)\]", changes, re.MULTILINE)[0] == PROJECT["version"]
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    for path in (ROOT / "pseudolabel").rglob("*.py"):
        assert f'"{PROJECT["version"]}"' not in path.read_text("utf-8"), f"{path}: take it from importlib.metadata"


@pytest.fixture
def trained() -> set[str]:
    """The names of the packages that `pseudolabel[train]` installs, as they are imported."""
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"]]
    return {re.split("[>=\\[]", bound)[0] for bound in needed} | set(sys.stdlib_module_names)


def test_train_installs_what_snippets_import(trained: set[str]) -> None:
    snippets = {name: "\n".join(_python(TASKS[name](), name, 2)) for name in NAMES}
    for path in (ROOT / "docs").rglob("*.md"):
        for code in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            if path.name != "pipelines.md":  # of other programs
                snippets[path.name] = code
    for name, code in snippets.items():
        for node in ast.walk(ast.parse(code)):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert module.partition(".")[0] in {*trained, "pseudolabel", "PIL", "cv2"}, f"{name}: {module}"
