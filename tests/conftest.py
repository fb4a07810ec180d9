"""Sources made once for all tests, and runs of the command as the user starts it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pseudolabel import TASKS, Task, run

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
SHARED = HERE.parents[1] / "shared" / "data"


def real(task: str) -> bool:
    """Whether a task is none of the tests' own."""
    return not task.startswith("deadly")


NAMES = sorted(filter(real, TASKS))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data, where it is present."""
    if not SHARED.exists():
        pytest.skip("the shared data is not present")
    return SHARED


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("source") / "pictures")


def draw(folder: Path) -> Path:
    """15 MB of pictures in four folders: more than 12 shards at --shard-size 1."""
    rng = np.random.default_rng(7)
    for i in range(60):
        (folder / f"class-{i % 4}").mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 255, (300, 260 + i, 3), np.uint8)  # heavy files of few pixels
        cv2.imwrite(str(folder / f"class-{i % 4}" / f"{i:03d}.png"), noise)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 MB of text: more than 12 shards at --shard-size 1."""
    folder, rng = tmp_path_factory.mktemp("source") / "corpus", np.random.default_rng(8)
    folder.mkdir()
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(5000)]
    for i in range(4):
        chosen = rng.choice(words, 600_000, p=np.arange(5000, 0, -1) / 12_502_500)
        lines = [" ".join(chosen[k : k + 60]) for k in range(0, len(chosen), 60)]
        (folder / f"{i}.txt").write_text(".\n\n".join(lines), "utf-8")
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT WordPiece, every letter in it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-:;()"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    tokens += ["the", "and", "##ing", "##er", "before", "river", "found"]
    made = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    made.add_special_tokens(tokens[:5])
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(*words: object) -> list[str]:
    """The command line of `pseudolabel words...`, with the tests' own deadly task known to it."""
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import deadly; from pseudolabel.cli.app import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


@pytest.fixture
def pseudolabel(tmp_path: Path) -> Command:
    """Run the command in an empty folder, as a process of its own."""

    def command(*words: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments(*words), cwd=tmp_path, capture_output=True, text=True, timeout=timeout)

    return command


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    """Every task, as it is by default."""
    return TASKS[request.param]()


class Made(dict[str, Path]):
    """Each task's dataset of the fixtures, with a validation split and two copies, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        task = TASKS[name]()
        run(task, source(task), out=self.folder / name, copies=2, validation=0.3, workers=1)
        self[name] = self.folder / name
        return self[name]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Not to be written to: `shutil.copytree` gives one that may be."""
    return Made(tmp_path_factory.mktemp("conformance"))


def source(task: Task) -> Path:
    """The fixtures of the task's modality."""
    kinds = {".jpg": "images", ".txt": "text", ".wav": "audio", ".mp4": "video"}
    return FIXTURES / next(folder for suffix, folder in kinds.items() if suffix in task.reader().suffixes)


def sums(out: Path) -> dict[str, str]:
    """sha256 of each file under `data/`."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((out / "data").iterdir())}


def records(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((out / "_records").glob("[0-9]*.json"))]


def skipped(out: Path) -> dict[str, str]:
    """key -> reason"""
    lines = (out / "_skipped.jsonl").read_text().splitlines()
    return {item["key"]: item["reason"] for item in map(json.loads, lines)}


def peak(pid: int) -> int:
    """The most memory a process has held, in MB."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) >> 10 if found else 0
