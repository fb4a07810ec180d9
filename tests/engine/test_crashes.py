"""A process that is gone before any one of its writes: what it leaves is whole, or the same command makes it so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pseudolabel import UserError, finish, plan_parts, run
from pseudolabel.inspection.verify import verify
from pseudolabel.storage.stores import Disk
from pseudolabel.tasks import TASKS
from pseudolabel.testing.checks import checksums

WRITES = ("commit", "discard", "empty")


def gone(before: int, work: Callable[[], Any]) -> bool:
    """Do it in a process of its own, which ends at once where its `before`-th write would be; whether it came to that.

    Workers are processes that know nothing of this: their writes are not counted, and the kernel ends them with it.
    """
    if not (pid := os.fork()):
        left = before

        def counted(write: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*given: Any) -> Any:
                nonlocal left
                left -= 1
                return write(*given) if left >= 0 else os._exit(9)

            return counting

        for name in WRITES:
            setattr(Disk, name, counted(getattr(Disk, name)))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code == 9


every_write = pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    (tmp_path / "source").mkdir()
    for i in range(6):
        picture = rng.integers(0, 255, (400, 300 + i, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / "source" / f"{i}.png"), picture)
    return tmp_path / "source"


def options(out: Path) -> dict[str, Any]:
    return {"out": out, "shard_size": 1, "workers": 1}


def whole(out: Path, expected: dict[str, str], source: Path) -> None:
    assert (out / "_SUCCESS").exists()
    assert checksums(out) == expected
    found = verify(out, source, workers=1)
    assert found.has_no_fault, found.faults


@every_write
def test_finish_that_is_gone_before_any_write(step: int, source: Path, tmp_path: Path) -> None:
    task, made = TASKS["rotate"](), tmp_path / "made"
    run(task, source, **options(tmp_path / "clean"))
    plan_parts(task, source, **options(made))
    for part in ("1/2", "2/2"):
        run(task, source, **options(made), part=part)
    for before in range(0, 99, step):
        out = Path(shutil.copytree(made, tmp_path / f"at-{before}"))
        came = gone(before, lambda out=out: finish(out))
        if (out / "_SUCCESS").exists():
            assert verify(out, workers=1).has_no_fault
        finish(out)
        whole(out, checksums(tmp_path / "clean"), source)
        if not came:
            break
    assert before > 6
    left = {path.name for path in [*out.iterdir(), *(out / "_records").iterdir()]}
    assert not {name for name in left if name.startswith(("_work", "plan", "kept", "lock-"))}


@pytest.mark.slow
@every_write
def test_an_extension_that_is_gone_before_any_write_and_a_source_that_goes_on_growing(
    step: int, source: Path, tmp_path: Path
) -> None:
    task, base = TASKS["rotate"](), tmp_path / "base"
    later = [path.rename(tmp_path / path.name) for path in sorted(source.iterdir())[3:]]
    run(task, source, **options(base))
    before_growth = checksums(base)
    for path in later[:2]:
        path.rename(source / path.name)
    run(task, source, **options(Path(shutil.copytree(base, tmp_path / "two"))), extend=True)
    two = checksums(tmp_path / "two")
    for before in range(0, 99, step):
        out = Path(shutil.copytree(base, tmp_path / f"at-{before}"))
        came = gone(before, lambda out=out: run(task, source, **options(out), extend=True))
        if (out / "_SUCCESS").exists():
            assert verify(out, workers=1).has_no_fault
        run(task, source, **options(out), extend=True)
        whole(out, two, source)
        if not came:
            break
    assert before > 6

    out = Path(shutil.copytree(base, tmp_path / "grows"))
    assert gone(3, lambda: run(task, source, **options(out), extend=True))
    later[2].rename(source / later[2].name)
    run(task, source, **options(out), extend=True)  # what the first attempt made is of no shard now, and goes
    whole(out, checksums(out), source)
    assert before_growth.items() <= checksums(out).items()

    out = Path(shutil.copytree(base, tmp_path / "shrinks"))
    assert gone(3, lambda: run(task, source, **options(out), extend=True))
    for path in later:
        (source / path.name).rename(path)
    run(task, source, **options(out), extend=True)
    whole(out, before_growth, source)


def test_parts_of_a_source_that_is_not_mounted_and_of_a_plan_that_is_old(source: Path, tmp_path: Path) -> None:
    task, out = TASKS["rotate"](), tmp_path / "out"
    plan_parts(task, source, **options(out))
    source.rename(tmp_path / "elsewhere")
    source.mkdir()
    with pytest.raises(UserError, match="is the source mounted") as refused:
        run(task, source, **options(out), part="1/2")
    assert refused.value.code == 74
    source.rmdir()
    (tmp_path / "elsewhere").rename(source)
    with pytest.raises(UserError, match="shards are not made"):
        finish(out)
    for part in ("1/2", "2/2"):
        run(task, source, **options(out), part=part)
    (out / "_records" / "00000.json").write_text("[]")
    with pytest.raises(UserError, match="1 of"):
        finish(out)
    run(task, source, **options(out), part="1/2")
    with pytest.raises(UserError, match="--max-skipped"):
        finish(tmp_path / "out", max_skipped="-1")
    finish(out)
    assert verify(out, source, workers=1).has_no_fault
