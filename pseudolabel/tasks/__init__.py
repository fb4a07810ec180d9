"""Tasks, one module each. All modules of this folder are imported here; a task class registers itself in `TASKS`."""

from importlib import import_module
from pkgutil import iter_modules

from pseudolabel.tasks.base.task import TASKS as TASKS
from pseudolabel.tasks.base.task import Task as Task

for module in sorted(iter_modules(__path__)):
    if module.ispkg:  # `base` defines no task
        continue
    import_module(f"{__name__}.{module.name}")
