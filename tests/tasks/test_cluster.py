"""Clusters: the label is the nearest centroid to what is stored, and the mathematics is what its names say."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from runs import FIXTURES
from runs import skipped as left_out

from pseudolabel import Cluster, UserError, run
from pseudolabel import rows as stream_rows
from pseudolabel.inspection.verify import verify
from pseudolabel.readers.audio.reader import Utterance
from pseudolabel.readers.text.blocks import pack
from pseudolabel.testing.checks import checksums
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.clustering import clusters, codebooks
from pseudolabel.transforms.clustering.feature_sets import FEATURE_SETS, StoredSample
from pseudolabel.transforms.clustering.kmeans import balance, kmeans
from pseudolabel.transforms.clustering.onnx_encoder import load_network
from pseudolabel.transforms.image import features as image_features
from pseudolabel.transforms.text import features as text_features

SOURCES = {"images": FIXTURES / "images", "audio": FIXTURES / "audio", "text": FIXTURES / "text"}
SOURCES["video"] = FIXTURES / "video"
MADE = {
    "hog": ("images", {}),
    "pixels": ("images", {"features": "pixels", "clusters": 3, "spherical": True}),
    "mfcc": ("audio", {"clusters": 4, "balanced": True}),
    "tf-idf": ("text", {"modality": "text", "clusters": 6}),
    "clips": ("video", {"size": 64, "every_seconds": 0.5}),
}


class Made(dict[str, Path]):
    """A dataset for each set of features, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        source, options = MADE[name]
        run(Cluster(**options), SOURCES[source], out=self.folder / name, workers=1)
        self[name] = self.folder / name
        return self[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("clusters"))


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "data").to_pylist()


def features(name: str, row: dict[str, Any], learned: dict[str, np.ndarray]) -> np.ndarray:
    """(D,) of what a trainer decodes of a row; of a clip, the mean of its frames'."""
    if "frames" in row:
        return np.mean([features("hog", {"key": "", "image": frame}, {}) for frame in row["frames"]], 0)
    raw = FEATURE_SETS[name].raw(StoredSample([row["key"]], from_row(row)))
    return FEATURE_SETS[name].features(raw, learned)[0].astype(float)


def from_row(row: dict[str, Any]) -> Any:
    """What a trainer decodes of a row."""
    if "image" in row:
        return cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    if "audio" in row:
        wave, rate = soundfile.read(BytesIO(row["audio"]["bytes"]), dtype="int16")
        return Utterance(row["key"], wave, rate, round(2 * row["ceiling"]))
    return pack([row["text"].encode()], [0])


# --- the label is true -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_the_label_is_the_nearest_centroid_to_what_is_stored(name: str, made: Made) -> None:
    """From the row and `centroids.npz` alone, in double precision: mean, basis, length 1, distances, prices."""
    with np.load(made[name] / "centroids.npz") as arrays:
        held = {key: arrays[key] for key in arrays.files}
    learned = {key: array for key, array in held.items() if key.startswith(("patch", "term"))}
    every = rows(made[name])
    assert len({row["cluster"] for row in every}) > 1
    for row in every:
        white = (features(name, row, learned) - held["mean"]) @ held["basis"].astype(float)
        away = np.linalg.norm(white / np.linalg.norm(white) - held["centroids"], axis=1)
        first, second = np.argsort(away**2 + held["prices"])[:2]
        assert row["cluster"] == first
        assert row["distance"] == pytest.approx(away[first], abs=1e-4)
        assert row["margin"] == pytest.approx(away[second] - away[first], abs=1e-4)
    found = verify(made[name], workers=1)
    assert (found.faults, found.true) == ([], len(every))


