"""Which frames make a clip, from their times alone."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np
import pytest

from pseudolabel.readers.video.clip_sampling import Sampling, nearest, place_clips

SECONDS = Sampling((0, 1, 2, 3), 4, gap=0.5, seconds=True)
FRAMES = Sampling((0, 1, 2, 3), 4, gap=8, seconds=False)
FILM = np.arange(250) / 25  # 10 s


def uneven(seconds: float, seed: int = 0) -> np.ndarray:
    """Times of frames 10 to 90 ms apart."""
    steps = np.random.default_rng(seed).uniform(0.01, 0.09, int(seconds / 0.03))
    times = np.cumsum(steps) - steps[0]
    return times[times < seconds]


def test_by_seconds_each_frame_is_the_nearest_to_its_time() -> None:
    for times in (FILM, uneven(10), np.arange(600) / 59.94):
        begins, frames = place_clips(times, -inf, inf, SECONDS)
        assert begins.tolist() == [0, 2, 4, 6, 8]
        for begin, chosen in zip(begins, frames, strict=True):
            for offset, index in zip((0, 0.5, 1, 1.5), chosen, strict=True):
                assert abs(times[index] - (begin + offset)) == np.abs(times - (begin + offset)).min()


def test_by_frames_they_are_counted() -> None:
    begins, frames = place_clips(FILM, -inf, inf, FRAMES)
    assert frames.tolist() == [[start + step for step in (0, 8, 16, 24)] for start in range(0, 225, 32)]
    assert begins.tolist() == FILM[frames[:, 0]].tolist()


@pytest.mark.parametrize("how", [SECONDS, FRAMES])
def test_a_clip_is_whole_or_not_there(how: Sampling) -> None:
    least = 39 if how is SECONDS else 25  # 1.5 s after the first frame, or 24 frames
    for count in range(200):
        begins, frames = place_clips(FILM[:count], -inf, inf, how)
        assert (len(begins) > 0) == (count >= least - (how is SECONDS)), count
        assert (frames < max(count, 1)).all()


@pytest.mark.parametrize("how", [SECONDS, SECONDS._replace(every=0.7), FRAMES._replace(every=0.7)])
def test_pieces_of_a_film_have_the_clips_of_the_whole(how: Sampling) -> None:
    for times in (FILM, uneven(10)):
        whole = place_clips(times, -inf, inf, how)
        for bounds in ((-inf, 3.3, 4.0, 8.1, inf), (-inf, 5.6, inf)):
            parts = [place_clips(times, *pair, how) for pair in pairwise(bounds)]
            assert np.concatenate([part.begins for part in parts]).tolist() == whole.begins.tolist()
            assert np.concatenate([part.frames for part in parts]).tolist() == whole.frames.tolist()


def test_every_so_many_seconds() -> None:
    assert place_clips(FILM, -inf, inf, SECONDS._replace(every=3.0)).begins.tolist() == [0, 3, 6]
    assert place_clips(FILM, -inf, inf, FRAMES._replace(every=3.0)).frames[:, 0].tolist() == [0, 75, 150, 225]


@pytest.mark.parametrize("how", [SECONDS, FRAMES])
def test_some_of_a_film_lie_evenly_and_do_not_overlap(how: Sampling) -> None:
    for most in (1, 2, 3, 50):
        begins, frames = place_clips(FILM, -inf, inf, how._replace(most=most))
        assert len(begins) == min(most, 5 if how is SECONDS else 8)
        assert (frames[1:, 0] > frames[:-1, -1]).all()
        before, after = FILM[frames[0, 0]], FILM[-1] - FILM[frames[-1, -1]]
        assert before == pytest.approx(after, abs=0.09), "as far from the begin as from the end"
        assert np.allclose(np.diff(begins), np.ptp(begins) / max(len(begins) - 1, 1), atol=0.09)


def test_a_film_that_stands_still_has_one_frame_twice() -> None:
    frozen = np.delete(FILM, np.s_[20:60])  # one frame is shown from 0.76 to 2.4 s
    (first, *_), _ = place_clips(frozen, -inf, inf, SECONDS).frames, None
    assert len(set(first.tolist())) < 4


def test_a_wild_time_stamp_costs_nothing() -> None:
    """A hole of ten years holds no clips, and no more memory than the frames there are."""
    holed = np.concatenate([FILM, FILM + 3e8])
    begins, frames = place_clips(holed, -inf, inf, SECONDS)
    assert len(begins) == len(frames) <= 12
    assert len(place_clips(holed, -inf, inf, SECONDS._replace(most=4)).begins) == 4


def test_by_frames_a_clip_ends_in_its_piece() -> None:
    for how in (FRAMES, FRAMES._replace(gap=7)):
        parts = [place_clips(FILM, *pair, how).frames for pair in pairwise((-inf, 3.3, 4.0, 8.1, inf))]
        chosen = np.concatenate(parts)
        assert (chosen[1:, 0] > chosen[:-1, -1]).all(), "no frame is in two clips"


def test_an_even_gap_is_a_whole_number_of_frames() -> None:
    for rate, step in ((24, 1), (25, 1), (30, 1), (50, 2), (60, 2)):
        _, frames = place_clips(np.arange(10 * rate) / rate, -inf, inf, SECONDS._replace(gap=0.04, even=True))
        assert (np.diff(frames, axis=1) == step).all()


def test_nearest() -> None:
    times = np.array([0.0, 1.0, 3.0])
    assert nearest(times, np.array([-5, 0.4, 0.5, 0.6, 2.0, 2.1, 9])).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert place_clips(times[:1], -inf, inf, SECONDS).frames.shape == (0, 4)
