"""A damaged history never gives a wrong answer: what it says is what was written, or that it is damaged.

Seeded damage, dozens of files: truncated anywhere, and a byte that became another one anywhere.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.compare import compare, records
from analysis.frames import HistoryError, load_curves, load_history, load_notes
from evo_nas.api.searches import search
from evo_nas.cli import main
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.toy import ToyEvaluator
from evo_nas.loop.listener import Listener
from evo_nas.storage.schema import ASK, TELL
from genotypes.individual import Evaluation, Individual, Outcome, Proposal
from genotypes.population import Population
from strategies.random_search import RandomSearch

TRIALS = 120
"""Trainings; with what is reused the run has some 150 trials."""

KILLED_AT = 95
"""So many trainings had ended when the other run was killed."""

REFUSAL = re.compile(
    r"the history \S+history\.db is (damaged: [^\n]+; "
    r"(its trials are good up to number (?P<good>\d+)|none of its trials is known to be good)"
    r"|not as evo_nas makes one: [^\n]+; nothing in it was run); "
    r"save what can be read with: python -m evo_nas repair (?P<run>\S+)"
)

Rows = dict[str, list[tuple[Any, ...]]]
Damage = Callable[[bytes], bytes]


@pytest.fixture(scope="module", autouse=True)
def curves_and_notes() -> Iterator[None]:
    """Let the toy have learning curves and failures, and random search repeat itself and note something."""
    evaluate, ask = ToyEvaluator.evaluate, RandomSearch.ask

    def evaluated(self: ToyEvaluator, job: Job) -> Evaluation:
        fitness = evaluate(self, job).fitness
        assert fitness is not None
        if job.id % 11 == 0:
            return Evaluation.failed(Outcome.NAN, "the loss is no number", curve=(0.1,))
        return Evaluation(
            Outcome.OK, fitness, test_fitness=fitness / 3, curve=(fitness / 2, fitness), metrics={"parameters": job.id}
        )

    def asked(
        self: RandomSearch, population: Population, pending: Sequence[Proposal], rng: np.random.Generator
    ) -> Proposal | None:
        if rng.random() < 0.2 and (best := population.best(1)):
            return Proposal(best[0].genotype, parent=best[0].id, memo=(rng.random(), -1.5))
        return ask(self, population, pending, rng)

    def told(self: RandomSearch, individual: Individual, rng: np.random.Generator) -> Mapping[str, float]:
        return {"luck": rng.random(), "age": float(individual.id)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyEvaluator, "evaluate", evaluated)
        patch.setattr(RandomSearch, "ask", asked)
        patch.setattr(RandomSearch, "tell", told)
        yield


class Killed(Listener):
    """Copies the run as it is on disk when so many trainings have ended: what a kill would leave."""

    def __init__(self, run: Path, copy: Path) -> None:
        self.run = run
        self.copy = copy

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        if trained == KILLED_AT and not self.copy.exists():
            shutil.copytree(self.run, self.copy, ignore=shutil.ignore_patterns("*-shm"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, ``whole``, and the same one as it was when it was ``killed``."""
    folder = tmp_path_factory.mktemp("runs")
    whole, killed = folder / "whole", folder / "killed"
    listeners = [Killed(whole, killed)]
    search(strategy="random", evaluator="toy", trials=TRIALS, run_dir=whole, keep_weights=0, listeners=listeners)
    assert not (whole / "history.db-wal").exists()
    assert (killed / "history.db-wal").stat().st_size > 100_000
    return folder


@pytest.fixture(scope="module")
def written(runs: Path) -> Rows:
    """Everything that the whole run wrote."""
    rows = rows_of(runs / "whole")
    outcomes = [row[2] for row in rows["tell"]]
    assert all(outcomes.count(outcome) > 5 for outcome in ("ok", "reused", "nan"))
    assert len(rows["curve"]) > 100
    assert len(rows["note"]) > 200
    return rows


def rows_of(run: Path) -> Rows:
    """Read every row with plain SQL."""
    with sqlite3.connect(f"file:{run / 'history.db'}?mode=ro", uri=True) as connection:
        rows = {
            "ask": connection.execute(f"SELECT {', '.join(ASK)} FROM trial ORDER BY id").fetchall(),
            "tell": connection.execute(
                f"SELECT {', '.join(TELL)} FROM trial WHERE told IS NOT NULL ORDER BY id"
            ).fetchall(),
            "curve": connection.execute("SELECT trial, epoch, accuracy FROM curve ORDER BY 1, 2").fetchall(),
            "note": connection.execute("SELECT trial, name, value FROM note ORDER BY 1, 2").fetchall(),
            "attempt": connection.execute(
                "SELECT trial, number, started_at, ended_at, outcome FROM attempt ORDER BY 1, 2"
            ).fetchall(),
        }
    connection.close()
    return rows