@pytest.mark.parametrize("name", ["tf-idf", "clips"])
def test_same_bytes_for_any_worker_count_and_through_the_codebook(name: str, made: Made, tmp_path: Path) -> None:
    source, options = MADE[name]
    run(Cluster(**options), SOURCES[source], out=tmp_path / "two", workers=2)
    assert checksums(tmp_path / "two") == checksums(made[name])
    assert (tmp_path / "two" / "centroids.npz").read_bytes() == (made[name] / "centroids.npz").read_bytes()

    book = str(made[name] / "centroids.npz")
    other = {name: value for name, value in options.items() if name not in ("clusters", "balanced")}
    seed = 0 if name == "clips" else 5  # another seed has other clips
    run(Cluster(codebook=book, **other), SOURCES[source], out=tmp_path / "more", workers=1, seed=seed)
    before = {row["key"]: row for row in rows(made[name])}
    for row in rows(tmp_path / "more"):
        assert row["cluster"] == before[row["key"]]["cluster"]
        assert row["distance"] == pytest.approx(before[row["key"]]["distance"], abs=1e-5)
    Path(book).rename(tmp_path / "gone.npz")
    assert verify(tmp_path / "more", workers=1).true == len(before), "the codebook is kept"
    (tmp_path / "gone.npz").rename(book)
    streamed = {row["key"]: row for row in stream_rows(Cluster(codebook=book, **other), SOURCES[source])}
    assert streamed == {row["key"]: row for row in rows(tmp_path / "more")}


def test_a_rerun_takes_the_stored_centroids(made: Made, tmp_path: Path) -> None:
    source, options = MADE["pixels"]
    out = Path(shutil.copytree(made["pixels"], tmp_path / "out"))
    learned = (out / "centroids.npz").stat()
    for path in (*(out / "data").iterdir(), out / "_SUCCESS"):
        path.unlink()
    run(Cluster(**options), SOURCES[source], out=out, workers=1)
    assert checksums(out) == checksums(made["pixels"])
    assert (out / "centroids.npz").stat().st_mtime_ns == learned.st_mtime_ns


def test_without_inputs_the_labels_are_the_same(made: Made, tmp_path: Path) -> None:
    run(Cluster(no_inputs=True), SOURCES["images"], out=tmp_path / "out", workers=1)
    kept = ["key", "copy", "cluster", "distance", "margin"]
    bare = pq.read_table(tmp_path / "out" / "data")
    assert bare.column_names == kept
    assert bare.to_pylist() == pq.read_table(made["hog"] / "data", columns=kept).to_pylist()
    alone, beside = (verify(tmp_path / "out", against, workers=1) for against in ((), SOURCES["images"]))
    assert (alone.true, alone.consistent, beside.true) == (0, len(bare), len(bare))


@pytest.mark.parametrize("column", ["cluster", "distance", "margin"])
def test_each_number_is_held_against_what_is_stored(column: str, made: Made) -> None:
    labeler = Cluster(**MADE["mfcc"][1], modality="audio").labeler(made["mfcc"])
    table = pq.read_table(made["mfcc"] / "data")
    assert set(labeler.check_rows(table, None)) == {None}
    for off in (-1, 0.01, float("nan")) if column != "cluster" else (-9, 9):
        one = {**table.to_pylist()[0]}
        one[column] += off
        (fault,) = labeler.check_rows(pa.Table.from_pylist([one], table.schema), None)
        assert fault
        assert fault.startswith(f"`{column}` is ")


def test_documents_without_a_word_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    texts = ["the cat sat", "a dog ran", "--- !!!", "the cat ran", "a dog sat", "日本語の文", "日本の文"]
    (tmp_path / "in" / "a.txt").write_text("\n".join(texts), "utf-8")
    run(Cluster(clusters=3, document="line"), tmp_path / "in", out=tmp_path / "out", workers=1)
    told = {row["text"]: row["cluster"] for row in rows(tmp_path / "out")}
    assert set(told) == {*texts} - {"--- !!!"}
    assert list(left_out(tmp_path / "out")) == [f"a.txt#{len('the cat sat a dog ran ')}"]
    assert text_features.term_pattern().findall("हिन्दी में लिखना don't") == ["हिन्दी", "में", "लिखना", "don't"]
    one, other = (text_features.terms(pack([text.encode()], [0])) for text in ("caf\u00e9", "cafe\u0301"))
    assert (one == other).all(), "of NFC and NFD"
    assert told["日本語の文"] == told["日本の文"] not in (told["the cat sat"], told["a dog ran"])


