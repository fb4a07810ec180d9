"""`preview`, `describe`, `show` and the card: what people see is true, whole, and only text where the source is odd."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from runs import Command, Made, each_kind, source

from pseudolabel import TASKS, Task, run
from pseudolabel.contracts import UserError, Wave
from pseudolabel.inspection.describe import describe
from pseudolabel.inspection.html import render_card, render_piece
from pseudolabel.inspection.preview import make_cards, preview
from pseudolabel.inspection.show import show
from pseudolabel.tasks.base.task import row_columns
from pseudolabel.transforms.image import codec
from pseudolabel.writers.card import size_category
from pseudolabel.writers.dataset import open_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET += ("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0")
QUIET += ("--host-resolver-rules=MAP * ~NOTFOUND",)
HOSTILE = "<script>alert(1)</script> \"'&\u202e<img src=x onerror=alert(2)>"


class Read(HTMLParser):
    """A page's tags, the addresses in it, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attributes), "no handler but the page's own script"
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def in_chromium(page: Path, folder: Path, *, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *more, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True)


@each_kind
def test_the_page_stands_alone_and_shows_every_kind_of_row(task: Task, made: Made, tmp_path: Path) -> None:
    page = preview(made[task.name], tmp_path / "page.html")
    read = Read(page)
    assert page.stat().st_size < 5_000_000
    assert all(address.startswith("data:") for address in read.addresses)
    assert read.tags.count("script") == 1
    rows = open_dataset(made[task.name]).manifest["summary"]["rows"]
    for words in (open_dataset(made[task.name]).command, f"{rows['train']:,}", task.description.paper):
        assert words in read.text
    assert 10 <= read.tags.count("article") <= 32
    assert "cannot be drawn" not in read.text
    keys = set(pq.read_table(made[task.name] / "data")["key"].to_pylist())
    assert sum(key in read.text for key in keys) >= 5
    again = preview(made[task.name], tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes(), "the same rows always"


def test_every_class_has_its_rows(made: Made, tmp_path: Path) -> None:
    text = Read(preview(made["rotate"], tmp_path / "page.html")).text
    for turn in ("0", "90", "180", "270"):
        assert f"label: {turn} 48 rows" in text


def test_pictures_and_sounds_have_names_and_headings_have_their_order(made: Made, tmp_path: Path) -> None:
    for name in ("jigsaw", "mask-audio"):
        page = preview(made[name], tmp_path / "page.html")
        assert not re.findall(
            r'<img alt=""|<svg (?![^>]*aria-label)|<audio (?![^>]*aria-label)', page.read_text("utf-8")
        )
        levels = [int(tag[1]) for tag in Read(page).tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_rows_that_are_too_large_are_counted_and_the_others_shown() -> None:
    task = TASKS["rotate"]()
    image = codec.media(codec.encode_jpeg(np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)))
    row = {"key": "\u00e4" * 99, "copy": 0, "label": 1, "image": image, "box": [0, 0, 9, 9], "flip": False}
    small = {**row, "image": codec.media(codec.encode_jpeg(np.zeros((9, 9, 3), np.uint8))), "label": 2}
    shown, lost = make_cards(row_columns(task), task.labeler(Path()), [row, row, small, small], 50_000)
    assert [named for named, _ in shown] == ["label: 180", "label: 180"]
    assert lost == 2
    assert len("".join(map(render_card, (one for _, one in shown))).encode()) <= 50_000


@pytest.mark.parametrize("rate", [8_000, 20_000, 96_000])
def test_sound_of_any_rate_is_drawn(rate: int) -> None:
    wave = Wave("", np.arange(-9000, 9000, dtype=np.int16), rate, np.zeros(0, bool), np.zeros(0, np.int32))
    encoded = re.findall('src="data:audio/flac;base64,([^"]*)"', render_piece(wave))
    heard, hz = soundfile.read(io.BytesIO(base64.b64decode(encoded[0])), dtype="int16")
    assert hz == rate
    assert np.array_equal(heard, wave.wave)


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("data/train-00000.parquet", lambda path: path.write_bytes(path.read_bytes()[:5000])),
    ("data/train-00000.parquet", lambda path: path.write_bytes(b"")),
    ("data/train-00000.parquet", lambda path: path.unlink()),
    ("data/train-00000.parquet", lambda path: pq.write_table(pq.read_table(path).drop(["input_ids", "labels"]), path)),
    ("no rows", lambda path: [pq.write_table(pq.read_table(one)[:0], one) for one in path.parent.iterdir()]),
    ("the artefacts", lambda path: (path.parents[1] / "tokenizer.json").write_text("{}")),
    ("_skipped.jsonl", lambda path: (path.parents[1] / "_skipped.jsonl").write_text("junk")),
]


