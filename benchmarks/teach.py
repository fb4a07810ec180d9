"""Do the rows teach? `python benchmarks/teach.py`: under 40 minutes on two cores; `--quick` in 5.

For each family of tasks a small network is trained on the rows that `pseudolabel` wrote, frozen, and judged by a linear
classifier of real classes that the tool never saw. It is compared with the same network with random weights, with
shuffled labels, and fed by the usual loader for as many steps of as many samples; five seeds, for sound three of each
held-out speaker. Results go to benchmarks/teach.json after each training, and to docs/teach.md at the end. A training
whose result is there with the same settings is not run again, unless `--again` is given. Needs
`pip install '.[train,audit]'` and real data (--data).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ |= {"TOKENIZERS_PARALLELISM": "false"}

from machine import package_versions  # noqa: E402
from teaching import films, patches, pictures, sounds, texts  # noqa: E402
from teaching.choices import choices  # noqa: E402
from teaching.experiment import ARMS, Budget, Case, Family, run_case  # noqa: E402
from teaching.places import MissingData, Places  # noqa: E402
from teaching.table import complete_seeds, publish, summary  # noqa: E402

OUT, PAGE = HERE / "teach.json", HERE.parent / "docs" / "teach.md"
FAMILIES = {family.name: family for module in (pictures, patches, sounds, texts, films) for family in module.FAMILIES}
PACKAGES = ("pseudolabel", "torch", "transformers", "scikit-learn", "numpy", "pillow", "opencv-python-headless", "av")
QUICK_SEEDS, QUICK_FOLDS, QUICK_STEPS = 2, 2, 8  # with --quick, an eighth of the steps


def budget_of(family: Family, quick: bool) -> Budget:
    budget = family.budget
    return budget._replace(steps=budget.steps // QUICK_STEPS) if quick else budget


def seeds_of(family: Family, quick: bool) -> int:
    return QUICK_SEEDS if quick else family.seeds


def folds_of(family: Family, quick: bool) -> int:
    return min(QUICK_FOLDS, family.folds) if quick else family.folds


def cases_of(family: Family, quick: bool) -> Iterator[Case]:
    for seed in range(seeds_of(family, quick)):
        for fold in range(folds_of(family, quick)):
            for arm in (*ARMS, *family.more):
                yield Case(family.name, arm, seed, fold)


def prepare(name: str, places: Places, folds: int) -> tuple[Mapping[str, float], float]:
    """Make sources and rows of a family, in a process of its own. Return its facts, and the CPU-seconds it took."""
    facts = FAMILIES[name].prepare(places, folds)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return facts, sum(one.ru_utime + one.ru_stime for one in used)


def one_case(places: Places, case: Case, budget: Budget) -> dict[str, float]:
    return run_case(FAMILIES[case.family], places, case, budget)


def settings_of(family: Family, places: Places, quick: bool) -> dict[str, Any]:
    """Return what results depend on; JSON gives it back as it is."""
    return {
        "data": places.data.resolve().name,
        "seeds": seeds_of(family, quick),
        "folds": folds_of(family, quick),
        "arms": [*ARMS, *family.more],
        **budget_of(family, quick)._asdict(),
    }


def measure(family: Family, places: Places, quick: bool, workers: int, there: Mapping[str, Any]) -> Iterator[Any]:
    """Train and probe all cases of a family but those that are there. Yield all results so far, after each case."""
    context, budget, cases = get_context("spawn"), budget_of(family, quick), list(cases_of(family, quick))
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        facts, seconds = pool.submit(prepare, family.name, places, folds_of(family, quick)).result()
    done = dict(there.get("cases", {}))
    made = {
        "settings": settings_of(family, places, quick),
        "source": family.source,
        "probe": family.probe,
        "command": f"pseudolabel {family.name} SOURCE {family.command}",
        "facts": facts,
        "prepare_seconds": max(round(seconds), there.get("prepare_seconds", 0)),
        "versions": package_versions(PACKAGES),
    }
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(one_case, places, case, budget): case for case in cases if case.name not in done}
        for future in as_completed(waiting):
            case = waiting[future]
            done[case.name] = {**case._asdict(), **future.result()}
            print(f"{family.name}: {case.name}: {done[case.name]['accuracy']:.3f}", flush=True)
            yield {**made, "cases": {case.name: done[case.name] for case in cases if case.name in done}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds and an eighth of the steps; published nowhere")
    parser.add_argument("--only", action="append", choices=FAMILIES, help="run this family; may be given again")
    parser.add_argument(
        "--again", action="store_true", help="make rows anew, and run what is there with the same settings, too"
    )
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of real data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "pseudolabel-teach")
    parser.add_argument("--out", type=Path, help="where results go [benchmarks/teach.json; teach-quick.json in --work]")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with one thread [2]")
    chosen = parser.parse_args()
    out = chosen.out or (chosen.work / "teach-quick.json" if chosen.quick else OUT)
    found = json.loads(out.read_text("utf-8")) if out.exists() else {}
    places = Places(chosen.data, chosen.work / chosen.data.resolve().name)
    if chosen.again:
        shutil.rmtree(places.work, ignore_errors=True)
    for name in chosen.only or FAMILIES:
        family, there = FAMILIES[name], found.get(name, {})
        if chosen.again or there.get("settings") != settings_of(family, places, chosen.quick):
            there = {}
        if len(there.get("cases", {})) == len(list(cases_of(family, chosen.quick))):
            print(f"{name}: there already")
            continue
        try:
            for result in measure(family, places, chosen.quick, chosen.workers, there):
                found[name] = result
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        except MissingData as fault:
            print(f"{name}: left out: {fault}")
    found = {name: complete_seeds(found[name]) for name in FAMILIES if name in found}
    found = {name: family for name, family in found.items() if family["cases"]}
    print("\n".join(summary(found)))
    if out == OUT:
        publish(found, [*choices(found)], PAGE)


if __name__ == "__main__":
    main()