# --- which modality --------------------------------------------------------------------------------------------------


def test_a_source_of_several_modalities_is_refused_with_the_counts(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PNG", "c.txt", "d.wav", "e.bin", "f.gif"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"images \(2\), \w+ \(1\), \w+ \(1\); give one, such as --modality images"):
        Cluster().resolve([tmp_path])
    assert ".wav" in Cluster(modality="audio").resolve([tmp_path]).reader().suffixes
    (tmp_path / "f").mkdir()
    with pytest.raises(
        UserError, match="it holds no files, and cluster reads images or audio or text or video"
    ) as refused:
        Cluster().resolve([tmp_path / "f"])
    assert refused.value.code == 5


@pytest.mark.parametrize(
    ("names", "modality"),
    [
        (["a.jpg", "b.gif", "c.gif"], "images"),
        (["a.mp4", "b.gif", "c.gif"], "video"),
        (["a.wav", "README.md", "licence.txt", "COPYING"], "audio"),
        (["a/README.md", "b/README.md"], "text"),
        (["a.gif"], r"images \(1\), video \(1\)"),
        (["a.gif", "b.wav"], r"audio \(1\), images \(1\), video \(1\)"),
        (["readme-not.txt", "b.wav"], r"text \(1\), audio \(1\)"),
    ],
)
def test_files_of_two_kinds_and_notes_follow_the_others(names: list[str], modality: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    if " " in modality:
        with pytest.raises(UserError, match=modality):
            Cluster().resolve([tmp_path])
    else:
        assert Cluster().resolve([tmp_path]).modality == modality


def test_files_without_a_known_suffix_count_by_their_content(tmp_path: Path) -> None:
    """As those that have one do; and what no reader reads does not count."""
    picture, sound = (
        next(SOURCES[kind].rglob(f"*.{end}")).read_bytes() for kind, end in (("images", "png"), ("audio", "wav"))
    )
    for name, data in (("a", picture), ("b.jpeg_large", picture), ("c.pdf", b"%PDF-1.7"), ("README", b"a text")):
        (tmp_path / name).write_bytes(data)
    assert Cluster().resolve([tmp_path]).modality == "images"
    (tmp_path / "d.wav_large").write_bytes(sound)
    with pytest.raises(UserError, match=r"several modalities: images \(2\), audio \(1\); give one"):
        Cluster().resolve([tmp_path])


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"seconds": 3.0}, "--seconds is for audio, not for images; leave it out"),
        ({"gap": 3}, "--gap is for video, not for images; leave it out"),
        ({"features": "mfcc"}, "give hog, pixels, or a file"),
        ({"features": "nowhere.npy"}, "cannot be read"),
        ({"codebook": "nowhere.npz"}, "give the .npz"),
        ({"encoder": "nowhere.onnx"}, "cannot be loaded"),
        ({"encoder": "a.onnx", "features": "hog"}, "give one of them"),
        ({"codebook": "a.npz", "clusters": 3}, "leave out --clusters"),
        ({"clusters": 40}, "--clusters 40: only 24 samples to learn from; give 24 or fewer"),
        ({"clusters": 1}, "give 2 to 100000"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict[str, Any], remedy: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=remedy):
        run(Cluster(**options), SOURCES["images"], out=tmp_path / "out", workers=1)


