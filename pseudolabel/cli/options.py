"""Commands made from dataclasses: an option is a field, and its help, bounds and default are the field's."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields
from inspect import Parameter, Signature, get_annotations, signature
from typing import Annotated, Any, get_args, get_type_hints

from pseudolabel.tasks.base.task import Task


def task_from_options(task: type[Task], given: dict[str, Any]) -> Task:
    """The task of the options that are its own, which are taken out of those given."""
    return task(**{field.name: given.pop(field.name) for field in fields(task)})


def with_options(made: Callable[..., None], options: list[Parameter], told: str) -> Callable[..., None]:
    """Give a command more options, between the first of its own and the others, and its help."""
    first, *last = list(signature(made, eval_str=True).parameters.values())[:-1]
    made.__signature__ = Signature([first, *options, *last])  # type: ignore[attr-defined]
    made.__doc__ = told
    return made


def own_options(task: type[Task]) -> list[Parameter]:
    """The options of a task: those it declares itself come first, its reader's last."""
    return sorted(options_of(task), key=lambda option: _distance(task, option.name))


def options_of(dataclass: type) -> list[Parameter]:
    """An option for each field."""
    hints = get_type_hints(dataclass, include_extras=True)  # each in the module of the class that declares it
    return [
        Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=_told(hints[field.name], dataclass)
        )
        for field in fields(dataclass)
    ]


def _told(hint: Any, dataclass: type) -> Any:
    """The annotation of an option, with what its help has in braces filled in, as a class has it that is given none."""
    kind, option = get_args(hint)
    if "{" not in option.help:
        return hint
    told = copy(option)
    told.help = option.help.format(dataclass())
    return Annotated[kind, told]


def _distance(task: type[Task], option: str) -> int:
    """How far up a field was declared."""
    return next(i for i, base in enumerate(task.__mro__) if option in get_annotations(base))
