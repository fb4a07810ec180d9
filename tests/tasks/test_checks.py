"""A task that breaks a promise is named with what to do, by the checks of `pseudolabel.testing`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from runs import FIXTURES
from typer import Option

from pseudolabel import Rotate, Task
from pseudolabel.contracts import Column, UnusableSample
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.testing import check_task, checks

LABEL = Column("label", "class", "label", "Which.", ("no", "yes"))
IMAGE = Column("image", "image", "input", "A picture.")


@dataclass(frozen=True)
class Sound(ImageTask):
    """Label with nothing."""

    description = Description("nobody")
    share: Annotated[float, Option(min=0, max=1, help="A share.")] = 0.5

    def columns(self) -> list[Column]:
        return [LABEL, IMAGE]

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        yield {"label": int(rng.integers(2)), "image": {"bytes": b"", "path": None}}


Sound.name = "sound"  # chance is of the name; a name in the class would make it a command


@dataclass(frozen=True)
class Undocumented(Sound):
    pass


@dataclass(frozen=True)
class Helpless(Sound):
    """Label with nothing."""

    share: float = 0.5


@dataclass(frozen=True)
class Unchecked(Sound):
    """Label with nothing."""

    def __post_init__(self) -> None:
        pass


class Nameless(Sound):
    """Label with nothing."""

    def columns(self) -> list[Column]:
        return [LABEL._replace(names=()), IMAGE]


class Two(Sound):
    """Label with nothing."""

    def columns(self) -> list[Column]:
        return [LABEL, LABEL._replace(name="labels"), IMAGE]


class Writing(Sound):
    """Label with nothing."""

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        payload[:] = 0
        return super().rows(payload, rng)


class Global(Sound):
    """Label with nothing."""

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        yield {"label": np.random.randint(2)}  # noqa: NPY002


class Barren(Sound):
    """Label with nothing."""

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        raise UnusableSample("it bears nothing")


class Hollow(Rotate):
    """Turn a picture, and believe any label."""

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        return None


class Written(Rotate):
    """Turn a picture, and say so in words."""

    def columns(self) -> list[Column]:
        return [*super().columns(), Column("words", "string", "label", "What was done.")]

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        return ({**row, "words": "turned"} for row in super().rows(payload, rng))


BROKEN: list[tuple[type[Task], Any, str]] = [
    (Undocumented, checks.check_fields, "has no docstring"),
    (Helpless, checks.check_fields, "'share' is no option; write `share: Annotated"),
    (Unchecked, checks.check_options, r"is accepted; `__post_init__` must call super"),
    (Nameless, checks.check_columns, "of type class has no names"),
    (Two, checks.check_columns, "there are both `label` and `labels`"),
    (Writing, checks.check_chance, "writes to its payload"),
    (Global, checks.check_chance, "a global generator was used"),
    (Barren, checks.check_chance, "give no row"),
    (Hollow, checks.check_false_labels, "check_row finds no fault in 32 of 32 rows with a false 'label'"),
]


@pytest.mark.parametrize(("task", "check", "said"), BROKEN)
def test_broken_tasks_are_named(task: type[Task], check: Any, said: str, tmp_path: Path) -> None:
    on_rows = check in (checks.check_chance, checks.check_false_labels)
    given: tuple[Any, ...] = (tmp_path, FIXTURES / "images" / "lakes") if on_rows else ()
    with pytest.raises(AssertionError, match=said):
        check(task if check is checks.check_fields else task(), *given)


def test_a_label_of_text_is_left_to_verify(tmp_path: Path) -> None:
    checks.check_false_labels(Written(), tmp_path, FIXTURES / "images" / "lakes")


@pytest.mark.slow
def test_a_task_of_ours_on_sources_that_are_drawn_for_it() -> None:
    check_task(Rotate)
