import json
from pathlib import Path

import numpy as np
import pytest

from analysis.sessions import measure_elapsed_seconds

NAN = float("nan")
ZERO = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def at(*seconds: float) -> np.ndarray:
    return ZERO + np.array(seconds, dtype=np.float64)


def stamp(seconds: int) -> str:
    return f"2023-11-14T22:{13 + (20 + seconds) // 60:02}:{(20 + seconds) % 60:02}Z"


def log(folder: Path, *events: tuple[str, int] | str) -> None:
    """Write a log: events with the seconds at which they came, or whole lines."""
    lines = [e if isinstance(e, str) else json.dumps({"time": stamp(e[1]), "event": e[0]}) for e in events]
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_the_time_between_sessions_does_not_count(tmp_path: Path) -> None:
    log(tmp_path, ("start", 0), ("end", 10), ("start", 100), ("end", 120))
    # The trial in flight at the end of the first session is told in the second.
    spent = measure_elapsed_seconds(tmp_path, at(0, 0, 101), at(4, 105, 110))
    assert spent.tolist() == pytest.approx([4, 10 + 5, 10 + 10])


def test_a_session_that_was_killed_ends_with_its_last_tell(tmp_path: Path) -> None:
    log(tmp_path, ("start", 0), ("start", 1000), ("stop", 1030), ("start", 2000))
    spent = measure_elapsed_seconds(tmp_path, at(0, 2, 1000, 2000, 2001), at(5, 8, 1010, 2002, NAN))
    assert spent[:4].tolist() == pytest.approx([5, 8, 8 + 10, 8 + 30 + 2])
    assert np.isnan(spent[4]), "pending"


def test_a_run_without_a_log_has_one_session(tmp_path: Path) -> None:
    assert measure_elapsed_seconds(tmp_path, at(10, 10), at(14, 18)).tolist() == pytest.approx([4, 8])
    (tmp_path / "log.jsonl").write_bytes(b"\xff\xfe")
    assert measure_elapsed_seconds(tmp_path, at(10, 10), at(14, 18)).tolist() == pytest.approx([4, 8])


def test_lines_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    damaged = ["{", "3", '{"event": "start"}', '{"event": "start", "time": "noon"}', '{"event": "start", "time": 4}']
    log(tmp_path, ("end", 0), ("start", 2), ("warning", 3), ("repaired", 4), *damaged)
    assert measure_elapsed_seconds(tmp_path, at(2), at(9)).tolist() == pytest.approx([7])


def test_a_wall_clock_that_was_set_back_adds_nothing(tmp_path: Path) -> None:
    log(tmp_path, ("start", 100), ("end", 50))
    spent = measure_elapsed_seconds(tmp_path, at(100, 100, 40), at(105, 40, 45))
    assert spent.tolist() == pytest.approx([5, 5, 5])


def test_what_was_never_told_has_no_time(tmp_path: Path) -> None:
    assert np.isnan(measure_elapsed_seconds(tmp_path, at(1, 2), at(NAN, NAN))).all()
    assert len(measure_elapsed_seconds(tmp_path, at(), at())) == 0
