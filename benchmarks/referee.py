"""Can labels be guessed, ours and others'? `python benchmarks/referee.py`: some three minutes on two cores.

Makes sources (`loaders/sources.py`), lets the packages' own code and this one make rows of them, and audits both with
`pseudolabel audit`. Writes benchmarks/referee.json and the table of docs/referee.md. All generators are seeded: run
again, it finds the same verdicts. Peers need `pip install '.[benchmarks]'`; one that is not installed is left out, and
so is real data that is not there (REFEREE_DATA). `--only TEXT` runs the rows whose name has TEXT, and stores nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from loaders.sources import WORK, MissingData, folder_of  # noqa: E402
from machine import package_versions  # noqa: E402
from referee_jobs import JOBS, MODULES, Case, Job, cases, declared_by, missing_modules  # noqa: E402
from referee_table import publish, summary  # noqa: E402

from pseudolabel import UserError, run  # noqa: E402
from pseudolabel.inspection.audit.audit import audit  # noqa: E402
from pseudolabel.inspection.audit.guess import require_models  # noqa: E402

OUT = HERE / "referee.json"
PACKAGES = (
    "pseudolabel",
    "torch",
    "torchvision",
    "lightly",
    "transformers",
    "sentence-transformers",
    "nltk",
    "tokenizers",
    "pillow",
    "opencv-python-headless",
    "scikit-learn",
    "numpy",
)


def judge(case: Case, rows: int) -> dict[str, Any]:
    """Make the rows of a case and audit them. A process of the pool runs it."""
    job, started = JOBS[case.job], time.monotonic()
    try:
        what, command = dataset_of(case) if case.ours else loader_of(case)
        report = audit(what, rows, job.inputs, job.labels).as_dict()
    except (MissingData, UserError) as fault:  # no data, or code of a package that does not do what this version does
        return {"left_out": str(fault)}
    head = {"task": job.name, "by": case.by, "ours": case.ours, "source": case.source, "command": command}
    return {**head, **judged(report, declared_by(case)), "seconds": round(time.monotonic() - started, 1)}


def judged(report: Mapping[str, Any], declared: Mapping[str, str]) -> dict[str, Any]:
    """Return the verdict by the rule that holds for ours and others alike.

    A kind of facts that gives the label away leaks, unless our task of the published method declares this kind.
    """
    above = [answer for answer in report["answers"] if answer["verdict"] != "clean"]
    leaks = [answer for answer in above if answer["facts"] not in declared]
    verdict = "leaks" if leaks else "by the method" if above else "clean" if report["answers"] else "not judged"
    strongest = max(leaks or above or report["answers"], key=lambda one: one["rate"] - one["chance"], default=None)
    kept = {name: report[name] for name in ("rows", "sources", "coverage", "rates", "duplicates", "not_asked")}
    return {"verdict": verdict, "strongest": strongest, "answers": report["answers"], **kept}


def dataset_of(case: Case) -> tuple[str, str]:
    """Make a dataset anew. Return its folder, and the commands that make and audit it."""
    job = JOBS[case.job]
    ours, out = job.ours[case.maker], WORK / "rows" / f"{job.name}-{case.maker}-{case.source}"
    shutil.rmtree(out, ignore_errors=True)
    run(ours.make(case.source), folder_of(case.source), out=out, workers=1, copies=ours.copies)
    more = ours.more.format(case.source)
    making = f"pseudolabel {job.name} SOURCES/{case.source} {ours.options} {more} --copies {ours.copies} --out DIR"
    return str(out), f"{' '.join(making.split())} && {audit_command('DIR', job)}"


def loader_of(case: Case) -> tuple[str, str]:
    """Return the name of the loader, and the command that audits it."""
    job = JOBS[case.job]
    what = f"loaders:{job.peers[case.maker].maker}__{case.source}"
    folder_of(case.source)
    return what, audit_command(what, job)


def audit_command(what: str, job: Job) -> str:
    options = [f"--input {name}" for name in job.inputs] + [f"--label {name}" for name in job.labels]
    return " ".join(["pseudolabel audit", what, *options])


# --- claims ----------------------------------------------------------------------------------------------------------


def discarded() -> dict[str, Any]:
    """What I-JEPA's collator cuts off, in batches of 128."""
    from loaders.masks import PUBLISHED, discarded_patches

    return {
        "published options, 16 x 16 patches": discarded_patches(PUBLISHED, 16),
        "published options, 14 x 14 patches": discarded_patches(PUBLISHED, 14),
        "class defaults, 14 x 14 patches": discarded_patches({}, 14),
    }


def deleted() -> dict[str, Any]:
    """How many words are deleted where `del_ratio` is 0.6."""
    from loaders import texts

    return {
        "DenoisingAutoEncoderDataset": texts.deleted_share("words", texts.sentence_transformers_dataset),
        "example of DenoisingAutoEncoderLoss": texts.deleted_share("words", texts.sentence_transformers_example),
    }


def reached() -> dict[str, Any]:
    """How much of a picture lightly's jigsaw of PIRL shows, if the picture is not resized before."""
    from loaders.pictures import pirl_reach

    return {"default sizes": pirl_reach()}


CLAIMS = {  # what was measured -> how, and the package
    "lightly, IJEPAMaskCollator, batches of 128": (discarded, "lightly"),
    "lightly, PIRLTransform": (reached, "lightly"),
    "sentence-transformers, del_ratio=0.6": (deleted, "sentence-transformers"),
}


def claim(name: str) -> dict[str, Any]:
    return CLAIMS[name][0]()


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the rows whose name has this, and store nothing")
    parser.add_argument("--rows", type=int, default=1200, help="rows to audit of each, about [1200]")
    parser.add_argument("--workers", type=int, default=2, help="processes [2]")
    chosen = parser.parse_args()
    require_models()
    started = time.monotonic()
    found, lost = referee(chosen.only, chosen.rows, chosen.workers)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = {
        "versions": package_versions(PACKAGES),
        "seconds": round(time.monotonic() - started),
        "cpu_seconds": round(sum(one.ru_utime + one.ru_stime for one in used)),
        "rows_of_each": chosen.rows,
        "left_out": lost,
        **found,
    }
    print("\n".join(summary(result)))
    if not chosen.only:
        OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
        publish(result, HERE.parent / "docs" / "referee.md")


def referee(only: str, rows: int, workers: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Judge all cases whose name has `only`, and measure the claims. Return what was found, and what was left out."""
    wanted, lost = [case for case in cases() if only in case.name], dict[str, str]()
    for case in wanted:
        if missing := missing_modules(case):
            lost[case.name] = f"{', '.join(missing)} not installed: pip install '.[benchmarks]'"
    wanted = [case for case in wanted if case.name not in lost]
    measured = [name for name, (_, package) in CLAIMS.items() if not only and all(map(find_spec, MODULES[package]))]
    for source in {case.source: 0 for case in wanted}:  # one after the other, before two processes ask for one
        with suppress(MissingData):
            folder_of(source)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        claims = {name: pool.submit(claim, name) for name in measured}
        waiting = {pool.submit(judge, case, rows): case for case in wanted}
        found = dict[str, dict[str, Any]]()
        for future in as_completed(waiting):
            name, result = waiting[future].name, future.result()
            print(f"{name}: {result.get('verdict') or result['left_out']}", flush=True)
            if "left_out" in result:
                lost[name] = result["left_out"]
            else:
                found[name] = result
        kept = [found[case.name] for case in wanted if case.name in found]
        return {"rows": kept, "claims": {name: future.result() for name, future in claims.items()}}, lost


if __name__ == "__main__":
    main()
