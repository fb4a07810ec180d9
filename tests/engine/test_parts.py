"""Parts of a plan, made by processes that know nothing of each other; and datasets that grow with their source."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from processes import ONE, finished, kill, start, wait_for
from runs import Command, arguments

from pseudolabel import RunOptions, UserError, finish, plan_parts, run
from pseudolabel.engine.parts import check_mounted
from pseudolabel.engine.scan import scan
from pseudolabel.inspection.describe import describe
from pseudolabel.inspection.preview import preview
from pseudolabel.inspection.verify import verify
from pseudolabel.tasks import TASKS
from pseudolabel.testing.checks import checksums
from pseudolabel.writers.dataset import open_dataset


def ended(run: subprocess.Popen[str]) -> int:
    run.communicate()
    return run.returncode


def test_parts_give_the_bytes_of_a_whole_run(corpus: Path, pseudolabel: Command, tmp_path: Path) -> None:
    job = ["mask-text", corpus / "0.txt", corpus / "1.txt", "--vocab-size", 500, *ONE]
    assert pseudolabel(*job, "--out", "clean").returncode == 0
    words, out = [*job, "--out", "parts"], tmp_path / "parts"
    done = pseudolabel(*words, "--part", "1/3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pseudolabel plan" in done.stderr
    assert pseudolabel("plan", *words).returncode == 0
    assert not list((out / "data").iterdir())
    runs = {i: start([*words, "--part", f"{i}/3", "--workers", 1], tmp_path) for i in (1, 3)}
    wait_for(lambda: len(finished(out)) >= 2, runs[1])
    kill(runs[1])  # its work folder is its own: the other goes on
    assert ended(runs[3]) == 0
    done = pseudolabel("finish", "parts")
    assert done.returncode == 3
    assert "shards are not made" in done.stderr
    for i in (2, 1):
        assert pseudolabel(*words, "--part", f"{i}/3").returncode == 0
    assert pseudolabel("finish", "parts").returncode == 0
    assert checksums(out) == checksums(tmp_path / "clean")
    assert sorted(p.name for p in (out / "_records").glob("*-of-*")) == []
    assert str(job[1]) not in (out / "_records" / "made.jsonl").read_text(), "where the source lay does not travel"
    for again in (("finish", "parts"), words, (*words, "--part", "2/3")):
        assert pseudolabel(*again).returncode == 0
    done = pseudolabel(*words, "--seed", 1, "--part", "1/3")
    assert (done.returncode, "seed is 0, not 1" in done.stderr) == (4, True)


def test_a_part_waits_for_nobody_and_the_same_part_twice_is_refused(
    pictures: Path, pseudolabel: Command, tmp_path: Path
) -> None:
    words = ["jigsaw", pictures, *ONE, "--out", "parts"]
    assert pseudolabel("plan", *words).returncode == 0
    first = start([*words, "--part", "1/2", "--workers", 1], tmp_path)
    wait_for(lambda: len(finished(tmp_path / "parts")) >= 1, first)
    first.send_signal(signal.SIGSTOP)
    try:
        for other in ((*words, "--part", "1/2"), words, ("finish", "parts"), ("plan", *words)):
            done = pseudolabel(*other)
            assert (done.returncode, "another run is writing to" in done.stderr) == (4, True), other
        assert pseudolabel(*words, "--part", "2/2").returncode == 0
    finally:
        first.send_signal(signal.SIGCONT)
    assert ended(first) == 0
    assert finish(tmp_path / "parts").rows == {"train": 60}


def test_a_source_that_grew(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "grown"))
    new = sorted(folder.rglob("*.png"))[::7]
    for path in new:
        path.rename(path.with_suffix(".part"))
    words = ["jigsaw", folder, *ONE, "--out", "out", "--json"]
    first = json.loads(pseudolabel(*words, "--extend").stdout)  # nothing there yet: a run like any other
    before, inodes = checksums(tmp_path / "out"), finished(tmp_path / "out")
    assert json.loads(pseudolabel(*words, "--extend").stdout)["status"] == "already finished"
    for path in new:
        path.with_suffix(".part").rename(path)
    done = pseudolabel(*words)
    assert (done.returncode, "--extend" in done.stderr) == (4, True)
    attempt = start([*words, "--extend", "--workers", 1], tmp_path)
    wait_for(lambda: len(finished(tmp_path / "out")) > len(before), attempt)
    kill(attempt)
    second = json.loads(pseudolabel(*words, "--extend").stdout)
    assert (second["seen"], second["seen"] - first["seen"]) == (60, len(new))
    after = checksums(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert {name: inode for name, inode in finished(tmp_path / "out").items() if name in inodes} == inodes
    for again in (words, [*words, "--extend"]):
        assert json.loads(pseudolabel(*again).stdout)["status"] == "already finished"
    assert pseudolabel("verify", "out", "--against", folder).returncode == 0
    new[0].write_bytes(new[1].read_bytes())
    gone = next(path for path in sorted(folder.rglob("*.png")) if path not in new)
    gone.unlink()
    done = pseudolabel(*words, "--extend")
    assert done.returncode == 4
    assert all(path.relative_to(folder).as_posix() in done.stderr for path in (new[0], gone))
    assert checksums(tmp_path / "out") == after


def test_what_cannot_be_is_refused(pictures: Path, tmp_path: Path) -> None:
    for options in ({"part": "0/3"}, {"part": "4/3"}, {"part": "1"}, {"part": "1/3", "overwrite": True}):
        with pytest.raises(UserError):
            run(TASKS["jigsaw"](), pictures, out=tmp_path / "out", **options)
    with pytest.raises(UserError, match="not planned"):
        finish(tmp_path)
    assert not subprocess.run(arguments("finish", tmp_path), capture_output=True).stdout


def test_a_mount_is_blamed_only_where_no_file_is_there(pictures: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pictures / "class-0", tmp_path / "in"))
    plan = scan(TASKS["rotate"](), [folder], RunOptions()).plan
    names = [extent.where for extent in plan[0].extents]
    for name in names[:-1]:
        Path(name).unlink()
    check_mounted(plan, [0])
    Path(names[-1]).unlink()
    with pytest.raises(UserError, match="is the source mounted"):
        check_mounted(plan, [0])


def as_format_1(out: Path) -> None:
    """What a version before made: its manifest has no format."""
    manifest = json.loads((out / "_manifest.json").read_text())
    assert manifest.pop("format") == 2
    (out / "_manifest.json").write_text(json.dumps(manifest))


def test_a_dataset_of_format_1_is_checked_and_never_continued(pictures: Path, tmp_path: Path) -> None:
    folder, task = tmp_path / "in", TASKS["rotate"]()
    shutil.copytree(pictures / "class-0", folder)
    options: dict[str, Any] = {"workers": 1, "shard_size": 1}
    run(task, folder, out=tmp_path / "whole", **options)
    plan_parts(task, folder, out=tmp_path / "planned", **options)
    for name in ("whole", "planned"):
        as_format_1(tmp_path / name)
    before = checksums(tmp_path / "whole")
    assert verify(tmp_path / "whole", workers=1).has_no_fault
    assert preview(tmp_path / "whole").exists()
    assert describe(open_dataset(tmp_path / "whole"))["rows"] == {"train": 60}
    assert run(task, folder, out=tmp_path / "whole", **options).status == "already finished"
    with pytest.raises(UserError, match="has format 1: rows"):
        verify(tmp_path / "whole", folder, workers=1)
    (folder / "new.png").write_bytes((pictures / "class-1" / "001.png").read_bytes())
    begun = Path(shutil.copytree(tmp_path / "whole", tmp_path / "begun"))
    (begun / "_SUCCESS").unlink()
    (begun / "data" / "train-00000.parquet").unlink()
    for call in (
        lambda: run(task, folder, out=tmp_path / "whole", extend=True, **options),
        lambda: run(task, folder, out=tmp_path / "planned", part="1/2", **options),
        lambda: finish(tmp_path / "planned"),
    ):
        with pytest.raises(UserError, match="has format 1, but this version makes format 2") as refused:
            call()
        assert refused.value.code == 4
    (folder / "new.png").unlink()
    with pytest.raises(UserError, match="but this version makes format 2"):
        run(task, folder, out=begun, **options)
    assert checksums(tmp_path / "whole") == before
    assert run(task, folder, out=begun, overwrite=True, **options).status == "finished"
    assert json.loads((begun / "_manifest.json").read_text())["format"] == 2