def test_what_is_damaged_is_refused_in_a_line(made: Made, tmp_path: Path) -> None:
    for number, (words, harm) in enumerate(DAMAGE):
        out = Path(shutil.copytree(made["mask-text"], tmp_path / str(number)))
        harm(out / "data" / "train-00000.parquet")
        see_all = (preview, lambda out: describe(open_dataset(out)))
        for see in see_all[: 1 if words == "the artefacts" else 2]:  # `describe` does not read them
            with pytest.raises(UserError, match=words) as refused:
                see(out)
            assert refused.value.code == 3
            assert "see pseudolabel verify" in str(refused.value)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a text, whose names and words would be tags, close attributes, and turn the writing."""
    folder, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(3)
    name = HOSTILE.replace("/", "\u2215")
    for kind in ("images", "text"):
        (folder / kind / name).mkdir(parents=True)
    for i in range(20):
        done, encoded = cv2.imencode(".png", rng.integers(0, 255, (120, 120, 3), np.uint8))
        assert done
        (folder / "images" / name / f"{name[:40]}{i}.png").write_bytes(bytes(encoded))
    (folder / "text" / name / f"{name}.txt").write_text(f"{HOSTILE} is a text. It goes on. \n\n" * 300, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["jigsaw", "augment-pairs", "mask-text", "order-sentences"])
def test_hostile_names_and_texts_are_text(name: str, hostile: Path, tmp_path: Path) -> None:
    task = TASKS[name]()
    kind = "images" if ".jpg" in task.reader().suffixes else "text"
    run(task, hostile / kind, out=tmp_path / HOSTILE.replace("/", "\u2215"), workers=1)
    (out,) = (path for path in tmp_path.iterdir() if path.is_dir())
    page = preview(out, tmp_path / "page.html")
    read = Read(page)
    assert read.tags.count("script") == 1
    assert "onerror" not in "".join(read.addresses)
    assert HOSTILE.replace("/", "\u2215").replace("\u202e", "\\u202e") in read.text, "shown as text, marks spelt out"
    outside = re.sub(r"<bdi>.*?</bdi>", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert "\u202e" not in outside, "what turns the writing turns nothing but itself"
    if CHROMIUM:
        done = in_chromium(page, tmp_path)
        assert "CONSOLE" not in done.stderr, done.stderr
        assert done.stdout.count("<script") == 1
    card = (out / "README.md").read_text("utf-8")
    assert "\u202e" not in card
    check_card(card)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
def test_a_browser_asks_for_nothing_and_has_nothing_to_say(task: Task, made: Made, tmp_path: Path) -> None:
    page = preview(made[task.name], tmp_path / "page.html")
    done = in_chromium(page, tmp_path, more=(f"--log-net-log={tmp_path / 'net.json'}",))
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count("<article") >= 10
    hosts = re.findall(r'"url":"(?:https?|wss?)://([^/"]*)', (tmp_path / "net.json").read_text())
    assert not [host for host in hosts if not host.endswith((".google.com", ".googleapis.com", ".gvt1.com"))], (
        "beside what the browser asks of its maker for itself"
    )


def test_broken_rows_are_said_and_the_others_drawn(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made["rotate"], tmp_path / "out"))
    path = out / "data" / "train-00000.parquet"
    rows = pq.read_table(path)
    broken = rows.to_pylist()
    for row in broken[::2]:
        row["image"]["bytes"] = b"no picture"
    from pseudolabel.writers.shards import ShardWriter

    with ShardWriter(path, rows.schema) as file:
        file.write(broken)
    text = Read(preview(out)).text
    assert "holds an image that cannot be decoded" in text
    assert "rotated, and rotated back" in text
    assert (out / "index.html").exists()


# --- the card --------------------------------------------------------------------------------------------------------


def check_card(content: str) -> None:
    """What the Hub's own library makes of the header."""
    from huggingface_hub import DatasetCard

    card = DatasetCard(content)
    data = card.data.to_dict()
    assert data["configs"][0]["data_files"]
    assert {"pretty_name", "tags", "size_categories"} <= set(data)
    assert isinstance(data["pretty_name"], str)
    assert DatasetCard(str(card)).data.to_dict() == data


def test_a_size_has_the_name_of_the_hub() -> None:
    """https://github.com/huggingface/hub-docs/blob/main/datasetcard.md"""
    known = "n<1K 1K<n<10K 10K<n<100K 100K<n<1M 1M<n<10M 10M<n<100M 100M<n<1B 1B<n<10B 10B<n<100B 100B<n<1T n>1T"
    assert [size_category(10**power - 1) for power in range(3, 13)] == known.split()[:-1]
    assert [size_category(10**power) for power in range(3, 13)] == known.split()[1:]


def test_the_card_is_the_hubs_and_says_what_a_row_is(task: Task, made: Made) -> None:
    out = made[task.name]
    card = (out / "README.md").read_text("utf-8")
    check_card(card)
    for words in (task.description.paper, open_dataset(out).command, "## What makes the label false", "One row:"):
        assert words in card
    for column in row_columns(task):
        assert f"\n{column.name}: " in card, "the example has every column"


