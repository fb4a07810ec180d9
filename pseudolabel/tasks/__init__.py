"""Tasks, one module each, and those of other packages. A task class registers itself in `TASKS`.

All modules of this folder are imported here. Other packages name their modules as entry points of the group
`pseudolabel.tasks`. These are imported when `TASKS` is first used, for two reasons: they import this package, and the
fork server of the workers imports this package but must not run their code, which may start threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from glob import escape, glob
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pseudolabel.tasks.base.task import Task as Task

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pseudolabel.tasks.base.task import TASKS as TASKS

GROUP = "pseudolabel.tasks"
PLUGIN_FAULTS: list[str] = []  # a line for each entry point that cannot be imported; the command line prints them

for module in sorted(iter_modules(__path__)):
    if module.ispkg:  # `base` defines no task
        continue
    import_module(f"{__name__}.{module.name}")


def plugins() -> Iterable[EntryPoint]:
    """Return the entry points of `GROUP`. Read the files first: importlib.metadata takes 20 ms."""
    files = (file for folder in sys.path for file in glob(f"{escape(folder or '.')}/*-info/entry_points.txt"))
    if not any(f"[{GROUP}]".encode() in Path(file).read_bytes() for file in files):
        return ()
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def __getattr__(name: str) -> Any:
    """Return `TASKS` after the import of all plugins."""
    if name != "TASKS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for plugin in plugins():
        try:
            import_module(plugin.module)  # not `load`: the class may not exist yet if this module is being imported
        except Exception as fault:  # code of others
            package = plugin.dist.name if plugin.dist else plugin.module
            PLUGIN_FAULTS.append(f"the task {plugin.name} of {package} is left out: {type(fault).__name__}: {fault}")
    from pseudolabel.tasks.base.task import TASKS

    globals()["TASKS"] = TASKS
    return TASKS