def test_a_codebook_for_something_else_is_refused(made: Made, tmp_path: Path) -> None:
    book = str(made["hog"] / "centroids.npz")
    with pytest.raises(UserError, match="is for size 256, not 100"):
        run(Cluster(codebook=book, size=100), SOURCES["images"], out=tmp_path / "out")
    with pytest.raises(UserError, match="is for features hog, not pixels"):
        run(Cluster(codebook=book, features="pixels"), SOURCES["images"], out=tmp_path / "out")
    with pytest.raises(UserError, match="features 'hog' are not for audio"):
        run(Cluster(codebook=book), SOURCES["audio"], out=tmp_path / "out")
    (tmp_path / "book.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"give the \.npz file that cluster"):
        run(Cluster(codebook=str(tmp_path / "book.npz")), SOURCES["images"], out=tmp_path / "out")


def changed(held: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {name: array for name, array in {**held, **others}.items() if array is not None}


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"about": None}, "incomplete or inconsistent"),
        ({"prices": None}, "has no prices"),
        ({"about": "[1]"}, "cannot be read"),
        ({"prices": np.zeros(9, np.float32)}, "incomplete or inconsistent"),
        ({"sizes": np.array(["a", "b"])}, "incomplete or inconsistent"),
        ({"mean": np.full(128, np.inf, np.float32)}, "incomplete or inconsistent"),
        ({"term_directions": None}, "do not fit tf-idf"),
        ({"term_weights": np.zeros((2, 3), np.float32)}, "do not fit tf-idf"),
    ],
)
def test_a_codebook_that_is_not_whole_is_refused(others: dict[str, Any], why: str, made: Made, tmp_path: Path) -> None:
    with np.load(made["tf-idf"] / "centroids.npz") as arrays:
        np.savez(tmp_path / "book.npz", **changed(dict(arrays), **others))
    with pytest.raises(UserError, match=why):
        Cluster(codebook=str(tmp_path / "book.npz"), modality="text").resolve([SOURCES["text"]])


# --- embeddings and networks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(made: Made) -> dict[str, np.ndarray]:
    """(8,) numbers for each picture: three clouds."""
    rng = np.random.default_rng(0)
    keys = sorted(row["key"] for row in rows(made["hog"]))
    return {key: rng.normal(3.0 * np.eye(8)[i % 3], 0.1) for i, key in enumerate(keys)}


