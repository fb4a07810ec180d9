"""What the referee judges: for each task our rows and those that other packages' code makes, from the same sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from loaders.sources import tokenizer_of

from pseudolabel import AugmentPairs, Jigsaw, MaskPatches, MaskText, Rotate, Task
from pseudolabel.tasks.base.task import IMAGE_FACTS

MODULES = {  # what makers import -> packages to install
    "torchvision": ("torch", "torchvision"),
    "lightly": ("torch", "torchvision", "lightly"),
    "transformers": ("torch", "transformers"),
    "sentence-transformers": ("torch", "sentence_transformers", "nltk"),
}
NOISE = ("noise_png", "noise_jpeg_420", "noise_jpeg_422", "photographs")
TEXTS = ("words", "novels")
REAL = ("photographs", "novels")


class Ours(NamedTuple):
    """A task of ours, and its options as they are typed."""

    make: Callable[[str], Task]  # of the name of a source
    options: str = ""  # those that the table names
    copies: int = 1
    more: str = ""  # other options; {} stands for the source


class Peer(NamedTuple):
    """A function of `loaders`, and the package whose code it runs."""

    package: str
    maker: str
    what: str
    like: Ours | None = None  # the task of ours that follows the same method; None: the first of the job


class Job(NamedTuple):
    """What is made, by whom, from which sources, and what is guessed from what."""

    name: str
    sources: Sequence[str]
    inputs: Sequence[str]
    labels: Sequence[str]
    ours: Sequence[Ours]
    peers: Sequence[Peer]
    only_real: Collection[str] = ()  # kinds of facts that give the label away by what real pictures show: not on noise


SMALL: dict[str, Any] = {"height": 28, "width": 28, "patch": 2}  # 14 x 14 patches: masks do not depend on pixels
SIDES = "--height 28 --width 28 --patch 2"
TOKENIZER = "--tokenizer SOURCES/{}/tokenizer/tokenizer.json"
BLOCK = Ours(lambda source: MaskPatches(strategy="block", **SMALL), "--strategy block", 4, SIDES)
JOBS = (
    Job(
        "rotate",
        NOISE,
        ["image"],
        ["label"],
        [Ours(lambda source: Rotate())],
        [Peer("torchvision", "torchvision_rotate", "functional.rotate")],
        IMAGE_FACTS,
    ),
    Job(
        "jigsaw",
        ("noise_png", "photographs"),
        ["tiles"],
        ["permutation"],
        [Ours(lambda source: Jigsaw())],
        [
            Peer("lightly", "lightly_jigsaw", "Jigsaw"),
            Peer("torchvision", "torchvision_jigsaw", "functional.crop"),
        ],
        IMAGE_FACTS,
    ),
    Job(
        "augment-pairs",
        ("noise_mixed", "photographs"),
        ["view_1", "view_2"],
        ["key"],
        [Ours(lambda source: AugmentPairs(negatives=0), "--negatives 0", 2)],
        [
            Peer("lightly", "lightly_pairs", "SimCLRTransform"),
            Peer("torchvision", "torchvision_pairs", "SimCLR's transforms"),
        ],
    ),
    Job(
        "mask-patches",
        ("noise_mixed",),
        ["image"],
        ["mask"],
        [
            Ours(lambda source: MaskPatches(**SMALL), "--strategy random", 4, SIDES),
            BLOCK,
            Ours(
                lambda source: MaskPatches(strategy="grid", unit=4, **SMALL), "--strategy grid", 4, f"--unit 4 {SIDES}"
            ),
        ],
        [
            Peer("lightly", "lightly_random", "random_token_mask"),
            Peer("lightly", "lightly_block", "random_block_mask", BLOCK),
            Peer("lightly", "ijepa_context", "IJEPAMaskCollator, context", BLOCK),
            Peer("lightly", "ijepa_context_defaults", "IJEPAMaskCollator, context, class defaults", BLOCK),
            Peer("lightly", "ijepa_target", "IJEPAMaskCollator, target", BLOCK),
        ],
    ),
    Job(
        "mask-text",
        TEXTS,
        ["input_ids", "attention_mask"],
        ["labels"],
        [
            Ours(lambda source: MaskText(tokenizer=tokenizer_of(source), length=128), "--length 128", 1, TOKENIZER),
            Ours(
                lambda source: MaskText(tokenizer=tokenizer_of(source), length=128, unit="word"),
                "--length 128 --unit word",
                1,
                TOKENIZER,
            ),
        ],
        [
            Peer("transformers", "transformers_mlm", "DataCollatorForLanguageModeling"),
            Peer("transformers", "transformers_words", "the same, whole_word_mask=True"),
        ],
    ),
    Job(
        "delete words",
        ("words",),
        ["noisy"],
        ["deleted"],
        [],
        [
            Peer("sentence-transformers", "sentence_transformers_dataset", "DenoisingAutoEncoderDataset"),
            Peer("sentence-transformers", "sentence_transformers_example", "example of DenoisingAutoEncoderLoss"),
        ],
    ),
)


class Case(NamedTuple):
    """One row of the table, as numbers that another process looks up: of the job, the maker and the source."""

    job: int
    ours: bool
    maker: int
    source: str

    @property
    def name(self) -> str:
        job = JOBS[self.job]
        return f"{job.name}, {self.by}, {self.source}"

    @property
    def by(self) -> str:
        if self.ours:
            return " ".join(["pseudolabel", JOBS[self.job].ours[self.maker].options]).strip()
        peer = JOBS[self.job].peers[self.maker]
        return f"{peer.package}: {peer.what}"


def declared_by(case: Case) -> dict[str, str]:
    """Return kinds of facts that give the label away by the method -> why: those that our task of this method declares.

    Kinds that do so by what real pictures show do not count on noise.
    """
    job = JOBS[case.job]
    like = job.ours[case.maker] if case.ours else job.peers[case.maker].like or next(iter(job.ours), None)
    if not like:
        return {}
    task = like.make(case.source)
    absent = () if case.source in REAL else job.only_real
    return {kind: why for kind, why in task.description.known_shortcuts(task).items() if kind not in absent}


def cases() -> Iterator[Case]:
    for number, job in enumerate(JOBS):
        for source in job.sources:
            yield from (Case(number, False, at, source) for at in range(len(job.peers)))
            yield from (Case(number, True, at, source) for at in range(len(job.ours)))


def missing_modules(case: Case) -> list[str]:
    if case.ours:
        return []
    return [name for name in MODULES[JOBS[case.job].peers[case.maker].package] if not find_spec(name)]
