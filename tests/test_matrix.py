"""The matrix of engines and faults, along its diagonal; all of it is `python tests/matrix.py`."""

from __future__ import annotations

import subprocess
import sys

from conftest import HERE
from matrix import DIAGONAL


def test_each_engine_and_each_fault() -> None:
    command = [sys.executable, str(HERE / "matrix.py"), "--diagonal", "--limit", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert len(done.stdout.splitlines()) == len(DIAGONAL)
