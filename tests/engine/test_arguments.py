"""Arguments of the Python functions that are no task and no source: the error says what to give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pseudolabel import Rotate, UserError, plan_parts, rows, run
from pseudolabel import open as open_dataset


@pytest.mark.parametrize("make", [run, plan_parts, lambda *given, **_: list(rows(*given))])
def test_wrong_tasks_and_sources(make: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for task, words in {
        "rotate": "the task is 'rotate'; give an instance of a task, such as Rotate()",
        "nothing": "such as Rotate()",
        Rotate: "such as Rotate()",
        3: "the task is 3; give",
        None: "the task is None; give",
        int: "such as Rotate()",
    }.items():
        with pytest.raises(UserError) as told:
            make(task, tmp_path / "in", out=tmp_path / "out")
        assert words in str(told.value)
        assert told.value.code == 2
    for source, words in (
        (3, "the source is 3; give a path or a URL"),
        (None, "the source is None; give"),
        ([tmp_path / "in", 3], "the source is 3; give"),
        (b"in", "the source is b'in'; give"),
        (Rotate(), "the source is Rotate("),
        ([], "the list of sources is empty; give"),
    ):
        with pytest.raises(UserError) as told:
            make(Rotate(), source, out=tmp_path / "out")
        assert words in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_part_and_a_finished_dataset(made: Any) -> None:
    with pytest.raises(UserError, match="the task is 'rotate'; give"):
        run("rotate", "in", part="1/2")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the source is 3; give"):
        open_dataset(made["rotate"], 3)  # type: ignore[arg-type]
