"""What an experiment is made of, and the trainer and the linear probe that all of them share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

ROWS, LOADER, SHUFFLED, RANDOM = "rows", "loader", "shuffled labels", "random weights"
ARMS = (ROWS, LOADER, SHUFFLED, RANDOM)
PENALTIES = np.logspace(-2, 5, 15)  # of the ridge classifier; one is chosen by leaving out each sample in turn

Batch = Sequence[torch.Tensor]


class Probe(NamedTuple):
    """Labelled samples: some to fit the linear classifier, and others, which the tool never saw, to test it."""

    fit_inputs: torch.Tensor
    fit_labels: np.ndarray
    test_inputs: torch.Tensor
    test_labels: np.ndarray


class Setup(NamedTuple):
    """One training: a network with its loss, an endless stream of batches, and what its features are judged by."""

    model: nn.Module  # has `features`: inputs of the probe -> (n, D)
    loss: Callable[[nn.Module, Batch], torch.Tensor]
    batches: Iterator[Batch]
    probe: Probe


class Case(NamedTuple):
    """One training by name. The fold is the speaker that is held out, where there are speakers."""

    family: str
    arm: str
    seed: int
    fold: int = 0

    @property
    def name(self) -> str:
        return f"{self.arm} | seed {self.seed} | fold {self.fold}"


class Budget(NamedTuple):
    """How long a network is trained; the same for all arms of a family."""

    steps: int
    batch: int
    rate: float  # of AdamW, at its highest


class Family(NamedTuple):
    """A task of ours with the experiment that shows whether it teaches."""

    name: str
    source: str  # what it is pretrained on, in words
    probe: str  # what is predicted from its features, in words
    command: str  # how the rows were made
    budget: Budget
    prepare: Callable[[Any, int], Mapping[str, Any]]  # places, folds -> facts; makes sources and rows
    setup: Callable[[Any, Case, int], Setup]  # places, case, rows of a batch
    more: Sequence[str] = ()  # further arms
    folds: int = 1
    seeds: int = 5  # of each fold


def run_case(family: Family, places: Any, case: Case, budget: Budget) -> dict[str, float]:
    """Train one network and probe it. Return the accuracy, the loss at both ends and the CPU-seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(case.seed)
    started = time.process_time()
    setup = family.setup(places, case, budget.batch)
    first, last = (0.0, 0.0) if case.arm == RANDOM else train(setup, budget)
    trained = time.process_time()
    found = accuracy(setup.model, setup.probe)
    return {
        "accuracy": round(found, 5),
        "first_loss": round(first, 4),
        "last_loss": round(last, 4),
        "training_seconds": round(trained - started, 2),
        "seconds": round(time.process_time() - started, 2),
    }


def train(setup: Setup, budget: Budget) -> tuple[float, float]:
    """Train with AdamW and one cycle of rates. Return the mean loss of the first and of the last tenth of the steps."""
    optimizer = torch.optim.AdamW(setup.model.parameters(), budget.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.rate, total_steps=budget.steps)
    setup.model.train()
    losses = []
    for _ in range(budget.steps):
        loss = setup.loss(setup.model, next(setup.batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    tenth = max(1, budget.steps // 10)
    return float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))


def accuracy(model: nn.Module, probe: Probe) -> float:
    """Return the share of the test samples whose class a ridge classifier predicts from the frozen features."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    classifier.fit(features(model, probe.fit_inputs), probe.fit_labels)
    return float(classifier.score(features(model, probe.test_inputs), probe.test_labels))


@torch.no_grad()
def features(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    model.eval()
    return torch.cat([model.features(part) for part in inputs.split(256)]).numpy().astype(np.float64)  # type: ignore[operator]


def epochs(copies: np.ndarray, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of batches for ever. Epoch e has the rows of copy e, and begins anew after the last copy.

    So no batch has two copies of one sample, as with a loader.
    """
    last = int(copies.max()) + 1
    for epoch in count():
        rows = rng.permutation(np.flatnonzero(copies == epoch % last))
        for start in range(0, max(1, len(rows) - batch + 1), batch):
            yield rows[start : start + batch]


def fresh_batches(
    make: Callable[[int], Sequence[Any]], size: int, batch: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield the batches of a loader that makes each sample when it is asked for, for ever."""
    for rows in epochs(np.zeros(size, int), batch, rng):
        made = zip(*(make(int(i)) for i in rows), strict=True)
        yield [torch.from_numpy(np.stack(column)) for column in made]
