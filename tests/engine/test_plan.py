"""The plan: a pure function of keys, weights, seed and cap."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pseudolabel.contracts import MEGABYTE, Extent
from pseudolabel.engine import plan
from pseudolabel.engine.plan import Plan
from pseudolabel.readers.sources import order


def extents(count: int, weight: int = MEGABYTE) -> list[Extent]:
    return [Extent(f"f{i:05d}.bin", f"/f{i}", 0, None, weight) for i in range(count)]


def test_shards_grow_and_look_back_only() -> None:
    shards = list(plan.cut_into_shards(extents(100), 256))
    assert [len(shard) for shard in shards] == [1] * 16 + [2] * 16 + [4] * 13
    assert [len(shard) for shard in plan.cut_into_shards(extents(100), 2)] == [1] * 16 + [2] * 42
    more = list(plan.cut_into_shards(extents(140), 256))
    assert more[: len(shards) - 1] == shards[:-1], "what comes later changes no earlier shard"


def test_what_is_left_over_joins_the_shard_before() -> None:
    assert [len(shard) for shard in plan.cut_into_shards(extents(17), 1, 16)] == [17]
    assert [len(shard) for shard in plan.cut_into_shards(extents(34), 1, 16)] == [16, 18]
    assert [len(shard) for shard in plan.cut_into_shards(extents(3), 1, 16)] == [3]


@pytest.mark.parametrize("run", [7, 10_000])
def test_order_is_of_the_keys_alone(run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "SORT_RUN", run)  # with 7, by way of 72 temporary files
    given = extents(500)
    mixed = random.Random(0).sample(given, 500)
    one, other = order.random_order(0), order.random_order(1)
    assert list(order.sort_extents(mixed, one)) == list(order.sort_extents(given, one)) != given
    assert list(order.sort_extents(mixed, other)) != list(order.sort_extents(mixed, one))
    assert list(order.sort_extents(mixed, order.source_order)) == given
    ranges = [Extent(f"a.txt#{i}-{i + 5}", "", i, i + 5, 5) for i in (0, 1000, 200, 5)]
    assert [extent.start for extent in order.sort_extents(ranges, order.source_order)] == [0, 5, 200, 1000]


def test_a_plan_reads_back_what_it_was_given() -> None:
    made = Plan(plan.cut_into_shards(extents(40), 256))
    assert [extent for shard in made for extent in shard.extents] == extents(40)
    assert made[20].extents == extents(40)[24:26]
    assert made.weight == 40 * MEGABYTE
    assert made.digest != Plan(plan.cut_into_shards(extents(41), 256)).digest


def test_a_saved_plan_has_all_that_its_extents_had(tmp_path: Path) -> None:
    """The seed as well: where clips begin depends on it."""
    film = [Extent("a.mp4#0-9", "/a.mp4", 0, 9_000_000, 20, 7), Extent("a.mp4#9-", "/a.mp4", 9_000_000, None, 20, 7)]
    plan.save_plan(tmp_path / "plan", Plan([film, extents(2)]), places=True)
    assert [shard.extents for shard in plan.load_plan(tmp_path / "plan")] == [film, extents(2)]
