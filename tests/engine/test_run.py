"""Same seed, same bytes; whole or absent; rerun to finish; nothing vanishes: shown on processes that are killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deadly import Deadly
from processes import ONE, children, finished, kill, start, wait_for
from runs import Command, arguments, peak, records, skipped

from pseudolabel import MaskText, finish, plan_parts, run
from pseudolabel import rows as stream_rows
from pseudolabel.contracts import RunOptions, UserError
from pseudolabel.engine import scan
from pseudolabel.engine.pools.status import read_status
from pseudolabel.engine.stream import dry_run
from pseudolabel.testing.checks import checksums


@pytest.fixture(scope="module", params=["jigsaw", pytest.param("mask-text", marks=pytest.mark.slow)])
def job(request: pytest.FixtureRequest, tokenizer: Path) -> list[object]:
    """The words of a run over some MB of pictures or of text."""
    if request.param == "jigsaw":
        return ["jigsaw", request.getfixturevalue("pictures"), *ONE]
    return ["mask-text", request.getfixturevalue("corpus"), "--tokenizer", tokenizer, *ONE]


@pytest.fixture(scope="module")
def clean(job: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(arguments(*job, "--out", "clean", "--workers", 1), cwd=folder, check=True, capture_output=True)
    return folder / "clean"


def test_bytes_are_the_same_for_any_workers_and_through_kills(
    job: list[object], clean: Path, pseudolabel: Command, tmp_path: Path
) -> None:
    expected = checksums(clean)
    assert len(expected) >= 12
    assert pseudolabel(*job, "--out", "w4", "--workers", 4).returncode == 0
    assert checksums(tmp_path / "w4") == expected
    assert len({record["process"] for record in records(tmp_path / "w4")}) == 4, "each worker has written some"

    words, out, dice = [*job, "--out", "killed", "--workers", 2], tmp_path / "killed", random.Random(1)
    for moment in (1, dice.randrange(5, 10)):
        run = start(words, tmp_path)
        wait_for(lambda moment=moment: len(finished(out)) >= moment, run)
        kill(run)
        before = finished(out)
        assert 0 < len(before) < len(expected), "some are finished, some missing"
    assert pseudolabel(*words).returncode == 0
    assert checksums(out) == expected
    assert {name: (out / "data" / name).stat().st_ino for name in before} == before, "finished shards are not touched"


@pytest.mark.parametrize("job", ["jigsaw"], indirect=True)
def test_one_worker_killed_and_then_their_server(job: list[object], clean: Path, tmp_path: Path) -> None:
    run = start([*job, "--out", "worker", "--workers", 2], tmp_path)
    wait_for(lambda: len(finished(tmp_path / "worker")) >= 2, run)
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    wait_for(lambda: len(finished(tmp_path / "worker")) >= 5, run)
    os.kill(children(run.pid)[0], signal.SIGKILL)
    said = run.communicate()[1]
    assert run.returncode == 0, said
    assert checksums(tmp_path / "worker") == checksums(clean)
    assert json.loads((tmp_path / "worker" / "_manifest.json").read_text())["exceptions"]["labelling"] == {}


@pytest.mark.slow
def test_workers_killed_while_learning_and_while_idle(corpus: Path, pseudolabel: Command, tmp_path: Path) -> None:
    """A worker is lost while it observes the source, and one while it waits for the other to fit."""
    words = ["mask-text", corpus / "0.txt", corpus / "1.txt", "--vocab-size", 500, *ONE, "--workers", 2]
    assert pseudolabel(*words, "--out", "clean").returncode == 0
    for said in ("observe", "fit"):
        run = start([*words, "--out", said], tmp_path)
        wait_for(
            lambda said=said: list(
                (tmp_path / said).glob(f"_work/*/{'seen-00003*' if said == 'observe' else 'artefacts'}")
            ),
            run,
        )
        os.kill(children(run.pid)[-1], signal.SIGKILL)
        told = run.communicate()[1]
        assert run.returncode == 0, told
        assert checksums(tmp_path / said) == checksums(tmp_path / "clean")


def test_interrupted(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    words = ["jigsaw", pictures, *ONE, "--out", "out", "--workers", 2]
    run = start(words, tmp_path)
    wait_for(lambda: len(finished(tmp_path / "out")) >= 2, run)
    os.killpg(run.pid, signal.SIGINT)
    said = run.communicate()[1]
    assert run.returncode == 130
    assert "run the same command again to finish" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "_work").exists()
    assert pseudolabel(*words).returncode == 0


@pytest.mark.parametrize(
    "options", [("--workers", 2), pytest.param(("--workers", 1, "--in-order"), marks=pytest.mark.slow)]
)
def test_a_sample_that_kills_and_one_that_never_returns(
    options: tuple[object, ...], pseudolabel: Command, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for i, height in enumerate([20, 20, 13, 20, 17, 20, 20]):
        cv2.imwrite(str(source / f"{i}.png"), np.zeros((height, 30 + i, 3), np.uint8))
    done = pseudolabel("deadly", source, "--out", "out", *options, "--sample-seconds", 1.5, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["seen"], summary["used"], summary["skipped"]) == (7, 5, 2)
    reasons = skipped(tmp_path / "out")
    assert "SIGKILL" in reasons["2.png"]
    assert "longer than 1.5 s" in reasons["4.png"]
    assert set(json.loads((tmp_path / "out" / "_manifest.json").read_text())["exceptions"]["labelling"]) == {
        "2.png",
        "4.png",
    }


@pytest.mark.slow
def test_a_killer_that_strikes_late_is_found_by_halving(pseudolabel: Command, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for i in range(9):
        cv2.imwrite(str(source / f"{i}.png"), np.zeros((13 if i in (3, 6) else 20, 30, 3), np.uint8))
    done = pseudolabel("deadly-late", source, "--out", "out", "--in-order", "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["used"] == 7
    assert set(skipped(tmp_path / "out")) == {"3.png", "6.png"}


@pytest.mark.slow
def test_a_shard_open_in_two_runs_that_died_is_searched(pseudolabel: Command, tmp_path: Path) -> None:
    """Where the kernel takes the whole container, parent and all, the rerun finds the culprit on the disk."""
    source = tmp_path / "source"
    source.mkdir()
    for i, height in enumerate([20, 17, 20]):
        cv2.imwrite(str(source / f"{i}.png"), np.zeros((height, 30, 3), np.uint8))
    words = ["deadly", source, "--out", "out", "--workers", 1]
    for _ in range(5):  # twice in its shard, three times alone
        run = start(words, tmp_path)
        theirs = f"_work/{run.pid}-*/worker-*"
        wait_for(
            lambda theirs=theirs: any(
                status.key == "1.png" for status in map(read_status, (tmp_path / "out").glob(theirs)) if status
            ),
            run,
        )
        kill(run)
    done = pseudolabel(*words, "--quiet")
    assert done.returncode == 0, done.stderr
    assert skipped(tmp_path / "out") == {"1.png": "crashed 3 runs in a row when tried alone"}


def test_a_bug_and_a_lost_mount_stop_the_run(pseudolabel: Command, pictures: Path, tmp_path: Path) -> None:
    bug = pseudolabel("deadly", pictures, "--fail", "bug", "--out", "bug")
    assert bug.returncode == 1
    assert "a bug" in bug.stderr
    assert "Traceback" not in bug.stderr
    assert "ValueError: a bug" in (tmp_path / "bug" / "_records" / "error.txt").read_text()
    lost = pseudolabel("deadly", pictures, "--fail", "storage", "--out", "lost")
    assert lost.returncode == 74
    assert "/mnt/lost" in lost.stderr
    for out in ("bug", "lost"):
        assert not list((tmp_path / out / "data").iterdir())
        assert not (tmp_path / out / "_SUCCESS").exists()


def test_validation_keeps_files_apart_and_copies_differ(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    words = ["jigsaw", pictures, "--validation", 0.2, "--copies", 2, "--out", "out", "--quiet"]
    assert pseudolabel(*words).returncode == 0
    rows = {
        split: pq.read_table(sorted((tmp_path / "out" / "data").glob(f"{split}-*")))
        for split in ("train", "validation")
    }
    keys = {split: set(table["key"].to_pylist()) for split, table in rows.items()}
    assert not keys["train"] & keys["validation"]
    assert len(keys["train"] | keys["validation"]) == 60
    assert 4 <= len(keys["validation"]) <= 24
    for table in rows.values():
        assert table["copy"].to_pylist() == [0, 1] * (len(table) // 2)
        first, second = (table["permutation"].to_pylist()[i::2] for i in (0, 1))
        assert sum(a == b for a, b in zip(first, second, strict=True)) < len(first) / 10


def test_limit_order_and_several_sources(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def keys(*sources: Path, **options: object) -> list[str]:
        return [row["key"] for row in stream_rows(Deadly(), sources, **options)]

    whole, some = keys(pictures), keys(pictures, limit=13)
    assert some == whole[:13]
    assert len({key.split("/")[0] for key in some}) > 1, "a limit is not one class"
    assert whole != sorted(whole)
    assert keys(pictures, in_order=True) == sorted(whole)
    assert keys(pictures, seed=1) != whole
    both = keys(pictures / "class-0", pictures / "class-1" / "001.png")
    assert "001.png/001.png" in both
    assert "class-0/000.png" in both
    assert pseudolabel("deadly", pictures, "--limit", 13, "--out", "out").returncode == 0
    assert pq.read_table(tmp_path / "out" / "data")["key"].to_pylist() == some, "and so they are stored"


def test_the_most_frequent_suffixes_are_named_and_the_others_are_summed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Summary and memory stay small where each file has a suffix of its own; a plan and its parts say the same."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((90, 90, 3), np.uint8))
    for number in range(50):
        (tmp_path / f"{number}.x{min(number, 40):02}").touch()
    first = {".x40": 10} | {f".x{number:02}": 1 for number in range(19)}
    expected = {**first, "of other suffixes": 21}
    found = scan.scan(Deadly(), [tmp_path], RunOptions())
    assert (found.files, list(found.ignored.items())) == (1, list(expected.items()))
    monkeypatch.setattr(scan, "MAX_COUNTED_SUFFIXES", 6)  # two of them are counts of files
    few = scan.scan(Deadly(), [tmp_path], RunOptions())
    assert (few.files, sum(few.ignored.values()), len(few.ignored)) == (1, 50, 5)
    monkeypatch.undo()
    out = tmp_path.parent / "planned"
    plan_parts(Deadly(), tmp_path, out=out)
    run(Deadly(), tmp_path, out=out, part="1/1")
    summary = finish(out)
    assert (summary.ignored, summary.ignored_suffixes) == (50, expected)


def test_memory_is_bounded_on_one_long_line(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    text = b" ".join(path.read_bytes() for path in sorted(corpus.iterdir())).replace(b"\n", b" ")
    (tmp_path / "source" / "line.txt").write_bytes(text + text[::-1])  # a document of 16 MB is cut from it
    run = start(["mask-text", tmp_path / "source", "--tokenizer", tokenizer, "--out", "out", "--workers", 1], tmp_path)
    peaks: dict[int, int] = {}
    while run.poll() is None:
        for pid in [run.pid, *children(run.pid)]:
            peaks[pid] = max(peaks.get(pid, 0), peak(pid))
        time.sleep(0.05)
    assert run.returncode == 0, run.communicate()[1]
    run.communicate()
    assert 20 < peaks.pop(run.pid) < 300
    assert 100 < max(peaks.values()) < 600
    assert sum(record["cut"] for record in records(tmp_path / "out")) >= 1


def test_too_few_books_for_the_share_are_refused_and_the_share_is_told(
    here: Command, tokenizer: Path, tmp_path: Path
) -> None:
    for i in range(9):
        (tmp_path / "in" / f"{i}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{i}.txt").write_text("the river before the river\n\n" * (i + 1) * 20)
    words = ["mask-text", "in", "--tokenizer", tokenizer, "--length", 8, "--workers", 1, "--quiet", "--validation"]
    for more in (["0.2"], ["0.2", "--dry-run"], ["0.2", "--split-by", "file"]):
        refused = here(*words, *more)
        assert refused.returncode == 2
        assert "9 files: each file is in one split as a whole, so at least 10 are needed; give more files" in (
            refused.stderr.replace("\n", "; ")
        )
    done = here(*words, "0.2", "--split-by", "document", "--json", "--out", "out")
    told = json.loads(done.stdout)
    rows = {name: len(pq.read_table(tmp_path / "out" / "data" / f"{name}-00000.parquet")) for name in told["rows"]}
    assert rows == told["rows"]
    share = rows["validation"] / sum(rows.values())
    assert told["validation"] == {"asked": 0.2, "reached": round(share, 4)}
    (tmp_path / "in" / "more.jsonl").write_text('{"text": "the river"}\n' * 99)
    scan.check_split(scan.scan(MaskText(), [tmp_path / "in"], RunOptions()), 0.01)  # with a table among them


def test_an_option_that_no_file_of_the_source_uses_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    """By a run, a dry run and a stream. One file that uses it, compressed or not, is enough."""
    pq.write_table(pa.table({"content": ["the river"]}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("the river")
    (tmp_path / "a.json").write_text('[{"content": "the river"}]')
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"content": "the river"}'))
    for options, names, said in (
        (
            {"column": "content"},
            "a.txt",
            "--column content is for jsonl, csv, tsv and parquet, but the source has none",
        ),
        ({"column": "content"}, "a.txt a.json", "has none\n1 .json files are not read"),
        ({"column": "content"}, "a.txt a.jsonl.gz", ""),
        ({"column": "content", "document": "line"}, "a.parquet", "--document line is for plain text"),
        ({"column": "content", "encoding": "latin-1"}, "a.parquet", "--encoding latin-1 is for plain text, jsonl, csv"),
        ({"column": "content", "encoding": "latin-1"}, "a.jsonl.gz", ""),
        ({"document": "line", "encoding": "latin-1"}, "a.txt", ""),
    ):
        folder = tmp_path / f"{names}{len(options)}{said[:4]}"
        folder.mkdir()
        for name in names.split():
            shutil.copy(tmp_path / name, folder)
        task = MaskText(tokenizer=str(tokenizer), length=8, **options)
        if not said:
            assert list(stream_rows(task, folder))
            continue
        for act in (stream_rows, partial(run, out=tmp_path / "out"), lambda *given: dry_run(given[0], [given[1]])):
            with pytest.raises(UserError, match=re.escape(said)):
                list(act(task, folder))
