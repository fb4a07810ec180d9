"""What users get wrong: each error names the thing, the reason and what to type, in three lines at most."""

from __future__ import annotations

import json
import resource
import shlex
import shutil
import sys
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from runs import Command, Made, snapshot

from pseudolabel import TASKS
from pseudolabel.contracts import split_remedy
from pseudolabel.storage.stores import store


class Wrong(NamedTuple):
    words: str
    code: int
    error: str  # which the error contains
    remedy: str  # which the remedy contains


CASES = [
    Wrong("jigsaw nowhere", 2, "nowhere does not exist", "give a folder or a file"),
    Wrong("jigsaw ''", 2, "a path is empty", "give a folder"),
    Wrong("jigsaw shirts --out ''", 2, "a path is empty", "give a folder"),
    Wrong("jigsaw empty", 5, "nothing to read in empty: it holds no files", "give a source with images"),
    Wrong("mask-text shirts", 5, "it holds 3 files of images (3 .png), and mask-text reads text", "tasks for images: "),
    Wrong("cluster odd", 5, "it holds 1 file (1 .xyz), and cluster reads images", "give a source with images"),
    Wrong(
        "jigsaw note.txt", 5, "it holds 1 file of text (1 .txt)", "tasks for text: cluster, corrupt-spans, mask-text"
    ),
    Wrong("jigsaw shirts ./shirts", 2, "the sources shirts and shirts are the same", "leave one of them out"),
    Wrong("jigsaw odd odd/deep", 2, "odd/deep is also in the source odd, so it would be read twice", "leave one of"),
    Wrong("jigsaw done", 2, "is a dataset made by pseudolabel", "give the source of that dataset"),
    Wrong("jigsw shirts", 2, "no command 'jigsw'", "did you mean jigsaw? see pseudolabel --help"),
    Wrong("show jigsw shirts", 2, "no command 'jigsw'", "did you mean jigsaw? see pseudolabel show --help"),
    Wrong("jigsaw shirts --gird 2", 2, "pseudolabel jigsaw has no option --gird", "did you mean --grid?"),
    Wrong("jigsaw shirts --preset code25", 2, "--preset is 'code25'", "did you mean code255? choose among paper225"),
    Wrong("jigsaw shirts --grid 50", 2, "--grid 50 is out of range", "give 2 to 10"),
    Wrong("jigsaw shirts --grid three", 2, "--grid is 'three'", "give a whole number"),
    Wrong("jigsaw shirts --grid", 2, "'--grid' requires an argument", "see pseudolabel jigsaw --help"),
    Wrong("jigsaw", 2, "Missing argument 'SOURCE'", "see pseudolabel jigsaw --help"),
    Wrong("jigsaw shirts --validation 2", 2, "--validation 2.0 is out of range", "give 0 to 0.99"),
    Wrong("jigsaw shirts --limit 0", 2, "--limit 0 is out of range", "give 1 or more"),
    Wrong("jigsaw shirts --shard-size 0", 2, "--shard-size 0 is out of range", "give 1 or more"),
    Wrong("jigsaw shirts --range 5", 2, "--range '5' is not LO,HI", "0.5%,99.5%"),
    Wrong("jigsaw shirts --max-skipped many", 2, "--max-skipped many is invalid", "give a share (0.5, 5%) or a count"),
    Wrong("jigsaw shirts --seed one", 2, "--seed is 'one'", "give a whole number"),
    Wrong("jigsaw shirts --part 4/3", 2, "--part 4/3 is not I/N", "type 1/3, 2/3 or 3/3"),
    Wrong("jigsaw shirts --part 1/3", 2, "has no plan", "run pseudolabel plan jigsaw"),
    Wrong("jigsaw shirts --extend --limit 3", 2, "--limit uses only N samples", "give one of them"),
    Wrong("jigsaw shirts --out shirts/tiles", 2, "--out shirts/tiles is inside the source", "--out DIR"),
    Wrong("jigsaw odd/deep --out odd", 2, "is inside --out odd", "--out DIR"),
    Wrong("jigsaw shirts --out done", 4, "holds another dataset: ", "--overwrite"),
    Wrong("jigsaw shirts --out odd", 4, "odd holds other files (", "--out DIR"),
    Wrong("jigsaw shirts --out note.txt", 4, "note.txt is a file", "--out DIR"),
    Wrong("jigsaw shirts --keep foldr", 2, "no file of the source has a column 'foldr'", "did you mean folder?"),
    Wrong("jigsaw shirts --out locked", 4, "another run is writing to locked", "wait for it"),
    Wrong("jigsaw foo://shirts", 2, "unknown scheme foo://", "type s3://"),
    Wrong("jigsaw gs://bucket/shirts", 2, "gs://bucket/shirts", "pip install 'pseudolabel[gs]'"),
    Wrong("mask-text note.txt --tokenizer shirts/0.png", 2, "shirts/0.png cannot be loaded", "tokenizer.json"),
    Wrong("mask-text note.txt --tokenizer no.json", 2, "--tokenizer no.json is not a file", "give the path of a "),
    Wrong("mask-text note.txt --tokenizer maskless.json", 2, "no token for [MASK]", "add [MASK] to F"),
    Wrong("mask-text note.txt --tokenizer sp.model", 2, "sp.model is a SentencePiece model", "copy it to IN/tokenizer"),
    Wrong("mask-text note.txt --ratio 2", 2, "--ratio 2.0 is out of range", "give a number above 0 and up to 1"),
    Wrong("mask-text note.txt --tokenizer no/such", 2, "--tokenizer no/such is not here", "the name of a model"),
    Wrong("mask-text table.csv --column texte", 3, "no column 'texte' (table.csv#", "did you mean text?"),
    Wrong("mask-text broken.jsonl", 3, "3 of 3 samples are unusable", "repair the files"),
    Wrong(
        "cluster shirts --codebook codes.npz --features pixels",
        2,
        "is for features hog, not pixels",
        "give the codebook",
    ),
    Wrong(
        "mask-audio short --codebook codes.npz", 2, "codes.npz is of another task: it has no rate", "mask-audio saved"
    ),
    Wrong("cluster shirts --features no-keys.npz", 2, "--features no-keys.npz has 2 rows for 3 samples", "one row per"),
    Wrong("cluster films --gap 2 --gap-seconds 1", 2, "--gap and --gap-seconds both", "give one of them"),
    Wrong("rotate plain", 3, "2 of 2 samples are unusable, 2 because: blank: all pixels", "repair the files"),
    Wrong("rotate plain --max-skipped 100% --out none", 3, "no row could be made from 2 samples, 2 because: blank", ""),
    Wrong("mask-audio short --clusters 2", 3, "no frame to learn codes from", "try --min-seconds"),
    Wrong("mask-audio short --targets best-rq", 3, "2 because: 0.50 s, below --min-seconds 1", "change --min-seconds"),
    Wrong("mask-tubes films", 3, "a clip spans 60 frames", "give longer videos, or clips of fewer frames than 16"),
    Wrong("finish shirts", 2, "shirts was not planned", "pseudolabel plan"),
    Wrong("finish planned", 3, "2 of 3 shards are not made in planned", "--part 2/3, 3/3"),
    Wrong("verify shirts", 2, "shirts is not a pseudolabel dataset: it has no ", "give the folder of one"),
    Wrong("verify killed", 3, "killed is not finished", "rerun the command that began it"),
    Wrong("describe damaged", 3, "_manifest.json is missing or is not JSON", "--overwrite"),
    Wrong("describe future", 2, "future has format 99, unknown here", "install the version that made it"),
    Wrong("jigsaw shirts --out old", 4, "old has format 1, but this version makes format 2", "--overwrite"),
    Wrong("preview note.txt", 2, "note.txt is not a pseudolabel dataset", "give the folder of one"),
    Wrong("audit done --rows 3", 2, "--rows 3 is out of range", "give 100 or more"),
    Wrong("audit done", 2, "the audit needs scikit-learn", "pip install 'pseudolabel[audit]'"),
    Wrong('show jigsaw ""', 2, 'there is nothing to show in ""', "give a sentence, a file or a folder"),
]


