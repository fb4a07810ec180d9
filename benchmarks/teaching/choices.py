"""Which task to try first, for each modality: what the figures say, and what was published where they do not decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from teaching.experiment import LOADER, RANDOM, ROWS, SHUFFLED
from teaching.table import accuracy_text, difference, difference_text, values


class Advice(NamedTuple):
    """The families of a modality, and published evidence from larger budgets."""

    name: str
    families: Sequence[str]
    published: str


ADVICE = (
    Advice(
        "Images",
        ("rotate", "augment-pairs", "jigsaw", "cluster", "mask-patches"),
        "With large networks and long training, the order is different. LightlySSL's logs of ImageNet, 100 epochs each "
        "(lightly-ai/in1k-benchmark-logs, Hugging Face): linear probes of SimCLR .632, SwAV .672, DINO .682, MAE .460; "
        "fine-tuned, SimCLR .739 and MAE .813. So with a large network and many epochs, try masks if you will "
        "fine-tune the network, and pairs or crops if you will use its features without fine-tuning.",
    ),
    Advice(
        "Sound",
        ("mask-audio",),
        "HuBERT (Hsu et al. 2021) begins with clusters of MFCC, learns from 960 hours, and then clusters its own "
        "features: `--features` is that second step.",
    ),
    Advice(
        "Text",
        ("mask-text",),
        "BERT, RoBERTa and ModernBERT are trained on masks; RoBERTa (Liu et al. 2019) did without sentence pairs.",
    ),
    Advice(
        "Videos",
        ("shuffle-frames",),
        "Misra et al. 2016 (`--preset verify`) and Lee et al. 2017 (`--preset opn`) report that order teaches actions "
        "on UCF101 and HMDB51; VideoMAE (Tong et al. 2022, `mask-tubes`) learns from the videos of such a data set "
        "alone, in hundreds of epochs or more.",
    ),
)


def teaches(family: Mapping[str, Any]) -> bool:
    """Return whether rows give better features than random weights and than shuffled labels, by two standard errors."""
    against = [difference(family, ROWS, other) for other in (RANDOM, SHUFFLED)]
    return all(mean > errors for mean, errors in against)


def figures(found: Mapping[str, Any], name: str) -> str:
    """Return the figures of a family in words."""
    family = found[name]
    return (
        f"`{name}` {accuracy_text(family, ROWS)} (random weights {accuracy_text(family, RANDOM)}, "
        f"the usual loader {accuracy_text(family, LOADER)})"
    )


def choices(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a paragraph for each modality."""
    for modality in ADVICE:
        there = [name for name in modality.families if name in found]
        order = sorted(there, key=lambda name: -values(found[name], ROWS).mean())
        good, poor = [n for n in order if teaches(found[n])], [n for n in order if not teaches(found[n])]
        if good:
            first, *rest = good
            lines = [f"- **{modality.name}: try `{first}` first.** {figures(found, first)}."]
            lines += [f"Then {', '.join(figures(found, name) for name in rest)}."] if rest else []
        else:
            lines = [f"- **{modality.name}: these figures do not decide.**"]
        if poor:
            shown = "; ".join(
                f"{figures(found, name)}, {difference_text(found[name], ROWS, SHUFFLED)} against shuffled labels"
                for name in poor
            )
            lines.append(f"No significant gain (two standard errors) at this budget: {shown}.")
        yield " ".join([*lines, modality.published])