def test_embeddings_by_key_and_by_row(points: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Whichever file they come from, the clusters are the clouds."""
    keys, matrix = list(points), np.array(list(points.values()), np.float32)
    files = sorted(path.relative_to(SOURCES["images"]).as_posix() for path in SOURCES["images"].rglob("*.*"))
    np.save(tmp_path / "by-row.npy", np.array([points.get(key, np.zeros(8)) for key in files]))
    np.savez(tmp_path / "by-key.npz", key=np.array(keys[::-1]), features=matrix[::-1])
    table = pa.table({"key": keys, "features": matrix.tolist()})
    pq.write_table(table, tmp_path / "by-key.parquet", row_group_size=5)
    for name in ("by-row.npy", "by-key.npz", "by-key.parquet"):
        made_of_it = stream_rows(Cluster(features=str(tmp_path / name), clusters=3), SOURCES["images"])
        pairs = {(keys.index(row["key"]) % 3, row["cluster"]) for row in made_of_it}
        assert len(pairs) == 3 == len({cluster for _, cluster in pairs}), name


def test_a_sample_without_an_embedding_is_skipped(points: dict[str, np.ndarray], tmp_path: Path) -> None:
    some, file, out = dict(list(points.items())[:-1]), tmp_path / "some.npz", tmp_path / "out"
    np.savez(file, key=np.array(list(some)), features=np.array(list(some.values())))
    run(Cluster(features=str(file)), SOURCES["images"], out=out, workers=1)
    assert left_out(out)[list(points)[-1]] == "no features for this sample in some.npz"
    alone, beside = (verify(out, against, workers=1) for against in ((), SOURCES["images"]))
    assert (alone.true, alone.consistent, beside.true) == (0, len(some), len(some))

    np.savez(file, key=np.array(list(some)), features=2 * np.array(list(some.values())))
    anew = Cluster(features=str(file)).resolve([SOURCES["images"]])
    assert (anew.embeddings.rows(np.array([0])) == 2 * some[next(iter(some))].astype(np.float32)).all(), (
        "not what was read"
    )

    np.save(tmp_path / "wide.npy", np.ones((25, 9)))
    wide = Cluster(features=str(tmp_path / "wide.npy"), codebook=str(out / "centroids.npz"))
    with pytest.raises(UserError, match="have 9 numbers per row; give 8"):
        wide.resolve([SOURCES["images"]])
    np.savez(file, key=np.array(list(some)), features=np.array(list(some.values()))[::-1])
    assert verify(out, SOURCES["images"], workers=1).false > 1


@pytest.mark.parametrize(
    ("matrix", "remedy"),
    [
        (np.ones((7, 4)), "has 7 rows for 25 samples in the source"),
        (np.where(np.arange(100) == 50, np.nan, 1.0).reshape(25, 4), "row 12 holds NaN"),
        (np.ones(25), r"is of shape \(25,\)"),
        (np.full((25, 3), 7.5), "are the same"),
        (np.array([["a", "b"]] * 25), "give numbers"),
        (np.arange(25)[:, None] % 2 * np.ones((25, 4)), "only 2 different points; give 2 or fewer"),
        (np.where(np.arange(100) == 50, 1e300, 1.0).reshape(25, 4), "row 12 holds NaN or infinity"),
        (np.ones((25, 4), complex), "give numbers of shape"),
        (np.ones((25, 4), "m8[s]"), "give numbers of shape"),
    ],
)
def test_embeddings_one_cannot_cluster_are_refused(matrix: np.ndarray, remedy: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", matrix)
    with pytest.raises(UserError, match=remedy):
        next(stream_rows(Cluster(features=str(tmp_path / "x.npy"), clusters=3), SOURCES["images"]))


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        (np.arange(25), r"key is of shape \(25,\), int64; give \(n,\) strings"),
        (np.array([["a"]] * 25), r"key is of shape \(25, 1\)"),
        (np.array(["a", "b"]), "25 rows for 2 keys"),
        (np.array([f"{i % 24}" for i in range(25)]), "has the key 0 twice"),
        ([None, *map(str, range(24))], "key is string with 1 nulls; give only strings"),
        (list(range(25)), "key is int64 with 0 nulls"),
    ],
)
def test_keys_that_are_none_are_refused(keys: Any, remedy: str, tmp_path: Path) -> None:
    if isinstance(keys, list):
        pq.write_table(pa.table({"key": keys, "features": np.eye(25).tolist()}), tmp_path / "x.parquet")
    else:
        np.savez(tmp_path / "x.npz", key=keys, features=np.eye(25))
    with pytest.raises(UserError, match=remedy):
        Cluster(features=str(next(tmp_path.glob("x.*")))).resolve([SOURCES["images"]])


def test_embeddings_of_documents_are_learned_from_all_files(tmp_path: Path) -> None:
    """A block of documents has many rows: they do not crowd out the other files'. Not by row: files hold many."""
    (tmp_path / "in").mkdir()
    lines = "\n".join(f"{i:05d}" for i in range(3000))
    for name in "ab":
        (tmp_path / "in" / f"{name}.txt").write_text(lines)
    features = np.random.default_rng(0).normal(size=(6000, 256)).astype(np.float32)
    np.savez(
        tmp_path / "x.npz", features=features, key=np.array([f"{f}.txt#{6 * i}" for f in "ab" for i in range(3000)])
    )
    np.save(tmp_path / "x.npy", features)
    options = {"document": "line", "clusters": 2, "no_inputs": True}
    run(Cluster(features=str(tmp_path / "x.npz"), **options), tmp_path / "in", out=tmp_path / "out", workers=1)
    assert codebooks.load_codebook(tmp_path / "out" / "centroids.npz").clusters.sizes.sum() == 6000
    with pytest.raises(UserError, match="has no keys, but source files hold several samples; give"):
        Cluster(features=str(tmp_path / "x.npy"), **options).resolve([tmp_path / "in"])


SAME = ("Identity", ["x"], ["y"], {})


def saved(path: Path, takes: list[Any], gives: list[Any], *nodes: tuple[Any, ...], opset: int = 17) -> None:
    """Write a network of one input x and one output y."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, takes), ("y", 1, gives))]
    made = [helper.make_node(name, *ways, **options) for name, *ways, options in nodes]
    graph = helper.make_graph(made, "network", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)


def test_a_network_of_the_users_own(made: Made, tmp_path: Path) -> None:
    """A network that averages its picture: the clusters are those of what it makes of the stored pictures."""
    pool = ("AveragePool", ["x"], ["y"], {"kernel_shape": [32, 32], "strides": [32, 32]})
    saved(tmp_path / "net.onnx", ["n", 3, 64, 64], ["n", 3, 2, 2], pool)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    task = Cluster(encoder=str(tmp_path / "net.onnx"), clusters=2)
    run(task, SOURCES["images"], out=tmp_path / "out", workers=1)
    book = codebooks.load_codebook(tmp_path / "out" / "centroids.npz").clusters
    assert book.mean.shape == (3,)
    for row in rows(tmp_path / "out"):
        image = from_row(row)
        height, width, _ = image.shape
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        colour = image[top : top + short, left : left + short].mean((0, 1)) / 255
        made_of_it = load_network(tmp_path / "net.onnx").picture(image)
        assert np.allclose(made_of_it, colour, atol=0.01)
        assert row["distance"] == pytest.approx(book.assign(made_of_it[None]).distance[0], abs=1e-5)
    config = tmp_path / "preprocessor_config.json"
    config.write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}')
    with pytest.raises(UserError, match="encoder-sha256"):
        run(task, SOURCES["images"], out=tmp_path / "out", workers=1)
    with pytest.raises(UserError, match="is for encoder_sha256"):
        Cluster(encoder=task.encoder, codebook=str(tmp_path / "out/centroids.npz")).resolve([SOURCES["images"]])
    (tmp_path / "net.onnx").rename(tmp_path / "gone.onnx")
    config.unlink()
    assert verify(tmp_path / "out", SOURCES["images"], workers=1).true == len(rows(tmp_path / "out"))
    with pytest.raises(UserError, match="is not for text"):
        run(Cluster(encoder=str(tmp_path / "gone.onnx")), SOURCES["text"], out=tmp_path / "text")


@pytest.mark.parametrize(
    ("source", "shape", "node", "remedy"),
    [
        (
            "images",
            ["n", 1, 64, 64],
            SAME,
            r"takes x of shape .*but is given \(1, 3, 64, 64\)",
        ),
        ("images", [1, "t"], SAME, r"is given \(1, 3, 224, 224\)"),
        ("images", [3, 3, 64, 64], SAME, r"takes x of shape \[3, 3, 64, 64\]"),
        ("images", ["n", 3, 8, 8], ("ReduceMean", ["x"], ["y"], {"axes": [1, 2, 3], "keepdims": 0}), r"is \(1,\), not"),
        ("audio", [1, 3, 64, 64], SAME, r"but is given \(1, 240000\)"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(
    source: str, shape: Any, node: Any, remedy: str, tmp_path: Path
) -> None:
    saved(tmp_path / "net.onnx", shape, ["m"] if node[0] == "ReduceMean" else [*shape], node)
    with pytest.raises(UserError, match=remedy):
        Cluster(encoder=str(tmp_path / "net.onnx")).resolve([SOURCES[source]])


def test_what_a_network_cannot_take_is_skipped(tmp_path: Path) -> None:
    """A sound is too short for windows of two seconds; the logarithm of a mean below 0 is no number."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for name, wave in {"a": 3, "b": 4, "short": 1, "c": 5}.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", rng.uniform(0.1, 0.2 * wave, 8000 * wave), 8000)
    soundfile.write(tmp_path / "in" / "below.wav", rng.uniform(-0.2, -0.1, 24_000), 8000)
    pool = {"kernel_shape": [16_000], "strides": [4000]}
    shift = ("Unsqueeze", ["x", "one"], ["w"], {})
    one = ("Constant", [], ["one"], {"value_ints": [1]})
    loud = [("AveragePool", ["w"], ["p"], pool), ("Log", ["p"], ["l"], {})]
    ends = ("ReduceMean", ["l"], ["m"], {"axes": [2], "keepdims": 0}), ("Concat", ["m", "m"], ["y"], {"axis": 1})
    saved(tmp_path / "net.onnx", [1, "t"], [1, 2], one, shift, *loud, *ends)
    task = Cluster(encoder=str(tmp_path / "net.onnx"), rate=8000, clusters=2)
    run(task, tmp_path / "in", out=tmp_path / "out", workers=1, max_skipped="2")
    short, below = (left_out(tmp_path / "out")[f"{name}.wav#0-{n}"] for name, n in (("short", 8000), ("below", 24000)))
    assert short.startswith("the network fails on this input: ")
    assert below == "the output of the network has NaN or infinity"
    assert len(rows(tmp_path / "out")) == 3


