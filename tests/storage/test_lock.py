"""The lock of a folder on disk: which runs and parts exclude each other."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pseudolabel.contracts import UserError
from pseudolabel.storage.stores import Disk

FIRST, SECOND, WHOLE = "-1-of-2", "-2-of-2", ""
HOLD = """
import sys
from pathlib import Path
from pseudolabel.storage.stores import Disk
with Disk(Path(sys.argv[1])).lock(print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("held", "asked", "free"),
    [(WHOLE, WHOLE, False), (WHOLE, FIRST, False), (FIRST, WHOLE, False), (FIRST, FIRST, False), (FIRST, SECOND, True)],
)
def test_a_run_excludes_all_and_a_part_the_run_and_itself(held: str, asked: str, free: bool, tmp_path: Path) -> None:
    home = Disk(tmp_path / "out")
    with home.lock(print, held), ExitStack() as then:
        if free:
            then.enter_context(home.lock(print, asked))
        else:
            with pytest.raises(UserError, match=r"^another run is writing to .*out; wait for it") as refused:
                then.enter_context(home.lock(print, asked))
            assert refused.value.code == 4
    with home.lock(print, asked):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    home = Disk(tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, home.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UserError), home.lock(print):
            pass
        process.kill()
    with home.lock(print):
        pass
