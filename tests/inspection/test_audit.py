"""`audit`: planted leaks are found by name, clean tables are clean, and what is measured is what others count."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from guessing import rate_of_ridge
from planted import PLANTED, clean, encoded, noise, plant
from runs import Command

from pseudolabel import MaskPatches, MaskText, run
from pseudolabel.contracts import UserError
from pseudolabel.inspection.audit.audit import audit
from pseudolabel.inspection.audit.guess import guess, holm
from pseudolabel.inspection.audit.image_facts import image_facts
from pseudolabel.inspection.audit.media import items_of
from pseudolabel.inspection.audit.questions import plain_label
from pseudolabel.inspection.audit.report import Report
from pseudolabel.inspection.audit.tables import open_table
from pseudolabel.inspection.preview import preview
from pseudolabel.inspection.verify import verify

pytest.importorskip("sklearn")
CHEAP = ("length", "position in the source")


def audited(path: Path) -> Report:
    inputs = [name for name in ("image", "text", "number") if name in pq.read_schema(path).names]
    return audit(str(path), inputs=inputs, labels=["label"])


@pytest.mark.parametrize("kind", [k if k in CHEAP else pytest.param(k, marks=pytest.mark.slow) for k in PLANTED])
def test_a_planted_leak_is_named(kind: str, tmp_path: Path) -> None:
    """2,000 rows, .60 of .50. What changes the size of a JPEG is its quality too, and the reverse."""
    found = audited(plant(tmp_path / "rows.parquet", kind))
    told = [answer for answer in found.answers if answer.verdict == "leaks"]
    assert kind in {answer.facts for answer in told}
    allowed = {kind, "file size", "gradients", "block grid", "chroma"} if kind == "JPEG quality" else {kind}
    assert {answer.facts for answer in told} <= allowed
    best = max(told, key=lambda answer: answer.rate)
    assert found.verdict.startswith("leaks: `label` is guessed from ")
    assert 0.54 < best.rate < 0.66
    assert best.low < 0.62 < best.high or kind in ("border pixels", "position in the source")


@pytest.mark.slow
def test_clean_tables_are_clean(tmp_path: Path) -> None:
    """At most 5 % of 200."""
    assert sum(audited(clean(tmp_path / "rows.parquet", seed)).leaks for seed in range(200)) <= 10


def test_a_second_implementation_guesses_as_well() -> None:
    rng = np.random.default_rng(3)
    labels, groups = rng.integers(0, 3, 600), np.arange(600) // 3
    features = rng.normal(size=(600, 12)) * (1, 100, *[3] * 10) + 0.5 * (labels == 1)[:, None]
    assert abs(guess(features, labels, groups).rate - rate_of_ridge(features, labels, groups)) < 0.01
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # Holm 1979, by hand


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A dataset of masks in blocks, of 20 small pictures."""
    (tmp_path / "pictures").mkdir()
    for i in range(20):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(encoded(noise(np.random.default_rng(i), 64), suffix=".png"))
    task = MaskPatches(height=48, width=64, strategy="block", ratio=0.4)
    run(task, tmp_path / "pictures", out=tmp_path / "patches", workers=1, copies=2)
    return tmp_path / "patches"


def test_rates_are_what_pyarrow_counts(tokenizer: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 5))) for _ in range(4000)]
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(" ".join(words[200 * i : 200 * i + 200]), "utf-8")
    run(
        MaskText(tokenizer=str(tokenizer), length=64, document="file"),
        tmp_path,
        out=tmp_path.parent / "masked",
        workers=1,
    )
    rows = pq.read_table(tmp_path.parent / "masked" / "data").combine_chunks()
    labels, ids = (pc.list_flatten(rows[name]) for name in ("labels", "input_ids"))
    asked = pc.not_equal(labels, -100)
    mask = json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"]["[MASK]"]
    count, same = pc.sum(asked).as_py(), pc.sum(pc.and_(asked, pc.equal(ids, labels))).as_py()
    hidden = pc.sum(pc.and_(asked, pc.equal(ids, mask))).as_py()
    found = audit(str(tmp_path.parent / "masked"))
    assert found.rates["asked tokens: as the mask token"] == round(hidden / count, 4)
    assert found.rates["asked tokens: unchanged"] == round(same / count, 4)
    assert found.rates["padding"] == round(1 - pc.mean(pc.list_flatten(rows["attention_mask"])).as_py(), 4)
    assert not found.leaks