@pytest.fixture
def sources(tmp_path: Path, made: Made) -> Path:
    """Files of all kinds that are wrong, in the current folder of `here`."""
    rng = np.random.default_rng(0)
    for name in ("empty", "odd", "shirts", "plain", "short", "films", "locked", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "odd" / "x.xyz").write_bytes(b"\1\2\3")
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "shirts" / f"{number}.png")
    for number in range(2):
        Image.new("RGB", (64, 64), "red").save(tmp_path / "plain" / f"{number}.png")
        with wave.open(str(tmp_path / "short" / f"{number}.wav"), "wb") as sound:
            sound.setparams((1, 2, 16_000, 0, "NONE", ""))
            sound.writeframes(rng.integers(-999, 999, 8_000, np.int16).tobytes())
    frames = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(5)]
    frames[0].save(tmp_path / "films" / "a.gif", save_all=True, append_images=frames[1:], duration=40)
    (tmp_path / "note.txt").write_text("A note of a few words.")
    (tmp_path / "table.csv").write_text("id,text\n1,The boats came up.\n2,In tow.\n")
    (tmp_path / "broken.jsonl").write_text('{"text": \n{"text"}\n["text"]\n')
    np.savez(tmp_path / "no-keys.npz", features=np.ones((2, 4), np.float32))
    for number in range(3):  # of 1 MB each, so of a shard each
        Image.fromarray(rng.integers(0, 255, (600, 600, 3), np.uint8)).save(tmp_path / "large" / f"{number}.bmp")
    shutil.copy(made["cluster"] / "centroids.npz", tmp_path / "codes.npz")
    for name in ("done", "killed", "damaged", "future"):
        shutil.copytree(made["jigsaw"], tmp_path / name)
    (tmp_path / "killed" / "_SUCCESS").unlink()
    (tmp_path / "damaged" / "_manifest.json").write_text("{")
    write_format(tmp_path / "future", 99)
    (tmp_path / "maskless.json").write_text(MASKLESS)
    (tmp_path / "sp.model").write_bytes(b"\n\x0e\n\x05<pad>\x15\0\0\0\0\x18\x03\n\r\n\x04</s>\x15")
    (tmp_path / "odd" / "deep").mkdir()
    return tmp_path


