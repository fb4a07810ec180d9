"""What is measured: the rows of the table, and the commands that compete in each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from inputs import Input

PEERS = Path(__file__).parent / "peers"


def key_of(name: str, options: tuple[str, ...], source: Input, workers: int) -> str:
    """How the runs of a command are called in the results: `jigsaw, photographs-1000, 2 workers`"""
    return ", ".join([" ".join([name, *options]), source.name, f"{workers} workers"])


class Peer(NamedTuple):
    """A script of `peers/` that does the work of a task, or a floor under it."""

    name: str
    script: str
    packages: tuple[str, ...]  # that it imports
    options: tuple[str, ...] = ()
    is_slow: bool = False  # it does the row's smaller input, if there is one

    def command(self, source: Path, out: Path, workers: int) -> list[str]:
        return [str(PEERS / self.script), str(source), str(out), str(workers), *self.options]


class Row(NamedTuple):
    """A task on an input, and who competes."""

    task: str
    source: Input
    peers: tuple[Peer, ...] = ()
    options: tuple[str, ...] = ()
    smaller: Input | None = None  # for slow peers: rates are compared
    workers: tuple[int, ...] = (2, 1)

    @property
    def name(self) -> str:
        """`jigsaw photographs-1000`, by a part of which `--only` chooses."""
        return f"{self.task} {self.source.name}"

    def command(self, source: Path, out: Path, workers: int) -> list[str]:
        words = [self.task, str(source), "--out", str(out), "--workers", str(workers), "--quiet", *self.options]
        return ["-m", "pseudolabel", *words]

    def input_of(self, peer: Peer) -> Input:
        return self.smaller if peer.is_slow and self.smaller else self.source


def floor(side: int, tiles: int, tile: int) -> Peer:
    return Peer("OpenCV loop", "image_floor.py", ("cv2",), (str(side), str(tiles), str(tile)))


NINE_TILES, TWO_VIEWS, ONE_VIEW = floor(256, 9, 64), floor(224, 2, 224), floor(224, 1, 224)
PIL = Peer("PIL in a DataLoader", "jigsaw.py", ("torch", "PIL", "pyarrow"))
LIGHTLY = Peer("lightly", "simclr.py", ("lightly", "torch", "pyarrow"), is_slow=True)
HUGGING_FACE = Peer("Hugging Face", "mlm.py", ("datasets", "transformers"), ("TOKENIZER",), is_slow=True)
LIBROSA = Peer("librosa, scikit-learn", "hubert.py", ("librosa", "sklearn", "pyarrow"))
PYAV = Peer("PyAV, PIL", "frames.py", ("av", "PIL", "pyarrow"))


def rows(quick: bool) -> list[Row]:
    """The table, of full size or of small inputs. TOKENIZER stands for the tokenizer.json of the inputs."""
    few, many = (Input("photographs", size) for size in ((200, 400) if quick else (1000, 8000)))
    novel, novels = (Input("novels", size) for size in ((4, 8) if quick else (77, 309)))
    phone, speech, films = (
        Input("phone", 6 if quick else 200),
        Input("speech", 4 if quick else 65),
        Input("films", 24 if quick else 300),
    )
    pairs, words = ("--negatives", "0"), ("--tokenizer", "TOKENIZER")
    return [
        Row("jigsaw", Input("photographs", 2), (NINE_TILES,)),  # start-up
        Row("jigsaw", few, (NINE_TILES, PIL)),
        Row("jigsaw", many, (NINE_TILES,)),
        Row("mask-patches", many, (ONE_VIEW,)),
        Row("augment-pairs", few, (TWO_VIEWS, LIGHTLY), pairs),
        Row("augment-pairs", many, (TWO_VIEWS, LIGHTLY), pairs, smaller=few),
        Row("mask-text", novel, (HUGGING_FACE,), words),
        Row("mask-text", novels, (HUGGING_FACE,), words, smaller=novel),
        Row("mask-audio", speech, (LIBROSA,)),
        Row("shuffle-frames", films, (PYAV,), ("--gap", "8")),
        Row("jigsaw", phone, (NINE_TILES,), workers=(2,)),
        Row("mask-patches", phone, (ONE_VIEW,), workers=(2,)),
        Row("augment-pairs", phone, (TWO_VIEWS,), pairs, workers=(2,)),
        Row("rotate", phone, (ONE_VIEW,), workers=(2,)),
        Row("cluster", phone, workers=(2,)),
    ]