# --- what a run tells ------------------------------------------------------------------------------------------------


def test_the_card_says_how_the_clusters_were_learned(made: Made) -> None:
    assert "2 clusters were learned from 24 samples, with the features hog" in (made["hog"] / "README.md").read_text()
    assert "fewer than 39" not in (made["hog"] / "README.md").read_text(), "nobody asked for so many"
    assert "24 samples are fewer than 39 for each of 3 clusters" in (made["pixels"] / "README.md").read_text()


def test_what_fit_refused_can_be_asked_for_otherwise(made: Made, tmp_path: Path) -> None:
    """The manifest stands before anything is learned: a folder that holds no more is nobody's."""
    with pytest.raises(UserError, match="--clusters 30: only 24 samples to learn from; give 24 or fewer"):
        run(Cluster(clusters=30), SOURCES["images"], out=tmp_path / "out", workers=1)
    assert run(Cluster(clusters=4), SOURCES["images"], out=tmp_path / "out", workers=1).status == "finished"
    with pytest.raises(UserError, match="clusters is 4, not 5"):
        run(Cluster(clusters=5), SOURCES["images"], out=tmp_path / "out", workers=1)


# --- mathematics -----------------------------------------------------------------------------------------------------


def test_whitening_makes_variances_one_and_correlations_none() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(3000, 12)) @ rng.normal(size=(12, 40)) + 50).astype(np.float32)  # of rank 12
    white = clusters.fit_whitening(features)
    assert white.basis.shape == (40, 12)
    raw = (features - white.mean) @ white.basis
    assert np.allclose(np.cov(raw.T, bias=True), np.eye(12), atol=0.01)
    assert np.allclose(np.linalg.norm(white.points(features), axis=1), 1, atol=1e-5)
    assert clusters.fit_whitening(features[:100]).basis.shape == (40, 5), "20 points to a dimension"
    far = (1000 + rng.normal(0, 0.05, (400, 4))).astype(np.float32)  # the deviation is 1 of 20,000, and no rounding
    assert np.allclose(
        np.cov(((far - far.mean(0)) @ clusters.fit_whitening(far).basis).T, bias=True), np.eye(4), atol=0.05
    )