@pytest.mark.parametrize("name", ["augment-pairs", "crop-views", "cluster", "mask-audio", "mask-text"])
def test_the_code_of_the_card_runs(
    name: str,
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import duckdb

    pytest.importorskip("torch")
    card = (made[name] / "README.md").read_text("utf-8")
    monkeypatch.chdir(made[name].parent)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    batch, size = next(iter(names["loader"])), min(8, len(names["train"]))
    assert {len(values) for values in batch.values()} == {size} if isinstance(batch, dict) else len(batch) == size
    (query,) = re.findall(r"```sql\n(.*?)```", card, re.DOTALL)
    assert len(duckdb.sql(query).fetchall()) == 10


# --- describe, show and the documentation ----------------------------------------------------------------------------


def test_describe_says_the_facts(made: Made, pseudolabel: Command) -> None:
    done = pseudolabel("describe", made["rotate"], "--json")
    found = json.loads(done.stdout)
    assert found["command"] == "pseudolabel rotate SOURCE --copies 2 --validation 0.3"
    assert found["labels"][0]["counts"] == [["0", 48], ["90", 48], ["180", 48], ["270", 48]]
    assert found["left_out"] == {"truncated JPEG": 1}
    assert "90: 48" in pseudolabel("describe", made["rotate"]).stdout
    assert found["chance"] == "25.0% of the labels in 192 rows, by always answering 0, the most frequent of 4 classes"
    assert pseudolabel("describe", made["rotate"] / "data").returncode == 2


def test_a_guess_is_the_most_frequent_label_that_is_there(task: Task, made: Made) -> None:
    """As pandas counts them: of the first label with classes, else of the first with numbers in lists."""
    kinds = {c.name: c.type for c in row_columns(task) if c.role == "label" and c.type.startswith(("class", "int64"))}
    kinds |= {c.name: c.type for c in row_columns(task) if c.role == "label" and c.type.startswith("list<int")}
    told = describe(open_dataset(made[task.name]))["chance"]
    if not kinds:
        assert told == task.description.chance_level
        return
    labels = pq.read_table(made[task.name] / "data", columns=[*kinds]).to_pandas()[next(iter(kinds))].explode()
    counts = labels[labels != -100].value_counts(normalize=True)
    assert told.startswith(f"{counts.max():.1%} of the labels in ")


def test_clusters_are_counted_without_statistics_of_row_groups(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made["cluster"], tmp_path / "out"))
    for path in (out / "data").iterdir():
        pq.write_table(pq.read_table(path), path, write_statistics=False)
    assert describe(open_dataset(out))["labels"] == describe(open_dataset(made["cluster"]))["labels"]


@each_kind
def test_show_says_what_is_asked_and_stores_nothing(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lines = list(show(type(task)(**({"clusters": 20} if task.name == "mask-audio" else {})), str(source(task))))
    said = "\n".join(lines)
    for words in ("input: ", "label: ", "chance level: "):
        assert words in said
    pictures = [line.partition(": ")[2] for line in lines if line.startswith("\npage: ")]
    assert [str(path) for path in tmp_path.iterdir()] == pictures
    if pictures:
        assert Read(Path(pictures[0])).tags.count("article") == 3


def test_show_takes_a_sentence(pseudolabel: Command) -> None:
    sentence = "The boats came up in tow, threading their way cautiously amongst a crowd of canoes"
    done = pseudolabel("show", "mask-text", sentence, "--ratio", 0.3)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("  ") and "boats" in line]
    assert len(rows) == 3
    for row in rows:
        shown = re.sub(r"\[(\S+?)(?:, shown.*?)?\]", r"\1", row).strip()
        assert shown == sentence
    assert "\x1b" not in done.stdout
    assert "does not exist" in pseudolabel("show", "jigsaw", sentence).stderr


def test_show_tells_a_sentence_from_a_path() -> None:
    task = TASKS["mask-text"]()
    assert len(list(show(task, "as many words as no name of a file can have, " * 9))) > 3
    for path in ("notes.txt", "a/b"):
        with pytest.raises(UserError, match="does not exist"):
            list(show(task, path))
    for name in ("mask-text", "rotate"):
        with pytest.raises(UserError, match="nothing to show"):
            list(show(TASKS[name](), " "))


def test_clusters_have_a_gallery_each(made: Made) -> None:
    told = describe(open_dataset(made["cluster"]))
    (spread,) = (label for label in told["labels"] if label["column"] == "cluster")
    rows = pq.read_table(made["cluster"] / "data")["cluster"].to_pylist()
    assert dict(spread["counts"]) == {str(number): rows.count(number) for number in range(max(rows) + 1)}
    page = preview(made["cluster"], made["cluster"].parent / "gallery.html").read_text("utf-8")
    assert all(f"cluster: {number}" in page for number in set(rows))
