"""Pseudo-labelled datasets from raw text, images, video and sound: `run(Jigsaw(grid=3), "images/", out="tiles/")`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pseudolabel.contracts import FilteredSample, RunOptions, UnusableSample, UserError
    from pseudolabel.engine.finish import Summary
    from pseudolabel.engine.parts import finish, plan_parts
    from pseudolabel.engine.progress import Progress
    from pseudolabel.engine.run import run
    from pseudolabel.engine.stream import rows
    from pseudolabel.inspection.opening import open
    from pseudolabel.tasks import TASKS, Task
    from pseudolabel.tasks.arrow_of_time import ArrowOfTime
    from pseudolabel.tasks.augment_pairs import AugmentPairs
    from pseudolabel.tasks.cluster import Cluster
    from pseudolabel.tasks.colorize import Colorize
    from pseudolabel.tasks.corrupt_spans import CorruptSpans
    from pseudolabel.tasks.crop_views import CropViews
    from pseudolabel.tasks.jigsaw import Jigsaw
    from pseudolabel.tasks.mask_audio import MaskAudio
    from pseudolabel.tasks.mask_patches import MaskPatches
    from pseudolabel.tasks.mask_text import MaskText
    from pseudolabel.tasks.mask_tubes import MaskTubes
    from pseudolabel.tasks.order_sentences import OrderSentences
    from pseudolabel.tasks.predict_context import PredictContext
    from pseudolabel.tasks.predict_pace import PredictPace
    from pseudolabel.tasks.rotate import Rotate
    from pseudolabel.tasks.shuffle_clips import ShuffleClips
    from pseudolabel.tasks.shuffle_frames import ShuffleFrames

MODULES = {  # modules of the names below that are not task classes
    **dict.fromkeys(("FilteredSample", "RunOptions", "UnusableSample", "UserError"), "contracts"),
    **dict.fromkeys(("TASKS", "Task"), "tasks"),
    "Progress": "engine.progress",
    "Summary": "engine.finish",
    "finish": "engine.parts",
    "open": "inspection.opening",
    "plan_parts": "engine.parts",
    "rows": "engine.stream",
    "run": "engine.run",
}

__all__ = [
    "TASKS",
    "ArrowOfTime",
    "AugmentPairs",
    "Cluster",
    "Colorize",
    "CorruptSpans",
    "CropViews",
    "FilteredSample",
    "Jigsaw",
    "MaskAudio",
    "MaskPatches",
    "MaskText",
    "MaskTubes",
    "OrderSentences",
    "PredictContext",
    "PredictPace",
    "Progress",
    "Rotate",
    "RunOptions",
    "ShuffleClips",
    "ShuffleFrames",
    "Summary",
    "Task",
    "UnusableSample",
    "UserError",
    "finish",
    "open",
    "plan_parts",
    "rows",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that signal handlers are installed early and --help does not load the engine."""
    if name in MODULES:
        return getattr(import_module(f"pseudolabel.{MODULES[name]}"), name)
    tasks = import_module("pseudolabel.tasks.base.task").TASKS if name[0].isupper() else {}
    for task in tasks.values():
        if task.__name__ == name and task.__module__.startswith("pseudolabel.tasks."):
            return task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
