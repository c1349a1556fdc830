"""What a tracker costs is told as a ratio to the same search without one."""

from __future__ import annotations

import pytest

from benchmarks.trackers import NONE, main, time_search


def test_ratios_are_to_the_search_without_a_tracker_in_the_same_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {(NONE, 0): 2.0, ("optuna", 0): 3.0, (NONE, 1): 4.0, ("optuna", 1): 5.0}
    monkeypatch.setattr("benchmarks.trackers.time_search", lambda tracker, trials, seed: seconds[tracker, seed])
    main(["--trackers", "optuna", "--rounds", "2"])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| none | 3.0 ± 1.0 | 1.000 ± 0.000 |",
        "| optuna | 4.0 ± 1.0 | 1.375 ± 0.125 |",
    ]


def test_a_search_is_timed_from_its_first_ask_to_its_last_tell() -> None:
    assert 0 < time_search(NONE, trials=3, seed=0) < 60