def test_coverage_is_what_numpy_counts_and_a_dataset_keeps_its_report(here: Command, patches: Path) -> None:
    """The page and the card show the report; it is no fault of the dataset; a second report replaces the first."""
    card = (patches / "README.md").read_text("utf-8")
    for _ in range(2):
        ended = here("audit", patches, "--json", "--strict", "--rows", 100)
        found = json.loads(ended.stdout)
        assert ended.returncode == 0, "blocks cover the middle, by the method"
        assert json.loads((patches / "audit.json").read_text("utf-8")) == found
        whole = (patches / "README.md").read_text("utf-8")
        assert whole.startswith(card)
        assert whole.count("## Audit") == 1
        assert "pseudolabel audit DIR --rows=100" in whole
    masks = np.array(pq.read_table(patches / "data")["mask"].to_pylist())
    (coverage,) = found["coverage"]
    assert coverage["shape"] == [3, 4]
    np.testing.assert_allclose(coverage["shares"], masks.mean(0), atol=1e-4)
    page = preview(patches).read_text("utf-8")
    assert found["answers"][0]["reason"].partition("'")[0] in page
    assert page.count("<rect") == 12
    assert verify(patches, workers=1).has_no_fault
    (patches / "audit.json").write_text('{"verdict": 1}')
    with pytest.raises(UserError, match="`verdict` is '1'; run pseudolabel audit"):
        preview(patches)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_what_cannot_be_audited_is_said(here: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [encoded(noise(rng)) for _ in range(11)]
    rows = [{"image": image, "label": i % 2, "many": f"class {i}"} for i, image in enumerate(images)]
    rows[0] |= {"image": b"\x89PNG, cut"}
    rows[1] |= {"image": None}
    rows[2] |= {"label": None}
    path = write(tmp_path / "rows.parquet", rows)
    said = here("audit", path, "--input", "image", "--label", "label", "--label", "many").stdout
    assert "left out, 1 rows: `image` holds an image that cannot be decoded" in said
    assert "left out, 1 rows: `image` is null" in said
    assert "`many` is not guessed: 9 classes in 9 rows are too many to guess" in said
    assert "9 rows of 9 sources" in said
    assert "label: smallest class: 0.5\n" in said, "a null is no class"
    assert "`label` is not guessed: 8 sources are too few; 10 are needed" in said
    (tmp_path / "empty.parquet").write_bytes(b"")
    write(tmp_path / "none.parquet", [{"a": [1], "b": {"c": 1}}])
    pq.write_table(
        pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}), tmp_path / "0.parquet"
    )
    for words, code, part in (
        (("nowhere",), 5, "no dataset and no Parquet file"),
        (("empty.parquet", "--input", "a", "--label", "b"), 3, "not a Parquet file"),
        (("0.parquet", "--input", "image", "--label", "label"), 5, "has no rows"),
        ((path,), 2, "does not say which columns are inputs and labels: it has the columns image, label"),
        ((path, "--input", "image", "--label", "lable"), 2, "has no column 'lable'"),
        ((path, "--input", "label", "--label", "label"), 2, "both an input and a label"),
        (("none.parquet", "--input", "b", "--label", "a"), 2, "`b` holds dict, of which the audit knows no facts"),
        (("no.module:rows",), 2, "cannot be imported"),
        (("math:pi",), 2, "is a float"),
    ):
        ended = here("audit", *words)
        assert ended.returncode == code, (words, ended)
        assert part in ended.stderr, (words, ended.stderr)
        assert len(ended.stderr.splitlines()) <= 2


