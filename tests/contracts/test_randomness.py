"""Randomness that every process agrees on."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from pseudolabel.contracts import Split, chance_for, splits


def test_splits_part_the_source() -> None:
    train, validation = splits(0.1)
    positions = np.arange(20_000)
    inside = validation.holds_at("a.txt", positions)
    assert np.array_equal(train.holds_at("a.txt", positions), ~inside)
    assert 0.09 < inside.mean() < 0.11
    files = [f"{i}.jpg" for i in range(5000)]
    share = np.mean([validation.holds(file) for file in files])
    assert 0.08 < share < 0.12
    assert splits(0.0) == (Split("train", 0.0, 1.0),)


def test_chance_is_a_function_of_its_four_words() -> None:
    draws = {
        (seed, task, key, copy): chance_for(seed, task)(key, copy).integers(2**62)
        for seed in (0, 1)
        for task in ("a", "b")
        for key in ("x", "y")
        for copy in (0, 1)
    }
    assert len(set(draws.values())) == 16
    assert draws[0, "a", "x", 1] == chance_for(0, "a")("x", 1).integers(2**62)


def test_a_generator_has_the_digest_as_its_key_and_belongs_to_the_caller() -> None:
    """Two generators that are kept draw as those that NumPy makes of the key."""
    words = [(key, copy) for key in ("a.jpg", "ü/\n#0-9") for copy in (0, 1)]
    kept = {word: chance_for(3, "jigsaw validation")(*word) for word in words}
    for (key, copy), rng in reversed(kept.items()):
        digest = blake2b(f"3\0jigsaw validation\0{copy}\0{key}".encode(), digest_size=16).digest()
        expected = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        assert np.array_equal(rng.normal(size=99), expected.normal(size=99))
        assert np.array_equal(rng.permutation(99), expected.permutation(99))
        assert str(rng.bit_generator.state) == str(expected.bit_generator.state)
