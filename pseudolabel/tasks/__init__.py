"""Tasks: one module each. Every module of this folder is imported; it enters `TASKS` by defining a task."""

from importlib import import_module
from pkgutil import iter_modules

from pseudolabel.tasks.base.task import TASKS as TASKS
from pseudolabel.tasks.base.task import Task as Task

for module in sorted(iter_modules(__path__)):
    if module.ispkg:  # `base`: what tasks are made of
        continue
    import_module(f"{__name__}.{module.name}")