def damages(seed: int, size: int, begin: int = 0, number: int = 25) -> list[tuple[str, Damage]]:
    """Draw ways to damage a file: cut it off somewhere, change a byte somewhere."""
    rng = np.random.default_rng([seed, 4])
    found: list[tuple[str, Damage]] = []
    for at in rng.integers(begin, size, number).tolist():
        found.append((f"cut at {at}", lambda data, at=at: data[:at]))
    for at, change in zip(
        rng.integers(begin, size, number).tolist(), rng.integers(1, 256, number).tolist(), strict=True
    ):
        found.append(
            (
                f"byte {at} ^ {change}",
                lambda data, at=at, change=change: data[:at] + bytes([data[at] ^ change]) + data[at + 1 :],
            )
        )
    return found


def damaged(source: Path, place: Path, damage: Damage, file: str = "history.db", *, is_closed: bool = True) -> Path:
    """Copy a run to a place, always the same, with damage in a file, and without its checksum if it was killed."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    (place / file).write_bytes(damage((source / file).read_bytes()))
    if not is_closed:
        (place / "history.sum").unlink()
    return place


Capture = pytest.CaptureFixture[str]


def refusal(text: str, run: Path) -> int:
    """Check that a refusal is the one line that it should be, and give the last trial that it calls good."""
    match = REFUSAL.fullmatch(text)
    assert match, text
    assert match["run"] == str(run)
    return int(match["good"] or 0)


def asked(run: Path, capsys: Capture, *command: str) -> str | int:
    """Return what a command says on stdout, or the last trial that it calls good where it refuses."""
    capsys.readouterr()
    code = main([command[0], str(run), *command[1:]])
    said = capsys.readouterr()
    if code == 0:
        return said.out
    assert code == 3
    assert said.out == ""
    assert said.err.startswith("evo_nas: ")
    return refusal(said.err.removeprefix("evo_nas: ").removesuffix("\n"), run)


def looked_back(run: Path) -> tuple[pd.DataFrame, ...] | int:
    """Return what analysis makes of a run, or the last trial that it calls good where it refuses."""
    try:
        history = load_history(run, cells=True)
        return history, load_curves(run), load_notes(run), pd.DataFrame(records(compare(history)))
    except HistoryError as error:
        return refusal(str(error), run)


def same(frames: tuple[pd.DataFrame, ...], others: tuple[pd.DataFrame, ...]) -> bool:
    for frame, other in zip(frames, others, strict=True):
        pd.testing.assert_frame_equal(frame, other)
    return True


@pytest.fixture(scope="module")
def tallies() -> dict[str, int]:
    return {"opened": 0, "refused": 0}


def test_damage_of_a_finished_run_is_seen_and_repaired(
    runs: Path, written: Rows, tmp_path: Path, capsys: Capture
) -> None:
    size = (runs / "whole" / "history.db").stat().st_size
    place = shutil.copytree(runs / "whole", tmp_path / "run")
    shown, told = asked(place, capsys, "show", "--json"), looked_back(place)
    assert isinstance(shown, str)
    assert isinstance(told, tuple)
    opened = again = lost = 0
    for case, (name, damage) in enumerate(damages(1, size, number=25)):
        goods = []
        for is_closed in (True, False):
            run = damaged(runs / "whole", place, damage, is_closed=is_closed)
            answer = asked(run, capsys, "show", "--json")
            back = looked_back(run)
            resumed = asked(run, capsys, "resume")
            assert isinstance(answer, int) or answer == shown, name
            assert isinstance(back, int) or same(back, told), name
            if isinstance(resumed, str):  # there was nothing left to do
                assert rows_of(run) == written, name
                assert (run / "history.sum").exists(), name
                opened += 1
            else:
                assert (run / "history.db").read_bytes() == damage((runs / "whole" / "history.db").read_bytes()), name
            goods += [good for good in (answer, back, resumed) if isinstance(good, int)]
        if goods:
            assert len(set(goods)) == 1, name
            result = check_repair(run, written, goods[0], capsys, goes_on=case % 5 == 0)
            again += len(result["pending_again"])
            lost += len(result["lost"])
    assert opened > 1, "some bytes are of no meaning"
    assert again + lost > 40


def check_repair(run: Path, written: Rows, good: int, capsys: Capture, *, goes_on: bool) -> dict[str, Any]:
    """Repair a damaged run, hold what is saved to what was written, and resume it."""
    broken = (run / "history.db").read_bytes()
    answer = asked_to_repair(run, capsys)
    if answer is None:
        assert good == 0
        assert len(broken) < 14 * 4096, "behind the first pages there are trials"
        assert (run / "history.db").read_bytes() == broken
        return {"pending_again": [], "lost": []}
    result: dict[str, Any] = json.loads(answer)
    assert not result["sound"]
    assert (run / "history.damaged-1.db").read_bytes() == broken
    saved = rows_of(run)
    asks, tells = ({row[0]: row for row in written[kind]} for kind in ("ask", "tell"))
    assert all(asks[row[0]] == row for row in saved["ask"])
    assert all(tells[row[0]] == row for row in saved["tell"])
    told = {row[0] for row in saved["tell"]}
    assert saved["curve"] == [row for row in written["curve"] if row[0] in told]
    assert set(saved["note"]) <= set(written["note"])
    assert set(saved["attempt"]) <= set(written["attempt"])
    assert told >= set(range(1, good + 1)), "what was called good is saved"
    assert set(result["pending_again"]) == {row[0] for row in saved["ask"]} - told
    assert result["lost"] == sorted({*range(1, result["trials"] + 1)} - {row[0] for row in saved["ask"]})
    assert result["saved"] == len(told)
    if goes_on:
        assert isinstance(asked(run, capsys, "resume"), str)
        after = rows_of(run)
        assert after["ask"][: len(saved["ask"])] == saved["ask"]
        assert len(after["tell"]) == len(after["ask"]), "nothing is pending"
        assert sum(row[5] is not None for row in after["tell"]) == TRIALS
        now = {row[0]: row for row in after["tell"]}
        for id in result["pending_again"]:
            if tells[id][5] is not None and now[id][5] is not None:
                assert now[id][2:5] == tells[id][2:5], "the same training again: outcome, fitness, test"
        assert isinstance(asked(run, capsys, "show"), str)
    return result


def asked_to_repair(run: Path, capsys: Capture) -> str | None:
    capsys.readouterr()
    code = main(["repair", str(run), "--json"])
    said = capsys.readouterr()
    if code == 3:
        assert re.fullmatch(r"evo_nas: no trial of \S+ can be read, so there is nothing to save; [^\n]+\n", said.err)
        return None
    assert code == 0, said.err
    return said.out


def test_no_byte_of_the_header_or_the_schema_can_lie(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    place = shutil.copytree(runs / "whole", tmp_path / "run")
    shown = asked(place, capsys, "show", "--json")
    sound = (place / "history.db").read_bytes()
    told = load_history(place, cells=True)
    (place / "history.sum").unlink()
    rng = np.random.default_rng(7)
    refused = 0
    first = int.from_bytes(sound[105:107])  # where the schema begins, which fills the first page from its end
    for at in [*range(110), *rng.integers(first, 4096, 60).tolist()]:
        (place / "history.db").write_bytes(
            sound[:at] + bytes([sound[at] ^ int(rng.integers(1, 256))]) + sound[at + 1 :]
        )
        answer = asked(place, capsys, "show", "--json")
        assert isinstance(answer, int) or answer == shown, at
        refused += isinstance(answer, int)
        try:
            pd.testing.assert_frame_equal(load_history(place, cells=True), told)
        except HistoryError as error:
            refusal(str(error), place)
    assert refused > 100


def test_without_its_first_page_a_history_loses_nothing(
    runs: Path, written: Rows, tmp_path: Path, capsys: Capture
) -> None:
    run = damaged(runs / "whole", tmp_path / "run", lambda data: bytes(4096) + data[4096:])
    good = asked(run, capsys, "show")
    assert good == 0
    result = check_repair(run, written, 0, capsys, goes_on=True)
    assert (result["lost"], result["pending_again"]) == ([], [])


def test_without_any_page_that_leads_to_others_a_history_loses_nothing(
    runs: Path, written: Rows, tmp_path: Path, capsys: Capture
) -> None:
    def cut_down(data: bytes) -> bytes:
        pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        return b"".join(bytes(4096) if page[0] == 5 else page for page in pages)

    run = damaged(runs / "whole", tmp_path / "run", cut_down)
    assert asked(run, capsys, "show") == 0
    result = check_repair(run, written, 0, capsys, goes_on=False)
    assert (result["lost"], result["pending_again"]) == ([], [])


# A run that was killed ----------------------------------------------------------------------------------------------


def events_of(rows: Rows) -> int:
    return max([row[ASK.index("asked")] for row in rows["ask"]] + [row[1] for row in rows["tell"]], default=0)


def prefix(written: Rows, events: int) -> Rows:
    """Return what had been written after so many events, but for the notes of the last tell."""
    asks = [row for row in written["ask"] if row[ASK.index("asked")] <= events]
    tells = [row for row in written["tell"] if row[1] <= events]
    asked, told = {row[0] for row in asks}, {row[0] for row in tells}
    return {
        "ask": asks,
        "tell": tells,
        "curve": [row for row in written["curve"] if row[0] in told],
        "note": [row for row in written["note"] if row[0] in told],
        "attempt": [row if row[0] in told else (*row[:3], None, None) for row in written["attempt"] if row[0] in asked],
    }


def check_prefix(found: Rows, written: Rows) -> None:
    """Hold a history to a beginning of what was written; its last tell can lack its notes, which come after it."""
    expected = prefix(written, events_of(found))
    last = max((row[1], row[0]) for row in expected["tell"])[1] if expected["tell"] else 0
    missing = set(expected.pop("note")) - set(found["note"])
    assert {row[0] for row in missing} <= {last}
    assert {key: found[key] for key in expected} == expected
    assert set(found["note"]) <= set(written["note"])


def test_a_killed_run_is_a_beginning_of_the_whole_one(runs: Path, written: Rows, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "killed", tmp_path / "run")
    found = rows_of(run)
    check_prefix(found, written)
    assert len(found["tell"]) >= KILLED_AT


def test_damage_of_a_write_ahead_log_takes_back_the_last_events_and_no_others(
    runs: Path, written: Rows, tmp_path: Path, capsys: Capture
) -> None:
    """SQLite itself drops a log from its first bad page on, as it does with one that a power cut left unfinished.

    What opens then is the history as it was some events ago, exactly; the search goes on from there as the same search.
    """
    place = tmp_path / "run"
    log = (runs / "killed" / "history.db-wal").stat().st_size
    lengths = []
    for name, damage in damages(2, log, number=20):
        run = damaged(runs / "killed", place, damage, "history.db-wal")
        answer = asked(run, capsys, "show", "--json")
        back = looked_back(run) if isinstance(answer, str) else asked(run, capsys, "show")
        if isinstance(answer, str):
            found = rows_of(run)
            check_prefix(found, written)
            assert isinstance(back, tuple), name
            assert len(back[0]) == len(found["ask"]), name
            lengths.append(len(found["ask"]))
    assert len(set(lengths)) > 5, "it was cut off in different places"


def test_damage_of_a_killed_run_is_seen_and_repaired(
    runs: Path, written: Rows, tmp_path: Path, capsys: Capture
) -> None:
    size = (runs / "killed" / "history.db").stat().st_size
    before = rows_of(shutil.copytree(runs / "killed", tmp_path / "before"))
    told = {row[0]: row for row in before["tell"]}
    refused = 0
    for _, damage in damages(3, size, number=10):
        run = damaged(runs / "killed", tmp_path / "run", damage)
        log = (run / "history.db-wal").read_bytes()
        answer = asked(run, capsys, "show", "--json")
        if isinstance(answer, str):
            assert rows_of(run) == before
            continue
        refused += 1
        assert asked(run, capsys, "resume") == answer
        assert (run / "history.db-wal").read_bytes() == log, "what is refused is not touched"
        assert asked_to_repair(run, capsys) is not None
        assert (run / "history.damaged-1.db-wal").read_bytes() == log
        saved = rows_of(run)
        assert all(told[row[0]] == row for row in saved["tell"])
        assert {row[0] for row in saved["tell"]} >= set(range(1, answer + 1)) & set(told)
    assert refused > 3


def test_a_log_whose_beginning_is_damaged_is_read_all_the_same(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    """Of a young run even the tables stand in the log alone: then it is missed, and repaired from the log."""
    whole = tmp_path / "young"
    killed = tmp_path / "killed"

    class Young(Killed):
        def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
            if trained == 20 and not self.copy.exists():
                shutil.copytree(self.run, self.copy, ignore=shutil.ignore_patterns("*-shm"))

    search(strategy="random", evaluator="toy", trials=21, run_dir=whole, listeners=[Young(whole, killed)])
    before = rows_of(shutil.copytree(killed, tmp_path / "before"))
    for at in (5, 20, 40, 60):  # its header, the head of its first page, that page
        run = damaged(
            killed,
            tmp_path / "run",
            lambda data, at=at: data[:at] + bytes([data[at] ^ 0xA5]) + data[at + 1 :],  # its salt is random: any byte
            "history.db-wal",
        )
        assert asked(run, capsys, "resume") == 0
        assert asked_to_repair(run, capsys) is not None
        assert rows_of(run) == before
