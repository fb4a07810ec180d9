"""What a message tells the user to type exists: every command, option and extra that a text of the package names."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import FIXTURES, HERE, Command
from typer.main import get_command

from pseudolabel.cli.program import app

FOREIGN = {  # options of other programs: tar, zstd, hf, ray, fairseq, Typer, and CSS; `--no-` begins many
    *("--sparse", "--long", "--hard-dereference", "--repo-type", "--head", "--config-dir", "--config-name"),
    *("--help", "--version", "--columns", "--no", "--install-completion"),
}


def texts() -> Iterator[tuple[Path, str]]:
    """Every string of the package but docstrings, with its place; of an f-string, {} for each value."""
    for path in sorted((HERE.parent / "pseudolabel").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        skipped = set[int]()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                skipped.add(id(node.value))
            elif isinstance(node, ast.JoinedStr):
                skipped.update(map(id, node.values))
                yield path, "".join(getattr(part, "value", "{}") for part in constants(node))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield path, node.value


def constants(node: ast.JoinedStr) -> list[ast.Constant]:
    return [part if isinstance(part, ast.Constant) else ast.Constant("{}") for part in node.values]


def test_every_option_and_command_that_a_text_names_exists() -> None:
    """A text in the file of a task names options of that task."""
    group = get_command(app)
    built = {name: group.get_command(None, name) for name in group.list_commands(None)}
    options = {name: {option for one in command.params for option in one.opts} for name, command in built.items()}
    every = set[str]().union(*options.values())
    extras = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    found, lacking = 0, list[str]()
    for path, text in texts():
        own = options.get(path.stem.replace("_", "-"), every) if path.parent.name == "tasks" else every
        known = {"option": own | FOREIGN, "command": built.keys(), "extra": extras.keys()}
        named = {
            "option": re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text),
            "command": re.findall(r"(?:\b(?:run|see|then|by|type|of) |`)pseudolabel ([a-z-]+)", text),
            "extra": re.findall(r"pseudolabel\[(\w+)\]", text),
        }
        lacking += [f"{path}: {kind} {one}" for kind, some in named.items() for one in {*some} - known[kind]]
        found += sum(map(len, named.values()))
    assert not lacking
    assert found > 200, "the texts are found"


def test_every_error_says_what_to_type() -> None:
    """After "; " or on a line of its own. `UserError` divides its message there."""
    found, lacking = 0, list[str]()
    for path in sorted((HERE.parent / "pseudolabel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                text, found = ast.unparse(node.args[0]), found + 1
                if "; " not in text and "\\n" not in text and not isinstance(node.args[0], ast.Name | ast.Call):
                    lacking.append(f"{path}:{node.lineno} {text}")
    assert not lacking
    assert found > 200, "the errors are found"


@pytest.mark.parametrize(
    "words", ["nonsense", "show nonsense", "jigsaw --wrong", "plan jigsaw . --wrong", "verify", "show rotate"]
)
def test_the_help_that_a_usage_error_names_is_there(words: str, here: Command) -> None:
    done = here(*words.split())
    assert done.returncode == 2
    (told,) = re.findall(r"see pseudolabel (.*)$", done.stderr, re.MULTILINE)
    helped = here(*told.split())
    assert helped.returncode == 0
    assert f"Usage: pseudolabel {told}".removesuffix(" --help") in helped.stdout


def test_finish_names_no_option_that_it_has_not(here: Command, tmp_path: Path) -> None:
    for name in ("01", "02", "03"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jpg").write_bytes((FIXTURES / "images" / "hills" / "broken.jpg").read_bytes())
    words = ["rotate", "in", "--out", "out", "--workers", 1, "--quiet"]
    assert here("plan", *words).returncode == 0
    assert here(*words, "--part", "1/1").returncode == 0
    done = here("finish", "out")
    assert done.returncode == 3
    assert "add --overwrite" not in done.stderr
    assert "make the dataset again with --overwrite" in done.stderr


REASONS = ("UnusableSample", "FilteredSample", "Skipped", "Gap", "unusable_locator")
ADVICE = r"(give|choose|convert|raise|split|pack|deflate|install|try|get|\{[\w.]*(remedy|hint|to_)[\w.]*\})"


def test_a_reason_has_only_advice_after_its_semicolon() -> None:
    """A run that fails, and the list of skipped samples, show this part as what to do."""
    found, wrong = 0, list[str]()
    for path in sorted((HERE.parent / "pseudolabel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] not in REASONS:
                continue
            texts = [one for one in ast.walk(node) if isinstance(one, ast.Constant | ast.JoinedStr)]
            parts = {part for text in texts if isinstance(text, ast.JoinedStr) for part in text.values}
            for text in texts:
                if text not in parts and "; " in (said := ast.unparse(text)):
                    found += 1
                    if not re.match(ADVICE, advice := said.rpartition("; ")[2], re.I):
                        wrong.append(f"{path.name}: {advice}")
    assert not wrong
    assert found > 20
