"""The package as a user installs it: built, in empty environments, with the oldest and the newest dependencies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from runs import FIXTURES, HERE

ROOT = HERE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EACH_TASK = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

def main():
    from pseudolabel import TASKS, run
    from pseudolabel.inspection.verify import verify
    from pseudolabel.testing.fixtures import source_of

    for name, kind in TASKS.items():
        source = source_of(kind(), Path(sys.argv[1]))
        with TemporaryDirectory() as folder:
            run(kind(), source, out=folder, workers=1)
            found = verify(folder, source, workers=1)
            print(name, found.checked, found.true)

if __name__ == "__main__":
    main()
"""


def python(version: str) -> str:
    """The interpreter of a version, from the path or pyenv. Skip the test if there is none."""
    if version == "{}.{}".format(*sys.version_info):
        return sys.executable
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    found = str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")
    if found is None:
        pytest.skip(f"Python {version} is not installed")
    return found


def call(*words: object, folder: Path) -> str:
    """Run a program with hardly an environment: no HOME, no PYTHONPATH."""
    kept = ("PATH", "PIP_CONSTRAINT", "PIP_CERT", "PIP_INDEX_URL", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, which is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "venv", "env", folder=folder)
    call("env/bin/python", "-m", "pip", "install", "-q", "build", folder=folder)
    call("env/bin/python", "-m", "build", "--outdir", "dist", ROOT, folder=folder)
    return folder / "dist"


@pytest.mark.slow
def test_what_is_in_the_files(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    about = f"pseudolabel-{PROJECT['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"pseudolabel", about}
    packaged = {name for name in names if name.endswith(".py")}
    assert packaged == {path.relative_to(ROOT).as_posix() for path in (ROOT / "pseudolabel").rglob("*.py")}
    assert {"pseudolabel/py.typed", f"{about}/licenses/LICENSE"} <= set(names)
    assert wheel.stat().st_size < 1_000_000
    with tarfile.open(sdist) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "pseudolabel"} <= tops
    assert sdist.stat().st_size < 10_000_000


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 800 MB are installed
@pytest.mark.parametrize(("version", "age"), [("3.11", "smallest"), ("3.13", "newest")])
def test_install_and_run_every_task(version: str, age: str, built: Path, tmp_path: Path) -> None:
    """Only wheels are installed. A bound that is too low, or has no wheel for a Python, fails here: raise it."""
    call(python(version), "-m", "venv", "env", folder=tmp_path)
    smallest = [bound.replace(">=", "==") for bound in PROJECT["dependencies"]]
    (tmp_path / "constraints.txt").write_text("\n".join(smallest if age == "smallest" else []))
    pip = ("env/bin/python", "-m", "pip", "install", "-q", "--only-binary", ":all:", "-c", "constraints.txt")
    call(*pip, *built.glob("*.whl"), folder=tmp_path)
    for task, source in {"jigsaw": "images", "mask-text": "text"}.items():  # as the README begins
        call("env/bin/pseudolabel", task, FIXTURES / source, "--out", task, folder=tmp_path)
        words = ("verify", task, "--against", FIXTURES / source, "--json")
        found = json.loads(call("env/bin/pseudolabel", *words, folder=tmp_path))
        assert found["true"] == found["checked"] > 0
    (tmp_path / "each.py").write_text(EACH_TASK)
    lines = call("env/bin/python", "each.py", FIXTURES, folder=tmp_path).splitlines()
    assert len(lines) == len(list_tasks(tmp_path))
    for line in lines:
        name, checked, true = line.split()
        assert int(true) == int(checked) > 0, name


def list_tasks(folder: Path) -> list[str]:
    """The names that `pseudolabel tasks` lists."""
    return re.findall(r"^([a-z-]+): ", call("env/bin/pseudolabel", "tasks", folder=folder), re.MULTILINE)


@pytest.mark.slow
def test_a_task_in_a_package_of_its_own(built: Path, tmp_path: Path) -> None:
    """The package of CONTRIBUTING.md: its three files, installed by pip; its test passes."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (code,) = re.findall(r'```python\n("""Guess the flip.*?)```', text, re.DOTALL)
    (test,) = re.findall(r"```python\n(from guess_flip import.*?)```", text, re.DOTALL)
    package = tmp_path / "flips"
    package.mkdir()
    for name, content in {"pyproject.toml": toml, "guess_flip.py": code, "test_guess_flip.py": test}.items():
        (package / name).write_text(content, "utf-8")
    call(sys.executable, "-m", "venv", "env", folder=tmp_path)
    call("env/bin/python", "-m", "pip", "install", "-q", *built.glob("*.whl"), "pytest", folder=tmp_path)
    call("env/bin/python", "-m", "pip", "install", "-q", package, folder=tmp_path)
    assert "guess-flip" in list_tasks(tmp_path)
    assert "1 passed" in call("env/bin/python", "-m", "pytest", "flips/test_guess_flip.py", folder=tmp_path)
