"""The race by hand: which paused training goes on, and which one leaves."""

from __future__ import annotations

import pytest

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
    climb = race()
    found = []
    for trial, score in ((1, 0.5), (2, 0.7), (3, 0.6), (4, 0.4)):
        climb.arrive(trial, 1, score)
        found.append(climb.find_promotable())
        if found[-1]:
            climb.release(found[-1])
    # One of two; of three still one, which has gone on; two of four, of which one has gone on.
    assert found == [None, 2, None, 3]
    climb.arrive(2, 2, 0.8)
    assert climb.find_promotable() is None
    climb.arrive(3, 2, 0.9)
    climb.arrive(5, 1, 0.99)
    climb.arrive(6, 1, 0.1)
    assert climb.find_promotable() == 3, "the higher rung goes before the lower one"
    climb.release(3)
    assert climb.find_promotable() == 5
    assert dict(climb.paused) == {1: 1, 4: 1, 2: 2, 5: 1, 6: 1}


def test_of_equal_scores_the_earlier_trial_goes_on() -> None:
    climb = race()
    climb.arrive(8, 1, 0.5)
    climb.arrive(3, 1, 0.5)
    assert climb.find_promotable() == 3


def test_who_is_not_in_the_top_leaves_when_its_patience_is_over() -> None:
    climb = race(patience=2)
    climb.arrive(1, 1, 0.5)
    climb.arrive(2, 1, 0.7)
    assert climb.find_loser() is None
    climb.arrive(3, 1, 0.4)
    assert climb.find_loser() == 1
    climb.release(1)
    climb.arrive(4, 1, 0.3)
    assert climb.find_loser() is None, "the best of the rung waits for a worker, however long"
    assert climb.find_promotable() == 2
    climb.arrive(5, 1, 0.9)
    climb.arrive(6, 1, 0.8)
    # Three of six go on: 5, 6 and 2, not 3, which two others came after, nor 4.
    assert [climb.find_loser(), climb.find_promotable()] == [3, 5]


def test_in_the_end_the_first_of_each_rung_goes_on_in_any_case() -> None:
    climb = race(eta=3, epochs=9)
    climb.arrive(1, 1, 0.2)
    climb.arrive(2, 1, 0.3)
    assert climb.find_promotable() is None
    assert climb.find_finalist() == 2
    climb.release(2)
    assert climb.find_finalist() is None
    climb.arrive(2, 3, 0.4)
    assert climb.find_finalist() == 2
