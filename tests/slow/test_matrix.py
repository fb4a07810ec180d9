"""The matrix of engines and faults, along its diagonal; all of it is `python tests/slow/matrix.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from matrix import DIAGONAL
from runs import HERE

pytestmark = pytest.mark.slow


def test_each_engine_and_each_fault() -> None:
    command = [sys.executable, str(HERE / "slow" / "matrix.py"), "--diagonal", "--limit", "60"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    assert len(done.stdout.splitlines()) == len(DIAGONAL)