def test_kmeans_is_no_worse_than_lloyd_and_leaves_no_cluster_empty() -> None:
    rng = np.random.default_rng(0)
    spots = rng.normal(0, 5, (300, 16))
    points = (spots[rng.integers(0, 300, 9000)] + rng.normal(0, 1, (9000, 16))).astype(np.float32)

    def inertia(centres: np.ndarray) -> float:
        return float((((points**2).sum(1)[:, None] - 2 * points @ centres.T) + (centres**2).sum(1)).min(1).mean())

    lloyd = points[rng.permutation(9000)[:100]]
    for _ in range(25):
        near = ((lloyd**2).sum(1) - 2 * points @ lloyd.T).argmin(1)
        lloyd = np.array([points[near == i].mean(0) if (near == i).any() else lloyd[i] for i in range(100)])
    found = kmeans(points, 100, 3)
    assert inertia(found) < inertia(lloyd)
    assert (kmeans(points, 100, 3) == found).all()
    assert np.allclose(np.linalg.norm(kmeans(points, 100, 3, spherical=True), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("spots", "copies", "width", "k"), [(7, 30, 4, 9), (50, 60, 64, 70), (100, 20, 256, 101)])
def test_kmeans_ends_where_points_are_copies(spots: int, copies: int, width: int, k: int) -> None:
    """The square of the distance from a point to itself is rounding, up to 5e-7: no centroid is put there for it."""
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(spots, width)), copies, 0)
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    assert len(np.unique(kmeans(points, spots, 0), axis=0)) == spots
    with pytest.raises(UserError, match=f"only {spots} different points; give {spots} or fewer"):
        kmeans(points, k, 0)


