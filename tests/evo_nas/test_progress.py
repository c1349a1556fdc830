"""Progress: a line that renews itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evo_nas.progress import Progress, duration
from genotypes.genotype import Genotype
from genotypes.individual import Evaluation, Individual, Outcome
from genotypes.population import Population

ROOT = Path(__file__).parents[2]


def tell(progress: Progress, population: Population, id: int, fitness: float | None) -> None:
    outcome = Outcome.OK if fitness is not None else Outcome.NAN
    error = None if fitness is not None else "Traceback ...\nRuntimeError: it broke"
    individual = Individual(id, Genotype("any", (id,)), outcome, fitness)
    population.add(individual)
    progress.told(individual, Evaluation(outcome, fitness=fitness, error=error), population, id)


def test_it_says_how_far_it_is_and_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    progress, population = Progress("run folder here", trials=3, last=2), Population()
    progress.restored(population, 0)
    tell(progress, population, 1, 0.25)
    tell(progress, population, 2, None)
    tell(progress, population, 3, 0.75)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run folder here"
    assert lines[1].startswith("trial 1/3  best 25.00 % (trial 1)  mean of last 1 25.00 %  ETA ")
    assert lines[2] == "trial 2 failed (nan): RuntimeError: it broke"
    assert lines[-1].startswith("trial 3/3  best 75.00 % (trial 3)  mean of last 2 50.00 %  1 failed  ETA 0s")


def test_a_resumed_search_goes_on_with_what_was_before(capsys: pytest.CaptureFixture[str]) -> None:
    population = Population(window=2)
    for id, fitness in enumerate((0.1, 0.2, 0.6), start=1):
        population.add(Individual(id, Genotype("any", (id,)), Outcome.OK, fitness))
    progress = Progress("run folder here", trials=4, last=2)
    progress.restored(population, 3)
    tell(progress, population, 4, 0.4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "run folder here; resuming after 3 trials"
    assert lines[1].startswith("trial 4/4  best 60.00 % (trial 3)  mean of last 2 50.00 %")


def test_on_a_terminal_the_line_renews_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evo_nas", "run", "--strategy", "random", "--evaluator", "toy", "--trials", "40"]
    master, slave = os.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=slave, stdout=subprocess.DEVNULL)
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other side has gone
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert process.wait() == 0
    assert b"run folder runs/random-toy-seed0-" in seen
    assert b"\x1b[2K" in seen, "lines are erased and written again"
    assert b"\x1b[?25h" in seen, "the cursor is given back"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (4.4, "4s"), (59.6, "1:00"), (125, "2:05"), (10925, "3:02:05"), (360000, "100:00:00")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
