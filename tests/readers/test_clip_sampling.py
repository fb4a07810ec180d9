"""Which frames make a clip, from their times alone."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np
import pytest

from pseudolabel.readers.video.clip_sampling import Clips, Sampling, nearest, place_clips

SECONDS = Sampling((0, 1, 2, 3), 4, gap=0.5, seconds=True)
FRAMES = Sampling((0, 1, 2, 3), 4, gap=8, seconds=False)
FILM = np.arange(250) / 25  # 10 s
PHASES = (0.0, 0.3, 0.999)
HOW = [
    *(SECONDS, FRAMES, SECONDS._replace(every=0.7), FRAMES._replace(every=0.7)),
    SECONDS._replace(gap=0.1, even=True),
]


def uneven(seconds: float, seed: int = 0) -> np.ndarray:
    """Times of frames 10 to 90 ms apart."""
    steps = np.random.default_rng(seed).uniform(0.01, 0.09, int(seconds / 0.03))
    times = np.cumsum(steps) - steps[0]
    return times[times < seconds]


RATES = [(FILM, 25), (np.arange(300) / 29.97, 29.97), (np.round(np.arange(300) / 30, 3), 30), (uneven(10), 20)]


def place(times: np.ndarray, how: Sampling, phase: float = 0.3) -> Clips:
    """The clips of a whole film."""
    return place_clips(times, -inf, inf, how, phase)


@pytest.mark.parametrize("how", [SECONDS, FRAMES])
def test_with_the_advised_gap_a_clip_fits_into_a_short_video(how: Sampling) -> None:
    for count in range(2, 26):
        times = FILM[:count]
        assert not len(place(times, how).begins) or count > 24
        option, _, gap = how.remedy(count, float(times[-1])).removeprefix("try ").partition(" ")
        assert option == ("give" if count < 4 else "--gap-seconds" if how.seconds else "--gap")
        if count >= 4:
            shorter = how._replace(gap=float(gap))
            assert len(place(times, shorter).begins) > 0, (count, gap)
            assert (np.diff(place(times, shorter).frames) > 0).all()


def test_by_seconds_each_frame_is_the_nearest_to_its_time() -> None:
    for times in (FILM, uneven(10), np.arange(600) / 59.94):
        begins, frames = place(times, SECONDS)
        assert begins.tolist() == pytest.approx([1.1, 3.1, 5.1, 7.1])
        for begin, chosen in zip(begins, frames, strict=True):
            for offset, index in zip((0, 0.5, 1, 1.5), chosen, strict=True):
                assert abs(times[index] - (begin + offset)) == np.abs(times - (begin + offset)).min()


def test_by_frames_they_are_counted() -> None:
    begins, frames = place(FILM, FRAMES)
    first = 23  # 0.5 s and 0.3 * 32 frames, rounded up
    assert frames.tolist() == [[start + step for step in (0, 8, 16, 24)] for start in range(first, 225, 32)]
    assert begins.tolist() == FILM[frames[:, 0]].tolist()
    for phase in PHASES:
        _, frames = place(uneven(10), FRAMES, phase)
        assert np.diff(frames[:, 0]).tolist() == [32] * (len(frames) - 1), "an uneven rate changes nothing"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", [SECONDS, FRAMES])
def test_a_clip_is_whole_or_not_there(how: Sampling, phase: float) -> None:
    least = 39 if how is SECONDS else 25  # 1.5 s after the first frame, or 24 frames
    for count in range(200):
        for most in (None, 1, 3):
            begins, frames = place(FILM[:count], how._replace(most=most), phase)
            assert (len(begins) > 0) == (count >= least - (how is SECONDS)), count
            assert (frames < max(count, 1)).all()


@pytest.mark.parametrize("how", HOW)
def test_clips_begin_at_any_frame_but_those_of_the_first_half_second(how: Sampling) -> None:
    """Drawn evenly: each frame of a period is the first of a clip as often, in a short film as in a long one."""
    phases = (np.arange(400) + 0.5) / 400
    for seconds in (1.9, 2.6, 3.1, 10):
        times = FILM[: round(25 * seconds)]
        first = np.array([place(times, how, phase).frames[0, 0] for phase in phases])
        span = how.at_rate(0.04).span if how.seconds and not how.even else how.at_rate(0.04).span / 25
        last = times[-1] - span
        low = min(0.5, last / 2)
        period = min(how.at_rate(0.04).period(0.04), last - low)
        assert first.min() == pytest.approx(25 * low, abs=1)
        assert first.max() == pytest.approx(25 * (low + period), abs=1)
        inner = np.bincount(first)[first.min() + 1 : first.max()]
        assert np.ptp(inner) <= 1 + 0.1 * inner.mean()


@pytest.mark.parametrize("how", HOW)
def test_parts_of_a_film_have_the_clips_of_the_whole(how: Sampling) -> None:
    for times, rate in RATES if how.every or (how.seconds and not how.even) else RATES[:3]:
        for phase in PHASES:
            whole = place_clips(times, -inf, inf, how, phase, 1 / rate)
            for bounds in ((-inf, 3.3, 4.0, 8.1, inf), (-inf, 5.6, inf), (-inf, *times[75::20].tolist(), inf)):
                parts = [place_clips(times, *pair, how, phase, 1 / rate) for pair in pairwise(bounds)]
                assert np.allclose(np.concatenate([part.begins for part in parts]), whole.begins)
                assert np.concatenate([part.frames for part in parts]).tolist() == whole.frames.tolist()


def test_a_part_is_long_enough_for_a_clip() -> None:
    for how in HOW:
        for phase in PHASES:
            times = FILM[: round(25 * how.shortest_part(0.04)) + 2]
            assert len(place_clips(times, -inf, inf, how, phase, 0.04).begins)


def test_every_so_many_seconds() -> None:
    assert place(FILM, SECONDS._replace(every=3.0)).begins.tolist() == pytest.approx([1.4, 4.4, 7.4])
    assert place(FILM, FRAMES._replace(every=3.0)).frames[:, 0].tolist() == [35, 110, 185]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", [SECONDS, FRAMES])
def test_some_of_a_film_lie_evenly_and_do_not_overlap(how: Sampling, phase: float) -> None:
    room = 10 - 0.5 - (1.5 if how is SECONDS else 0.96)  # seconds in which clips start
    for most in (1, 2, 3, 50):
        begins, frames = place(FILM, how._replace(most=most), phase)
        assert len(begins) == most if most < 4 else len(begins) >= room // (2 if how is SECONDS else 1.28)
        assert (frames[1:, 0] > frames[:-1, -1]).all()
        apart = max(room / most, 2 if how is SECONDS else 1.28)
        assert begins.tolist() == pytest.approx(0.5 + (phase + np.arange(len(begins))) * apart, abs=0.1)


def test_a_film_that_stands_still_has_one_frame_twice() -> None:
    frozen = np.delete(FILM, np.s_[20:60])  # one frame is shown from 0.76 to 2.4 s
    (first, *_), _ = place(frozen, SECONDS).frames, None
    assert len(set(first.tolist())) < 4


def test_a_wild_time_stamp_costs_nothing() -> None:
    """A hole of ten years holds no clips, and no more memory than the frames there are."""
    holed = np.concatenate([FILM, FILM + 3e8])
    begins, frames = place(holed, SECONDS)
    assert len(begins) == len(frames) <= 12
    assert len(place(holed, SECONDS._replace(most=4)).begins) == 4


def test_by_frames_no_frame_is_in_two_clips_of_a_part() -> None:
    for how in (FRAMES, FRAMES._replace(gap=7)):
        for pair in pairwise((-inf, 3.3, 4.0, 8.1, inf)):
            _, frames = place_clips(uneven(10), *pair, how, 0.3, 0.04)
            assert (frames[1:, 0] > frames[:-1, -1]).all()


def test_an_even_gap_is_a_whole_number_of_frames() -> None:
    for rate, step in ((24, 1), (25, 1), (30, 1), (50, 2), (60, 2)):
        _, frames = place(np.arange(10 * rate) / rate, SECONDS._replace(gap=0.04, even=True))
        assert len(frames) > 20
        assert (np.diff(frames, axis=1) == step).all()


def test_nearest() -> None:
    times = np.array([0.0, 1.0, 3.0])
    assert nearest(times, np.array([-5, 0.4, 0.5, 0.6, 2.0, 2.1, 9])).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert place(times[:1], SECONDS).frames.shape == (0, 4)
