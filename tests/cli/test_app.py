"""What a user types, sees, and gets back as exit code; every refusal leaves what was there as it was."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from runs import FIXTURES, Command, arguments, real, snapshot
from typer.testing import CliRunner

from pseudolabel import TASKS
from pseudolabel import rows as stream_rows
from pseudolabel.cli.program import app
from pseudolabel.engine import stream


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset."""
    folder = tmp_path_factory.mktemp("made")
    words = arguments("jigsaw", FIXTURES / "images", "--out", "tiles", "--quiet")
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder / "tiles"


def test_help_is_light() -> None:
    """Typer imports pydantic, which takes 0.1 s, only to convert values."""
    names = "cv2 faiss soundfile pyarrow tokenizers PIL datasets torch ray pydantic rich"
    code = (
        "import sys; from pseudolabel.cli.program import execute; sys.argv[1:] = ['jigsaw', '--help']; execute(); "
        f"print([name for name in {names!r}.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_task_has_its_command_help_and_line() -> None:
    told = CliRunner()
    listed = told.invoke(app, ["tasks"]).stdout
    for name in filter(real, TASKS):
        task, done = TASKS[name], told.invoke(app, [name, "--help"])
        assert done.exit_code == 0
        for option in [*(field.name for field in fields(task)), "out", "seed", "workers", "dry-run", "json"]:
            assert f"--{option.replace('_', '-')}" in done.stdout
        assert f"{name}: " in listed


def test_summary_adds_up_and_a_second_run_touches_nothing(made: Path, here: Command) -> None:
    before = snapshot(made)
    again = here("jigsaw", FIXTURES / "images", "--out", made, "--json", "--workers", 1)
    assert again.returncode == 0
    assert snapshot(made) == before
    summary = json.loads(again.stdout)
    assert summary["status"] == "already finished"
    assert (summary["seen"], summary["used"], summary["skipped"]) == (25, 24, 1)
    assert (made / "_SUCCESS").exists()
    assert json.loads((made / "_skipped.jsonl").read_text())["key"] == "hills/broken.jpg"


def test_the_summary_is_a_few_lines_of_words(here: Command, tmp_path: Path) -> None:
    """No count of 0; the three commonest reasons; commands that are there to be typed."""
    rng = np.random.default_rng(0)
    for name, sizes in (("small", [(40, 4)] * 3 + [(44, 5)]), ("fine", [(64, 64)] * 12)):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            cv2.imwrite(str(tmp_path / "pics" / name / f"{number}.png"), rng.integers(0, 255, size, np.uint8))
    cv2.imwrite(str(tmp_path / "pics" / "blank.png"), np.zeros((64, 64), np.uint8))
    for number in range(2):
        (tmp_path / "pics" / f"cut-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "pics" / "readme.doc").write_text("no picture")
    for done in ("", "nothing to do: "):
        lines = here("jigsaw", "pics", "--workers", 1, "--quiet").stdout.splitlines()
        assert re.fullmatch(done + r"19 images -> 12 rows in 1 file, [\d.]+ kB, [\d.]+ s", lines[0])
        assert lines[1] == "ignored 1 .doc"
        assert re.fullmatch(r"skipped 4: 4 x 40 .*too small.*; try --grid 2 \(small/\d.png and similar\)", lines[2])
        assert [line.partition(":")[0] for line in lines[3:5]] == ["skipped 2", "skipped 1"]
        commands = ["next: pseudolabel preview pics-jigsaw --open", "pseudolabel verify pics-jigsaw --against pics"]
        assert [line.strip() for line in lines[5:]] == commands
    assert here(*shlex.split(commands[1])[1:], "--workers", 1).returncode == 0
    (tmp_path / "pics-jigsaw" / "_skipped.jsonl").unlink()
    again = here("jigsaw", "pics")
    assert (again.returncode, "_skipped.jsonl: it is missing or damaged" in again.stdout) == (0, True)


def test_a_lost_shard_is_made_again(made: Path, here: Command) -> None:
    shard = made / "data" / "train-00000.parquet"
    before = shard.read_bytes()
    shard.unlink()
    assert here("jigsaw", FIXTURES / "images", "--out", made, "--json").returncode == 0
    assert shard.read_bytes() == before


def test_a_source_that_may_not_be_read_is_refused_by_name(here: Command, request: pytest.FixtureRequest) -> None:
    """A file in it is skipped by that reason. The superuser may read all, so the test is another user for a while."""
    top = Path(tempfile.mkdtemp())  # other runs of pytest close the folders of `tmp_path` to other users
    request.addfinalizer(lambda: shutil.rmtree(top))
    for name in ("closed", "unsearchable", "outer/inner", "some"):
        (top / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(FIXTURES / "images" / "lakes" / "01.png", top / name / f"{number}.png")
    (top / "list.txt").write_text("some/1.png")
    words = ["rotate", "--dry-run", "--json", "--out", top / "out"]
    assert here(*words, top / "some").returncode == 0  # imports all that another user may not import
    for name, mode in (("closed", 0), ("unsearchable", 0o644), ("outer/inner", 0), ("some/0.png", 0), ("list.txt", 0)):
        (top / name).chmod(mode)
    top.chmod(0o755)
    nobody, before = 65534, os.geteuid()
    os.seteuid(nobody if before == 0 else before)
    try:
        for given, named in (
            *((name, name) for name in ("closed", "unsearchable", "outer/inner", "some/0.png", "closed/0.png")),
            *(("outer", "outer/inner"), ("@list.txt", "list.txt")),
        ):
            done = here(*words, f"@{top / given[1:]}" if given[0] == "@" else top / given)
            assert done.returncode == 2, (given, done.stderr)
            assert f"{named} cannot be read: Permission denied; give a source that you may read" in done.stderr
        assert json.loads(here(*words, top / "some").stdout)["skipped"] == 1
    finally:
        os.seteuid(before)
        for name in ("closed", "unsearchable", "outer/inner"):
            (top / name).chmod(0o755)


def test_another_dataset_is_refused(made: Path, here: Command) -> None:
    before = snapshot(made)
    for change in (["--seed", 1], ["--grid", 2], ["--copies", 2]):
        done = here("jigsaw", FIXTURES / "images", "--out", made, *change)
        assert done.returncode == 4
        assert change[0].lstrip("-") in done.stderr
        assert "--overwrite" in done.stderr
    less = here("jigsaw", FIXTURES / "images" / "lakes", "--out", made)
    assert (less.returncode, "files is 25, not 8" in less.stderr) == (4, True)
    (made.parent / "link").symlink_to(made / "data")
    for part in ("", "data", "data/train-00000.parquet", "_records", "../link"):
        done = here("mask-text", made / part)
        assert (done.returncode, f"{made} is a dataset made by pseudolabel" in done.stderr) == (2, True), done.stderr
    shard = made / "data" / "train-00000.parquet"
    shutil.copytree(made / "data", made.parent / "copy")
    shutil.make_archive(str(made.parent / "packed"), "zip", made.parent, "copy")
    (made.parent / "list.txt").write_text(f"{FIXTURES / 'images'}\n{shard}\n")
    listed, copied, packed = f"@{made.parent / 'list.txt'}", made.parent / "copy", made.parent / "packed.zip"
    for task, source in [*product(("jigsaw", "mask-text"), (listed, copied)), ("mask-text", packed)]:
        done = here(task, source)
        assert (done.returncode, "is of a dataset made by pseudolabel" in done.stderr) == (2, True), done.stderr
    assert snapshot(made) == before


def test_a_running_dataset_is_refused(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    words = ["jigsaw", pictures, "--out", "out", "--workers", 1, "--quiet"]
    with subprocess.Popen(arguments(*words), cwd=tmp_path) as run:
        while not (tmp_path / "out" / "_manifest.json").exists():
            time.sleep(0.01)
        run.send_signal(signal.SIGSTOP)
        second = pseudolabel(*words)
        run.send_signal(signal.SIGCONT)
        run.terminate()
    assert second.returncode == 4
    assert "another run" in second.stderr


def test_other_versions_finish_nothing(made: Path, here: Command, tmp_path: Path) -> None:
    manifest = made / "_manifest.json"
    facts = json.loads(manifest.read_text())
    facts["versions"]["numpy"] = "1.0"
    kept = manifest.read_text()
    manifest.write_text(json.dumps(facts))
    try:
        words = ["jigsaw", FIXTURES / "images", "--out", made]
        assert here(*words).returncode == 0, "finished stays finished"
        (made / "_SUCCESS").unlink()
        done = here(*words)
        assert done.returncode == 4
        assert "numpy" in done.stderr
    finally:
        manifest.write_text(kept)
    assert here(*words).returncode == 0
    assert (made / "_SUCCESS").exists(), "signed again"


@pytest.mark.slow
def test_a_full_disk(pictures: Path, pseudolabel: Command, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        words = ["jigsaw", pictures, "--out", small / "out", "--shard-size", 1, "--quiet"]
        done = pseudolabel(*words)
        assert done.returncode == 74, done.stderr
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        import pyarrow.parquet as pq

        for shard in (small / "out" / "data").iterdir():
            assert pq.read_table(shard).num_rows > 0, "what is there is whole"
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        assert pseudolabel(*words).returncode == 0, "rerun to finish"
    finally:
        subprocess.run(["umount", small], check=True)


def test_dry_run_makes_nothing(here: Command, tmp_path: Path) -> None:
    done = here("jigsaw", FIXTURES / "images", "--dry-run", "--json")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert (facts["samples"], facts["skipped"], facts["rows"]) == (25, 1, 24)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_counts_what_it_can_know_whatever_the_copies(
    pictures: Path, here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(FIXTURES / "images" / "lakes" / "01.png", tmp_path)
    names = sorted(path for path in pictures.rglob("*.png"))
    words = ["rotate", pictures, tmp_path / "01.png", "--out", "out", "--json", "--dry-run"]
    one = json.loads(here(*words).stdout)
    assert (one["samples"], one["rows"]) == (len(names) + 1, 4 * (len(names) + 1))
    monkeypatch.setattr(stream, "DRY_RUN_SECONDS", 0.05)  # a part, by whose bytes the number would be another
    many = json.loads(here(*words, "--copies", 1_000_000).stdout)
    assert "estimated from" in many["status"]
    assert (many["samples"], many["rows"]) == (one["samples"], 1_000_000 * one["rows"])
    assert 0.2e6 < many["bytes"] / one["bytes"] < 5e6
    assert many["core_seconds"] > one["core_seconds"]


LOST_SIGNALS = """
import gc, io, signal, sys, time
from contextlib import suppress
from itertools import product
from pathlib import Path

import av, numpy as np, pyarrow as pa, soundfile

from pseudolabel.cli.signals import Interrupted, raise_on_signals
from pseudolabel.writers.shards import ShardWriter


class Signalling(io.BytesIO):
    uses = 0

    def seek(self, *place):
        self.use()
        return super().seek(*place)

    def read(self, count=-1):
        self.use()
        return super().read(count)

    def use(self):
        self.uses += 1
        if self.uses == 3:
            signal.raise_signal(signal.SIGINT)


def by_soundfile():
    soundfile.read(Signalling(wave.getvalue()))
    time.sleep(60)


def by_libav():
    with suppress(OSError), av.open(Signalling(wave.getvalue())) as sound:
        list(sound.decode(audio=0))
    time.sleep(60)


def in_a_shard():
    with ShardWriter(Path("a"), pa.schema([("a", pa.int64())])) as out:
        out.write([{"a": 1}])
        signal.raise_signal(signal.SIGINT)


wave = io.BytesIO()
soundfile.write(wave, np.random.default_rng(0).normal(0, 0.1, 200_000), 16_000, format="WAV")
raise_on_signals()
try:
    globals()[sys.argv[1]]()
except Interrupted:
    gc.collect()
    print("interrupted")
"""


@pytest.mark.parametrize("where", ["by_soundfile", "by_libav", "in_a_shard"])
def test_an_interruption_is_not_lost_in_a_decoder(where: str, tmp_path: Path) -> None:
    """Callbacks of soundfile and PyAV drop exceptions, and print a traceback; so does the destructor of a writer."""
    words = [sys.executable, "-c", LOST_SIGNALS, where]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert not list(tmp_path.iterdir())


def test_api_gives_the_rows_of_the_files(made: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from pseudolabel import Jigsaw  # type: ignore[attr-defined]

    stored = pq.read_table(made / "data").to_pylist()
    streamed = list(stream_rows(Jigsaw(), FIXTURES / "images"))
    assert [row["key"] for row in streamed] == [row["key"] for row in stored]
    for ours, theirs in zip(streamed, stored, strict=True):
        assert np.array_equal(ours["permutation"], theirs["permutation"])
        assert [tile["bytes"] for tile in ours["tiles"]] == [tile["bytes"] for tile in theirs["tiles"]]
    again = list(stream_rows(Jigsaw(), FIXTURES / "images", copy=1))
    assert {row["copy"] for row in again} == {1}
    assert any(list(a["permutation"]) != list(b["permutation"]) for a, b in zip(again, streamed, strict=True))


def test_odd_names_and_hidden_files(pseudolabel: Command, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / ".hidden").mkdir(parents=True)
    picture = (FIXTURES / "images" / "lakes" / "01.png").read_bytes()
    for name in [
        b"plain.png",
        "schön & <b>.PNG".encode(),
        b"bad\xff.png",
        b"a#1.png",
        b".hid.png",
        b".hidden/x.png",
        b"no.xyz",
    ]:
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(picture)
    (source / "link").symlink_to(FIXTURES / "images", target_is_directory=True)
    (source / "circle.png").symlink_to(source / "circle.png")
    done = pseudolabel("deadly", source, "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ignored"], told["ignored_suffixes"]) == (2, {"no regular file": 2})  # both links

    import pyarrow.parquet as pq

    keys = set(pq.read_table(tmp_path / "out" / "data")["key"].to_pylist())
    assert keys == {"plain.png", "schön & <b>.PNG", "bad%FF.png", "a%231.png", "no.xyz"}


def test_what_text_is_not_used_is_counted_and_the_hint_names_the_option(
    here: Command, tokenizer: Path, tmp_path: Path
) -> None:
    """Rows without text, tables without the column, JSON that is no lines, a share that draws nothing."""
    words = ["mask-text", "source", "--tokenizer", tokenizer, "--json", "--overwrite", "--workers", 1]
    (tmp_path / "source").mkdir()
    path, rows = (
        tmp_path / "source" / "a",
        [{"id": i, "text": None if i % 3 else "The boats came up."} for i in range(30)],
    )
    path.with_suffix(".json").write_text(json.dumps(rows))
    done = here(*words)
    assert (done.returncode, "1 .json files are not read" in done.stderr) == (5, True)
    table = pd.DataFrame(rows)
    table.to_json(path.with_suffix(".jsonl"), orient="records", lines=True)
    table.to_csv(path.with_suffix(".csv"), index=False)
    table.to_csv(path.with_suffix(".tsv"), index=False, sep="\t")
    table.to_parquet(path.with_suffix(".parquet"))
    done = here(*words, "--validation", 1e-6)
    told = json.loads(done.stdout)
    nulls = 4 * int(table["text"].isna().sum())
    assert [told[key] for key in ("seen", "used", "skipped", "filtered")] == [120, 120 - nulls, 0, nulls]
    assert told["validation"]["reached"] == 0
    assert "warning: 1 .json files are not read" in done.stderr
    assert "warning: --validation 1e-06 drew no row" in done.stderr
    done = here(*words, "--column", "body")
    assert done.returncode == 3
    assert "pseudolabel: 120 of 120 samples are unusable" in done.stderr
    assert "choose with --column among: id, text" in done.stderr.partition("see ")[0]


INTERRUPTED_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from pseudolabel.cli.app import main
sys.argv[1:] = ["jigsaw", "--help"]
main()
"""


@pytest.mark.parametrize("module", ["pseudolabel.contracts", "typer", "numpy", "pseudolabel.tasks.jigsaw"])
def test_an_interrupt_while_the_command_starts_prints_no_traceback(module: str) -> None:
    words = [sys.executable, "-c", INTERRUPTED_IMPORT.replace("MODULE", repr(module))]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "pseudolabel: interrupted; run the same command again to finish\n"


def test_what_is_ignored_is_named_by_its_suffix(here: Command, tmp_path: Path) -> None:
    """In the summary, the manifest, `--dry-run` and `describe`. `ignored` stays a number."""
    names = ["a.doc", "b.DOC", "sub/c.doc", "d.xyz", "e.tar.bz2", "notes", "f.html?page=1", "g.\x1b[31m", "h.txt"]
    (tmp_path / "pics" / "sub").mkdir(parents=True)
    for name in names:
        (tmp_path / "pics" / name).write_bytes(b"no picture")
    picture = (FIXTURES / "images" / "lakes" / "01.png").read_bytes()
    for name in ("a.png", "i.jpg?width=300"):
        (tmp_path / "pics" / name).write_bytes(picture)
    suffixes = {".doc": 3, "without suffix": 2, ".bz2": 1, ".html...": 1, ".txt": 1, ".xyz": 1}
    line = "ignored 3 .doc, 2 without suffix, 1 .bz2, 1 .html..., 1 .txt, 1 .xyz"
    words = ["jigsaw", "pics", "--grid", "2"]
    for more in (["--dry-run"], ["--out", "tiles", "--workers", "1"]):
        told = json.loads(here(*words, *more, "--json").stdout)
        assert (told["ignored"], told["ignored_suffixes"]) == (9, suffixes)
        table = here(*words, *more).stdout
        assert "ignored_suffixes" not in table
        assert line in table.splitlines()
    manifest = json.loads((tmp_path / "tiles" / "_manifest.json").read_text())
    assert (manifest["ignored"], manifest["summary"]["ignored"]) == (9, 9)
    assert manifest["ignored_suffixes"] == manifest["summary"]["ignored_suffixes"] == suffixes
    described = json.loads(here("describe", "tiles", "--json").stdout)
    assert (described["ignored"], described["ignored_suffixes"]) == (9, suffixes)
    for name in ("x.png", "y.jpg"):
        (tmp_path / "pics" / name).write_bytes(picture[:60] if name == "x.png" else b"no picture")
    here(*words, "--out", "two", "--workers", "1")
    table = here("describe", "two").stdout
    assert len(re.findall(r"^left out \d +1: ", table, re.M)) == 2, "reasons of equal counts"
    for name in ("x.png", "y.jpg"):
        (tmp_path / "pics" / name).unlink()
    (tmp_path / "pics" / "new.doc").write_bytes(b"of no effect on the dataset")
    assert json.loads(here(*words, "--out", "tiles", "--json").stdout)["status"] == "already finished"
    for name in ("a.png", "i.jpg?width=300"):
        (tmp_path / "pics" / name).unlink()
    lost = here(*words, "--out", "none")
    assert lost.returncode == 5
    assert (
        "it holds 10 files (4 .doc, 2 without suffix, 1 .bz2, 1 .html... and 2 more), and jigsaw reads" in lost.stderr
    )


def test_the_help_of_verify_says_what_it_cannot_see(here: Command) -> None:
    told = " ".join(here("verify", "--help").stdout.replace("│", " ").split())
    assert "an error that the decoder makes both times" in told