def test_balanced_clusters_are_of_equal_size() -> None:
    rng = np.random.default_rng(0)
    spots = rng.normal(size=(12, 16))
    points = spots[rng.choice(12, 4000, p=np.arange(1, 13) / 78)] + rng.normal(0, 0.5, (4000, 16))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    centroids = kmeans(points, 12, 0)
    sizes = np.bincount(((centroids**2).sum(1) - 2 * points @ centroids.T).argmin(1), minlength=12)
    centroids, prices = balance(points, centroids, False)
    equal = np.bincount(((centroids**2).sum(1) + prices - 2 * points @ centroids.T).argmin(1), minlength=12)
    assert sizes.max() > 3 * sizes.min()
    assert equal.max() < 1.1 * 4000 / 12
    assert equal.min() > 0.9 * 4000 / 12
    book = clusters.fit_clusters(points, 12, 0, False, True)
    assert book.sizes.min() > 0
    with pytest.raises(UserError, match=r"--balanced leaves \d+ of 90 clusters empty with 100 samples"):
        clusters.fit_clusters(rng.normal(size=(100, 2)).astype(np.float32), 90, 0, False, True)


def test_gradients_fall_into_the_bin_of_their_direction() -> None:
    """Stripes that change across have gradients of direction 0; turned by 90 degrees, of half a turn, 4.5 bins."""
    stripes = np.repeat((127 + 100 * np.sin(np.arange(96) / 3)).astype(np.uint8)[None, :, None], 96, 0).repeat(3, 2)
    across, down = (
        image_features.hog(image).reshape(-1, 9, 4).sum((0, 2)) for image in (stripes, stripes.swapaxes(0, 1))
    )
    assert across.argmax() == 0
    assert across[0] > 0.9 * across.sum()
    assert set(np.argsort(down)[-2:]) == {4, 5}
    assert not image_features.hog(np.full((50, 70, 3), 9, np.uint8)).any()


def test_terms_are_weighed_as_the_formula_says() -> None:
    found = text_features.terms(pack([b"cat cat dog", b"cat, bird!", b"..."], [0, 1, 2]))
    assert found[0].tolist() == [3, 0]
    topics = text_features.fit_topics([found], np.random.default_rng(0))
    weights = dict(zip(topics.term_buckets.tolist(), topics.term_weights.tolist(), strict=True))
    cat, dog, bird = (text_features.Buckets()[word] for word in ("cat", "dog", "bird"))
    assert weights[cat] == pytest.approx(np.log(4 / 3) + 1)
    assert weights[dog] == weights[bird] == pytest.approx(np.log(4 / 2) + 1)
    features = topics.features(found)
    one, other = {cat: (1 + np.log(2)) * weights[cat], dog: weights[dog]}, {cat: weights[cat], bird: weights[bird]}
    cosine = one[cat] * other[cat] / np.sqrt(sum(x**2 for x in one.values()) * sum(x**2 for x in other.values()))
    assert features[0] @ features[1] == pytest.approx(cosine, abs=1e-5), "all directions are kept of so few"
    assert np.isnan(features[2]).all()


def test_statistics_of_sound_tell_its_order() -> None:
    frames = np.zeros((50, 39), np.float32)
    frames[:10, 0] = 5
    there, back = audio_features.statistics(frames), audio_features.statistics(frames[::-1])
    assert there.shape == (audio_features.STATISTICS,)
    assert np.allclose(there[:78], back[:78])
    assert there[78:].reshape(5, 13)[:, 0].tolist() == [4, -1, -1, -1, -1]
    assert back[78:].reshape(5, 13)[:, 0].tolist() == [-1, -1, -1, -1, 4]
    assert np.isfinite(audio_features.statistics(frames[:1])).all()
