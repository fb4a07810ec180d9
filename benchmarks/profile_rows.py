"""Where the time of a row goes: `python benchmarks/profile_rows.py "mask-audio speech-65min"` (`run.py --list`).

Runs the command once with a sampler in each of its processes (`sampler.py`). Prints each stage's share of the CPU time
of all processes, stages below 1 % as one, and what the wall clock of the command went to: until the workers start, what
each worker waited for jobs, and from the last shard to the end. A sample counts for the innermost function that STAGES
knows. Time on the wall says something on a machine that rests; shares of the CPU nearly always.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from inputs import DATA, WORK, folder_of, tokenizer_of
from jobs import Row, rows

STAGES = {  # stage -> pattern of file and function, the first that fits
    "start-up, imports": r"importlib|<module>$|^\(interpreter\)|/(typer|pydantic)\w*/|preload\.py",
    "waiting": r"connection\.py:(_?recv\w*|wait)$|selectors\.py:select$",
    "fsync": r"writers/shards\.py:__exit__$|:fsync$",
    "Parquet": r"writers/shards\.py",
    "checksums": r"storage/files\.py:file_sha256$",
    "reading files": r"opening\.py|byte_ranges\.py|image/reader\.py:_bytes|text/(streams|blocks)\.py",
    "opening videos": r"video/decode\.py:(_open|look|_timeline)$|clip_sampling\.py",
    "colours of videos": r"video/(frames|color\w*)\.py",
    "decoding": r"readers/(image|video)/\w+\.py:(?!libav_errors)|audio/(flac|libav|decode)\.py",
    "documents": r"readers/text/\w+\.py",
    "fit": r"make_shard\.py:fit$|clustering/(kmeans|clusters)\.py",
    "MFCC": r"transforms/audio/features\.py",
    "codes": r"clustering/codebooks\.py",
    "encoding": r"transforms/(image|audio)/codec\.py",
    "resizing": r"image/ops\.py:resize$",
    "colours, blur": r"transforms/image/color\.py",
    "motion": r"video/motion\.py",
    "loading the tokenizer": r"tokenize\.py:load_tokens$|base/text\.py:load_tokenizer$",
    "tokenising new chunks": r"tokenize\.py:(_look_up|_tokenise|ids)$",
    "looking up chunks": r"tokenize\.py:(_find|short_keys)$",
    "cutting into chunks": r"text/chunking\.py",
    "gathering ids": r"tokenize\.py:encode",
    "packing, masks": r"transforms/text/\w+\.py|tasks/mask_text\.py",
    "scan and plan": r"engine/(scan|target|plan)\.py",
    "the task": r"tasks/\w+\.py|transforms/\w+/\w+\.py",
    "records, messages, end": r"pseudolabel/(engine|writers|storage|contracts/randomness)|multiprocessing/",
}
PATTERNS = {stage: re.compile(pattern) for stage, pattern in STAGES.items()}
LEAST = 1.0  # percent


class Sampled(NamedTuple):
    """A run, and the files of its samplers."""

    begun: float
    ended: float
    processes: list[dict[str, Any]]


def sample(row: Row, workers: int, work: Path, data: Path) -> Sampled:
    """Run the command of a row once, with samplers."""
    source = folder_of(row.source, work, data)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, here = Path(name), str(Path(__file__).parent)
        stacks = folder / "stacks"
        stacks.mkdir()
        start = f"sys.path.append({here!r}); import sampler; sys.path.pop(); sampler.start({str(stacks)!r})"
        (folder / "sitecustomize.py").write_text(f"import sys; {start}\n")
        command = [sys.executable, *row.command(source, folder / "out", workers)]
        if "TOKENIZER" in command:
            command[command.index("TOKENIZER")] = str(tokenizer_of(source))
        begun = time.time()
        subprocess.run(command, env={**os.environ, "PYTHONPATH": name}, check=True, stdout=subprocess.DEVNULL)
        ended = time.time()
        time.sleep(0.5)  # the server ends after its parent
        return Sampled(begun, ended, [json.loads(path.read_text()) for path in stacks.glob("*.json")])


def stage_of(stack: list[str]) -> str:
    """The stage of a stack, the innermost function first."""
    found = (stage for name in stack for stage, pattern in PATTERNS.items() if pattern.search(name))
    observed = any(name.endswith("make_shard.py:observe") for name in stack)
    stage = next(found, "start-up, imports")  # nothing of ours: the interpreter and the server
    return f"{stage}, for fit" if observed and stage not in ("waiting", "start-up, imports") else stage


def shares(run: Sampled) -> dict[str, float]:
    """Each stage's percent of the CPU time, the largest first."""
    spent: dict[str, float] = defaultdict(float)
    for process in run.processes:
        for stack, _, cpu in process["stacks"]:
            if (stage := stage_of(stack)) != "waiting":  # there the CPU works for the sampler only
                spent[stage] += cpu
        spent["fit" if process["forked"] else "records, messages, end"] += max(0.0, process["others"])
    total = sum(spent.values())
    large = {stage: 100 * cpu / total for stage, cpu in spent.items() if 100 * cpu / total >= LEAST}
    ordered = sorted(large.items(), key=lambda one: -one[1])
    return {"CPU seconds": total, **dict(ordered), "the rest": 100 - sum(large.values())}


def waits(run: Sampled) -> Iterator[tuple[str, float]]:
    """What the wall clock went to, in percent of the command's time."""
    whole, workers = run.ended - run.begun, [one for one in run.processes if one["forked"]]
    yield "wall seconds", whole
    yield "until the workers start", 100 * (min(one["begun"] for one in workers) - run.begun) / whole
    for number, one in enumerate(sorted(workers, key=lambda one: float(one["begun"])), 1):
        idle = sum(wall for stack, wall, _ in one["stacks"] if stage_of(stack) == "waiting")
        synced = sum(wall for stack, wall, _ in one["stacks"] if stage_of(stack) == "fsync")
        yield f"worker {number} waits for a job", 100 * idle / whole
        yield f"worker {number} waits for the disk", 100 * synced / whole
    yield "after the workers end", 100 * (run.ended - max(one["ended"] for one in workers)) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", help="such as 'jigsaw photographs-1000'")
    parser.add_argument("--workers", type=int, default=2, help="[%(default)s]")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real files [%(default)s]")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the inputs [%(default)s]")
    chosen = parser.parse_args()
    known = {row.name: row for row in rows(quick=False) + rows(quick=True)}
    if chosen.row not in known:
        parser.error(f"no row is called {chosen.row}; run.py --list prints them")
    run = sample(known[chosen.row], chosen.workers, chosen.work, chosen.data)
    for name, value in [*shares(run).items(), *waits(run)]:
        print(f"{name:32}{value:6.1f}{'' if name.endswith('seconds') else ' %'}")


if __name__ == "__main__":
    main()