class Batches:
    """What a PyTorch DataLoader looks like, without PyTorch."""

    batch_size, collate_fn = 10, None

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        for at in range(0, len(self.rows), 10):
            some = self.rows[at : at + 10]
            yield {name: np.array([row[name] for row in some]) for name in some[0]}


def test_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list, a function that yields, batches, and a dataset of Hugging Face with its pictures: the same rows."""
    import datasets
    from PIL import Image

    rng = np.random.default_rng(5)
    rows = [{"image": noise(rng), "label": i % 2, "mask": [i % 3 == 0, True, False]} for i in range(30)]
    kept = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Value("int64"), "mask": datasets.List(datasets.Value("bool"))}
    )
    module = ModuleType("loaders_of_the_test")
    module.rows = rows  # type: ignore[attr-defined]
    module.yields = lambda: iter(rows)  # type: ignore[attr-defined]
    module.batches = Batches(rows)  # type: ignore[attr-defined]
    hub = [{**row, "image": Image.fromarray(row["image"])} for row in rows]
    module.hub = datasets.Dataset.from_list(hub, features=kept)  # type: ignore[attr-defined]
    module.fails = lambda: (1 / 0 for _ in range(3))  # type: ignore[attr-defined]
    module.pairs = [(1, 2)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("rows", "yields", "batches", "hub"):
        table = open_table(f"{module.__name__}:{name}", ["image"], ["label", "mask"])
        for (number, row), (at, true) in zip(table.rows(200), enumerate(rows), strict=True):
            (((item,),),) = items_of(row, table.inputs).values()
            assert item.image is not None
            np.testing.assert_array_equal(item.image, true["image"])
            assert (number, plain_label(row["label"]), plain_label(row["mask"])) == (at, true["label"], true["mask"])
    for name, part in (("fails", "ZeroDivisionError: division by zero"), ("pairs", "yields tuple, not dicts")):
        with pytest.raises(UserError, match=part):
            audit(f"{module.__name__}:{name}", 200, ["image"], ["label"])


def test_a_sorted_table_of_one_row_group_is_read_over_its_length(tmp_path: Path) -> None:
    """And the mean of a list of numbers is a label: here it follows the length of the text."""
    rng = np.random.default_rng(5)
    rows = [
        {"text": "sea " * int(rng.integers(5, 9) + 6 * (i % 2)), "label": i // 2000, "ids": [i % 2, 7, 7], "n": i}
        for i in range(4000)
    ]
    path = write(tmp_path / "rows.parquet", rows)
    assert pq.ParquetFile(path).num_row_groups == 1
    read = [row["n"] for _, row in open_table(str(path), ["text"], ["label", "n"]).rows(200)]
    assert len(read) == 200
    assert np.histogram(read, 8, (0, 4000))[0].tolist() == [25] * 8
    found = audit(str(path), 200, ["text"], ["label", "ids"])
    told = {(answer.label, answer.facts): answer.verdict for answer in found.answers}
    assert (told["ids", "length"], told["label", "length"]) == ("leaks", "clean")
    assert not found.not_asked


def test_duplicates_and_odd_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    images = [noise(rng) for _ in range(7)]  # too few to guess
    stored = [encoded(image, suffix=".png") for image in images]
    lighter = encoded(images[1].clip(0, 250) + np.uint8(2), suffix=".png")
    rows = [{"image": image, "label": i % 2} for i, image in enumerate([*stored, stored[0], lighter])]
    found = audit(write(tmp_path / "rows.parquet", rows), inputs=["image"], labels=["label"])
    assert found.duplicates == {"exact": 1, "near": 1}
    widths = {
        tuple(map(len, image_facts(np.zeros((h, w, 3), np.uint8)).values())) for h, w in ((4, 4), (5, 900), (70, 33))
    }
    assert len(widths) == 1, "facts have one length, whatever the image"
