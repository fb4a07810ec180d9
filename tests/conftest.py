"""Sources made once for all tests, and runs of the command as the user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import (
    NAMES,
    SHARED,
    Command,
    Made,
    arguments,
    draw,
    once,
)

from pseudolabel import TASKS, Task
from pseudolabel.cli.app import main

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes import the package: compile it once


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data, where it is present."""
    if not SHARED.exists():
        pytest.skip("the shared data is not present")
    return SHARED


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "pictures", draw)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 MB of text: more than 12 shards at --shard-size 1."""
    return once(tmp_path_factory, "corpus", write_corpus)


def write_corpus(folder: Path) -> None:
    rng = np.random.default_rng(8)
    folder.mkdir()
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(5000)]
    for i in range(4):
        chosen = rng.choice(words, 600_000, p=np.arange(5000, 0, -1) / 12_502_500)
        lines = [" ".join(chosen[k : k + 60]) for k in range(0, len(chosen), 60)]
        (folder / f"{i}.txt").write_text(".\n\n".join(lines), "utf-8")


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


@pytest.fixture
def pseudolabel(tmp_path: Path) -> Command:
    """Run the command in an empty folder, as a process of its own."""

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments(*words), cwd=tmp_path, capture_output=True, text=True)

    return command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in an empty folder, in this process: enough for a command that is refused."""

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        if Path.cwd() != tmp_path:  # which another user may not enter
            monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pseudolabel", *map(str, words)])
        for hook in ("unraisablehook", "excepthook"):
            monkeypatch.setattr(sys, hook, getattr(sys, hook))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), *capsys.readouterr())

    return command


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    """Every task, as it is by default."""
    return TASKS[request.param]()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Not to be written to: `shutil.copytree` gives one that may be."""
    return Made(tmp_path_factory)
