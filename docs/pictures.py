"""Make the pictures of the docs: `python docs/pictures.py [rows] [tasks] [previews]`. All show the files of fixtures/.

rows        docs/rows.png: what lies in a file and the row that is made of it, for each modality
tasks       docs/tasks/TASK.jpg: a row of each task, as `pseudolabel preview` draws it
previews    docs/preview-*.jpg: the top of pages that `pseudolabel preview` writes

It needs a Chromium: one on PATH, or the one that CHROME names. `python docs/make.py` puts new pictures into the pages.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from chromium import Chromium
from make import TASKS

from pseudolabel import run
from pseudolabel.contracts import Picture, Piece, Tiles, Wave
from pseudolabel.inspection.describe import class_columns
from pseudolabel.inspection.html import STYLE, Section, escape_text, legend, render_card, render_pieces
from pseudolabel.inspection.preview import choose_rows, make_card, preview
from pseudolabel.testing.fixtures import source_of
from pseudolabel.transforms.audio.codec import decode_flac
from pseudolabel.writers.dataset import open_dataset

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
SMALLER: dict[str, dict[str, Any]] = {  # options with which a row of fixtures fits on a page
    "jigsaw": {"gray": 0.0},
    "mask-text": {"length": 48},
    "corrupt-spans": {"length": 48},
    "order-sentences": {"length": 48},
    "mask-audio": {"seconds": 3.0, "clusters": 12},
    "cluster": {"clusters": 4},
    "mask-tubes": {"frames": 8},
    "predict-pace": {"frames": 8},
    "arrow-of-time": {"frames": 8},
    "mask-patches": {"patch": 28},
}
CARD_STYLE = """
body { padding: 0; margin: 0; max-width: none; background: var(--card) } audio, details { display: none }
article { border: 0; border-radius: 0 } .legend { margin: 1rem 1.125rem 0 }
"""
ROWS_STYLE = """
body { padding: 12px 24px; margin: 0; max-width: none; background: #fff } audio { display: none }
.strip { display: grid; grid-template-columns: 70px 280px 30px 1fr; gap: 16px; align-items: center; padding: 12px 0 }
.strip { border-bottom: 1px solid var(--line) } .strip:last-child { border: 0 }
.strip > b { font-weight: 600 } .strip > i { font-style: normal; font-size: 26px; color: var(--soft) }
.head { padding: 0 0 6px; color: var(--soft); font-size: 14px }
p.raw { margin: 0; font-size: 15px; line-height: 1.5 } figcaption { margin-top: 2px } .pieces { gap: 10px 24px }
.strip div:first-of-type .picture { width: 200px } .strip div:last-of-type .tiles > div { max-width: 350px }
"""


def card_page(task: str, folder: Path) -> str:
    """Return a page with one row of a task."""
    dataset = open_dataset(make(task, folder))
    labeler = dataset.task.labeler(dataset.artefacts)
    label, card = make_card(class_columns(dataset), labeler, next(iter(choose_rows(dataset))))
    card = card._replace(name=" · ".join(filter(None, (card.name, label))))
    return page(CARD_STYLE, [legend([Section("", "", [card])]), render_card(card)])


def make(task: str, folder: Path) -> Path:
    """Make a dataset of fixtures, if it is not there. Return its folder."""
    made = TASKS[task](**SMALLER.get(task, {}))
    source = source_of(made, FIXTURES)
    out = folder / f"{source.name}-{task}"
    run(made, source, out=out)
    return out


def page(style: str, parts: Iterable[str]) -> str:
    head = f'<head><meta charset="utf-8"><style>{STYLE}{style}</style></head>'
    return f"<!doctype html><html>{head}<body>{''.join(parts)}</body></html>"


# --- the picture of the README ---------------------------------------------------------------------------------------


def rows_page(folder: Path) -> str:
    """Return a page with a strip of each modality: the file on the left, the row on the right."""
    strips = [
        strip("Text", "mask-text", "tales-*+0", folder),
        strip("Picture", "jigsaw", "hills/06.jpg*", folder),
        strip("Sound", "mask-audio", "ben/1.flac*", folder),
        strip("Film", "shuffle-frames", "boats/0.mp4*", folder),
    ]
    head = (
        "<span></span><span>a file</span><span></span><span>a row: the input, and what a model is to tell of it</span>"
    )
    return page(ROWS_STYLE, [f'<div class="strip head">{head}</div>', *strips])


def strip(name: str, task: str, key: str, folder: Path) -> str:
    """Return a strip as HTML: of the first row whose key fits the pattern `key`."""
    dataset = open_dataset(make(task, folder))
    labeler = dataset.task.labeler(dataset.artefacts)
    row = next(row for row in all_rows(dataset) if fnmatch(row["key"], key))
    _, card = make_card(class_columns(dataset), labeler, row)
    raw = raw_side(source_of(TASKS[task](), FIXTURES) / row["key"].partition("#")[0], row)
    return f'<div class="strip"><b>{name}</b><div>{raw}</div><i>→</i><div>{card.pieces}</div></div>'


def all_rows(dataset: Any) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for path in sorted((dataset.out / "data").iterdir()):
        yield from pq.read_table(path).to_pylist()


def raw_side(path: Path, row: dict[str, Any]) -> str:
    """Return what lies in a file, as HTML: the beginning of a text, a picture, a wave, or frames of a film."""
    if path.suffix == ".txt":
        start = int(row["key"].partition("#")[2].partition("+")[0])
        return f'<p class="raw">{escape_text(path.read_bytes()[start : start + 190].decode())}…</p>'
    return render_pieces([raw_piece(path, row)])


def raw_piece(path: Path, row: dict[str, Any]) -> Piece:
    if path.suffix == ".flac":
        wave, rate = decode_flac(row["audio"])
        return Wave("", wave, rate, np.zeros(0, bool), np.zeros(0, np.int32))
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        return Tiles("", frames[:: len(frames) // 6][:6], 3)
    return Picture("", cv2.imread(str(path))[..., ::-1])


# --- files -----------------------------------------------------------------------------------------------------------


def as_jpeg(png: bytes, quality: int) -> bytes:
    """Encode a screenshot as JPEG."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1])


def write(wanted: set[str]) -> None:
    """Make the pictures that are wanted."""
    with tempfile.TemporaryDirectory() as name, Chromium() as browser:
        folder = Path(name)
        html = folder / "page.html"
        if "rows" in wanted:
            html.write_text(rows_page(folder), "utf-8")
            (HERE / "rows.png").write_bytes(browser.screenshot(html, 1000))
        if "tasks" in wanted:
            for task in TASKS:
                html.write_text(card_page(task, folder), "utf-8")
                shot = browser.screenshot(html, 760)
                (HERE / "tasks" / f"{task}.jpg").write_bytes(as_jpeg(shot, 85))
        if "previews" in wanted:
            for task in ("jigsaw", "mask-audio", "shuffle-frames", "mask-text"):
                shot = browser.screenshot(preview(make(task, folder)), 900, 900)
                name = f"preview-{source_of(TASKS[task](), FIXTURES).name}.jpg"
                (HERE / name).write_bytes(as_jpeg(shot, 85))


if __name__ == "__main__":
    write(set(sys.argv[1:]) or {"rows", "tasks", "previews"})
