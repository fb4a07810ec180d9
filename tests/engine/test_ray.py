"""Ray as the engine: the bytes of a local run, through the loss of samples, workers and nodes; and nothing is left."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from matrix import MARK, Nodes, kill, marked, wait_for
from runs import FIXTURES, HERE, Command, arguments, records, skipped

from pseudolabel.contracts import UserError
from pseudolabel.engine.jobs import RunSpec
from pseudolabel.engine.pools.ray import NodeSpec, check_node
from pseudolabel.tasks.jigsaw import Jigsaw
from pseudolabel.testing.checks import checksums
from pseudolabel.writers.manifest import versions

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two Ray nodes for all tests."""
    made = Nodes()
    try:
        yield made
    finally:
        made.end()


def start(words: list[object], folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The command with Ray as its engine, in a process group of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    known = {**os.environ, "PYTHONPATH": str(HERE / "support"), **environment}
    return subprocess.Popen(arguments(*words, "--engine", "ray"), cwd=folder, env=known, **pipes)


def ended(run: subprocess.Popen[str]) -> tuple[str, str]:
    out, told = run.communicate()
    assert run.returncode == 0, told
    return out, told


@with_ray
@pytest.mark.slow
def test_a_task_that_learns_makes_the_same_bytes(nodes: Nodes, pseudolabel: Command, tmp_path: Path) -> None:
    words = ["mask-text", FIXTURES / "text", "--shard-size", 1, "--validation", 0.2]
    made = start([*words, "--out", "ray", "--ray-address", nodes.address, "--json"], tmp_path)
    assert pseudolabel(*words, "--out", "local", "--quiet").returncode == 0
    out, told = ended(made)
    assert json.loads(out)["status"] == "finished", "Ray says nothing on standard output"
    assert told.startswith("learning from"), "nor beside our own words"
    assert told.count("\n") == 1
    assert checksums(tmp_path / "ray") == checksums(tmp_path / "local")
    assert (tmp_path / "ray" / "tokenizer.json").read_bytes() == (tmp_path / "local" / "tokenizer.json").read_bytes()


@with_ray
@pytest.mark.slow
def test_a_sample_that_kills_and_one_that_never_returns(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for i, height in enumerate([20, 20, 13, 20, 17, 20, 20]):
        cv2.imwrite(str(tmp_path / "source" / f"{i}.png"), np.zeros((height, 30 + i, 3), np.uint8))
    words = ["deadly", "source", "--out", "out", "--sample-seconds", 1.5, "--quiet"]
    ended(start(words, tmp_path, RAY_ADDRESS=nodes.address))
    reasons = skipped(tmp_path / "out")
    assert set(reasons) == {"2.png", "4.png"}
    assert "SIGKILL" in reasons["2.png"]
    assert "longer than 1.5 s" in reasons["4.png"]


@with_ray
def test_a_worker_and_a_node_are_lost(nodes: Nodes, pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    words, out = ["jigsaw", pictures, "--shard-size", 1, "--copies", 10, "--quiet"], tmp_path / "ray"
    assert pseudolabel(*words, "--out", "local").returncode == 0
    run = start([*words, "--out", "ray"], tmp_path, RAY_ADDRESS=nodes.address)
    wait_for(lambda: any(out.glob("data/*")), "no shard is made")
    lost = [pid for pid, line in marked(nodes.mark).items() if line.startswith("ray::serve")]
    kill(lost[:1])
    made = len(records(out))
    wait_for(lambda: len(records(out)) > made, "the others stopped, too")
    assert run.poll() is None
    nodes.lose()
    assert ended(run)[1] == "", "nothing of Ray's own words"
    assert checksums(tmp_path / "ray") == checksums(tmp_path / "local")
    assert json.loads((tmp_path / "ray" / "_manifest.json").read_text())["exceptions"]["labelling"] == {}


def working() -> list[str]:
    """The processes that make shards, or wait to."""
    return [line for line in marked("own").values() if line.startswith("ray::serve") or "forkserver" in line]


@with_ray
@pytest.mark.slow
def test_nobody_goes_on_working_in_a_ray_of_ones_own(pictures: Path, tmp_path: Path) -> None:
    """Without an address a Ray is started here; killed with no chance to end it, its workers end all the same.

    Ray's own agents follow in their own time, a minute or so.
    """
    words = ["jigsaw", pictures, "--shard-size", 1, "--copies", 4, "--out", "out", "--workers", 2]
    run = start(words, tmp_path, RAY_ADDRESS="", **{MARK: "own"})
    wait_for(lambda: any((tmp_path / "out").glob("data/*")), "no shard is made")
    assert len(marked("own")) > 4
    run.kill()
    wait_for(lambda: not working(), "some are still at work")
    kill(marked("own"))
    run.communicate()


DRIVER = """
import sys, time
from pathlib import Path
import ray
from deadly import Deadly
from pseudolabel import UserError, run
if __name__ == "__main__":
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        run(Deadly(fail="one"), sys.argv[1], out=sys.argv[2], engine="ray", workers=3, shard_size=1)
    except UserError:
        before = sorted(path.name for path in Path(sys.argv[3]).iterdir())
        time.sleep(5)
        print(before, sorted(path.name for path in Path(sys.argv[3]).iterdir()), sep="\\n")
    ray.shutdown()
"""


@with_ray
@pytest.mark.slow
def test_a_ray_that_the_user_started_has_no_task_left_after_a_failure(tmp_path: Path) -> None:
    """Each other picture takes 3 s, and leaves a trace: a task that went on could commit after the lock is released."""
    for name in ("in", "trace"):
        (tmp_path / name).mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 9000, 3), np.uint8)
    for i in range(40):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), noise[: 11 if i == 7 else 40, : 9000 - i])
    code = tmp_path / "driver.py"
    code.write_text(DRIVER)
    words = [sys.executable, str(code), str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "trace")]
    known = {**os.environ, "PYTHONPATH": str(HERE / "support"), "RAY_ADDRESS": "", "TRACE": str(tmp_path / "trace")}
    done = subprocess.run(words, env=known, cwd=tmp_path, capture_output=True, text=True)
    before, after = done.stdout.splitlines() or pytest.fail(done.stderr)
    assert before == after


def test_what_is_amiss_is_said_in_a_line(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    nobody = pseudolabel("jigsaw", pictures, "--engine", "ray", "--ray-address", "127.0.0.1:9")
    assert nobody.returncode == 2
    code = "import sys; sys.modules['ray'] = None; from pseudolabel.cli.app import main; main()"
    words = [sys.executable, "-c", code, "jigsaw", str(pictures), "--engine", "ray"]
    without = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert without.returncode == 2
    assert without.stderr == "pseudolabel: --engine ray needs Ray; pip install 'pseudolabel[ray]'\n"


def test_a_node_that_sees_other_files_or_has_other_packages_is_refused(tmp_path: Path) -> None:
    recipe = RunSpec(Jigsaw(), 0, 1, 0.0, tmp_path, tmp_path)
    check_node(NodeSpec(recipe, [tmp_path], versions(Jigsaw()), 1.0))
    with pytest.raises(UserError, match=r"does not see .*/elsewhere\nput SOURCE and --out on a file system"):
        check_node(NodeSpec(recipe, [tmp_path, tmp_path / "elsewhere"], versions(Jigsaw()), 1.0))
    with pytest.raises(UserError, match=r"numpy is '1.0', not"):
        check_node(NodeSpec(recipe, [], {**versions(Jigsaw()), "numpy": "1.0"}, 1.0))
