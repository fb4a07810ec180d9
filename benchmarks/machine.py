"""The machine and the packages that figures were measured with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OURS = (
    "pseudolabel",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "pyarrow",
    "tokenizers",
    "faiss-cpu",
    "soundfile",
    "av",
)
PEERS = (
    "torch",
    "torchvision",
    "lightly",
    "pillow",
    "datasets",
    "transformers",
    "librosa",
    "scikit-learn",
    "av",
    "opencv-python-headless",
)


def facts(peers: str) -> dict[str, Any]:
    """Cores, processor, memory, load and versions; `peers` is the interpreter of the peers."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in OURS},
        "packages_of_peers": versions(peers),
    }


def processor() -> str:
    """`Intel(R) Xeon(R) Processor`, as Linux calls it."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def versions(python: str) -> dict[str, str]:
    """Of the peers' packages, as far as they are installed."""
    code = f"""
import json
from importlib.metadata import PackageNotFoundError, version
found = {{}}
for name in {PEERS}:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))"""
    return json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of those packages that this interpreter has."""
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def missing_packages(modules: tuple[str, ...], python: str) -> list[str]:
    """Which of these modules an interpreter cannot import."""
    code = f"from importlib.util import find_spec; print(*[name for name in {modules} if not find_spec(name)])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