def write_format(dataset: Path, number: int) -> None:
    path = dataset / "_manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": number}))


def test_each_error_names_the_thing_the_reason_and_what_to_type(
    sources: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    for words in (
        "jigsaw shirts --out old",
        "plan rotate large --out planned",
        "rotate large --out planned --part 1/3",
    ):
        assert here(*words.split(), "--quiet", "--workers", 1).returncode == 0
    (sources / "old" / "_SUCCESS").unlink()
    write_format(sources / "old", 1)
    faults, told_all = list[str](), list[str]()
    with store(sources / "locked").lock(print):
        for wrong in CASES:
            words = shlex.split(wrong.words)
            machine = words[0] not in ("show", "preview")
            words += ["--workers", "1", "--quiet"] if words[0] in TASKS and words[-1] != "--grid" else []
            before = snapshot(sources)
            done = here(*words[:1], *(["--json"] if machine else []), *words[1:])
            lines = done.stderr.splitlines()
            told_all += [f"$ pseudolabel {wrong.words}  # exit code {done.returncode}", *lines]
            fits = len(lines) <= 3 and all(len(line) <= 120 for line in lines)
            error, remedy = split_remedy(done.stderr.removeprefix("pseudolabel: ").strip())
            fits = fits and (done.returncode == 3 or snapshot(sources) == before)  # a refusal changes nothing
            if machine:
                told = json.loads(done.stdout)
                fits = fits and told.keys() == {"code", "error", "remedy"} and told["code"] == done.returncode
                error, remedy = told["error"], told["remedy"]
            if not (fits and done.returncode == wrong.code and wrong.error in error and wrong.remedy in remedy):
                faults.append(f"{wrong}: {done.returncode} {done.stdout or done.stderr}")
    print(*told_all, sep="\n")
    assert not faults, "\n".join(faults)


def test_a_full_disk_is_named(sources: Path, here: Command) -> None:
    most, limits = 2_000, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        done = here("jigsaw", "shirts", "--out", "full", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (74, 74)
    assert told["error"].startswith("storage failed: full: ")
    assert "written)" in told["error"]
    assert "free some space" in told["remedy"]


def test_any_seed_is_one(sources: Path, here: Command) -> None:
    for seed in (-1, 10**30):
        assert here("jigsaw", "shirts", "--seed", seed, "--dry-run").returncode == 0


MASKLESS = json.dumps(
    {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3}, "unk_token": "[UNK]"},
    }
)
