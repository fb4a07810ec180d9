"""Pseudo-labelled datasets from raw text, images, video and sound: `run(Jigsaw(grid=3), "images/", out="tiles/")`."""

from pseudolabel.engine import run
from pseudolabel.options import RunOptions
from pseudolabel.parts import finish, plan_parts
from pseudolabel.sample import Refused, Unusable
from pseudolabel.signing import Summary
from pseudolabel.tasks import TASKS, Task

__all__ = ["TASKS", "Refused", "RunOptions", "Summary", "Task", "Unusable", "finish", "plan_parts", "run"]
__all__ += [task.__name__ for task in TASKS.values()]
globals().update({task.__name__: task for task in TASKS.values()})
