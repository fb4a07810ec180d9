"""A loop that trains on nothing: it notes the rows of each batch, stores states, and is killed at random moments."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from collections import Counter
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import pseudolabel
from pseudolabel.torch import Rows

BATCH_SECONDS = 0.003  # that training on a batch takes
BATCHES = 100  # of all epochs together
PATIENCE = 60  # seconds after which a loop that neither ends nor goes on is killed, and the test fails


def as_they_are(batch: list) -> list:
    return batch


def named(batch: list | dict) -> list:
    """Key and place of each row: no tensor, which a killed process could not hand over."""
    if isinstance(batch, dict):
        return [*zip(batch["key"], batch["place"].tolist(), strict=True)]
    return [(row["key"], row["place"].tolist()) for row in batch]


def train(dataset: Path, folder: Path, workers: int, epochs: int, every: int, size: int, whole: bool) -> None:
    """Go on from the state in `folder`. Note the epoch and (key, shard, number) of each row, and store each
    `every`-th state. `whole`: the rows come as whole batches."""
    os.setsid()  # so that the workers are killed too
    torch.set_num_threads(1)  # a fork must not wait for the threads of its parent
    warnings.simplefilter("ignore")  # a DataLoader warns of more workers than cores
    opened = pseudolabel.open(dataset)
    rows = Rows(opened, buffer=7, columns=["key"], batch=size if whole else None)
    notes, stored = folder / "rows", folder / "state"
    if stored.exists():
        begun = json.loads(stored.read_text())
        rows.load_state_dict(begun["rows"])
        os.truncate(notes, begun["noted"])  # what was trained on since is lost with the model
    with notes.open("a") as file:
        for epoch in range(rows.epoch, epochs):
            rows.set_epoch(epoch)
            loader = DataLoader(rows, None if whole else size, num_workers=workers, collate_fn=named)
            for step, batch in enumerate(loader):
                time.sleep(BATCH_SECONDS)
                file.writelines(f"{json.dumps([epoch, key, *place[1:3]])}\n" for key, place in batch)
                file.flush()
                state = rows.state_dict(after=[place for _, place in batch])
                if step % every == 0:
                    beside = stored.with_suffix(".new")
                    beside.write_text(json.dumps({"rows": state, "noted": file.tell()}))
                    beside.rename(stored)


def kill_and_resume(dataset: Path, folder: Path, kills: int, seed: int, epochs: int = 1) -> int:
    """Kill the loop at random moments, each time after it was resumed with 1, 2 or 3 workers; then let it end. Assert
    that each row of each epoch was trained on once. Return the number of kills that hit it."""
    rng, hit, context = random.Random(seed), 0, multiprocessing.get_context("fork")
    opened = pseudolabel.open(dataset)
    expected = [Counter(row["key"] for row in opened.rows(epoch)) for epoch in range(epochs)]
    total = sum(counts.total() for counts in expected)
    size = 1 + total // BATCHES
    for turn in range(kills + 1):
        workers = 2 if turn == 0 else rng.choice((1, 2, 3))
        given = (dataset, folder, workers, epochs, rng.choice((1, 3)), size, rng.random() < 0.5)
        process = context.Process(target=train, args=given)
        process.start()
        assert process.pid
        try:
            if turn < kills:
                wait_until(process, folder, total * (turn + rng.random()) / kills)
                time.sleep(rng.random() * 0.02)
                os.kill(process.pid, signal.SIGKILL)
            process.join(PATIENCE)
            assert process.exitcode is not None, f"the loop with {given} did not end"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
        hit += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
    lines = [json.loads(line) for line in (folder / "rows").read_text().splitlines()]
    assert len({(epoch, shard, number) for epoch, _, shard, number in lines}) == len(lines)
    for epoch, counts in enumerate(expected):
        assert Counter(key for at, key, *_ in lines if at == epoch) == counts
    return hit


def wait_until(process: BaseProcess, folder: Path, count: float) -> None:
    """Wait until the loop has noted `count` rows, or has ended. Fail if it notes nothing for `PATIENCE` seconds."""
    last, since = -1, time.monotonic()
    while process.is_alive() and (now := noted(folder)) < count:
        if now != last:
            last, since = now, time.monotonic()
        assert time.monotonic() - since < PATIENCE, f"the loop stays at {now} rows of {count:.0f}"
        time.sleep(0.002)


def noted(folder: Path) -> int:
    """The number of rows that were noted."""
    try:
        return (folder / "rows").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
