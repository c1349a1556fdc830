"""The race by hand: which paused training goes on, and which one leaves."""

from __future__ import annotations

import pytest

from benchmarks.rungs import Climb, climb
from evo_nas.evaluators.rungs import Ladder, Race


def race(patience: int = 100, **ladder: int) -> Race:
    return Race(Ladder(**{"epochs": 4, "first": 1, "eta": 2, **ladder}), patience)


def test_rungs_are_powers_of_eta_before_the_last_epoch() -> None:
    ladder = Ladder(epochs=9, first=1, eta=3)
    assert ladder.rungs == (1, 3)
    assert [ladder.find_next(done) for done in (0, 1, 3)] == [1, 3, 9]
    assert Ladder(epochs=10, first=2, eta=2).rungs == (2, 4, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"first": 4}, "fidelity_epochs.* must be before the last epoch"),
        ({"first": 0}, "first must be at least 1"),
        ({"eta": 1}, "eta must be at least 2"),
    ],
)
def test_rungs_that_cannot_be_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        race(**options)
    with pytest.raises(ValueError, match=r"fidelity_patience.*at least eta - 1, that is 2, not 1"):
        race(patience=1, eta=3)


def test_the_best_of_every_eta_goes_on_from_the_highest_rung_down() -> None:
    racing = race()
    found = []
    for trial, score in ((1, 0.5), (2, 0.7), (3, 0.6), (4, 0.4)):
        racing.arrive(trial, 1, score)
        found.append(racing.find_promotable())
        if found[-1]:
            racing.release(found[-1])
    # One of two; of three still one, which has gone on; two of four, of which one has gone on.
    assert found == [None, 2, None, 3]
    racing.arrive(2, 2, 0.8)
    assert racing.find_promotable() is None
    racing.arrive(3, 2, 0.9)
    racing.arrive(5, 1, 0.99)
    racing.arrive(6, 1, 0.1)
    assert racing.find_promotable() == 3, "the higher rung goes before the lower one"
    racing.release(3)
    assert racing.find_promotable() == 5
    assert dict(racing.paused) == {1: 1, 4: 1, 2: 2, 5: 1, 6: 1}


def test_of_equal_scores_the_earlier_trial_goes_on() -> None:
    racing = race()
    racing.arrive(8, 1, 0.5)
    racing.arrive(3, 1, 0.5)
    assert racing.find_promotable() == 3


def test_who_is_not_in_the_top_leaves_when_its_patience_is_over() -> None:
    racing = race(patience=2)
    racing.arrive(1, 1, 0.5)
    racing.arrive(2, 1, 0.7)
    assert racing.find_loser() is None
    racing.arrive(3, 1, 0.4)
    assert racing.find_loser() == 1
    racing.release(1)
    racing.arrive(4, 1, 0.3)
    assert racing.find_loser() is None, "the best of the rung waits for a worker, however long"
    assert racing.find_promotable() == 2
    racing.arrive(5, 1, 0.9)
    racing.arrive(6, 1, 0.8)
    # Three of six go on: 5, 6 and 2, not 3, which two others came after, nor 4.
    assert [racing.find_loser(), racing.find_promotable()] == [3, 5]


def test_in_the_end_the_first_of_each_rung_goes_on_in_any_case() -> None:
    racing = race(eta=3, epochs=9)
    racing.arrive(1, 1, 0.2)
    racing.arrive(2, 1, 0.3)
    assert racing.find_promotable() is None
    assert racing.find_finalist() == 2
    racing.release(2)
    assert racing.find_finalist() is None
    racing.arrive(2, 3, 0.4)
    assert racing.find_finalist() == 2


def test_the_benchmark_replays_a_race_on_complete_curves() -> None:
    curves = [(0.5, 0.6), (0.7, 0.8), (0.1, 0.99), (0.2, 0.3)]
    result = climb(curves, Ladder(epochs=2, first=1, eta=2), patience=1)
    # The second goes on; the first leaves when the second came, the third when the fourth came.
    assert result == Climb(epochs=(1, 2, 1, 1), states=2, waits=(1, 0, 1, 0))
