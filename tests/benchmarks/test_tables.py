"""The tables of trainings that lie beside the benchmarks hold what they say, and nothing but numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.fidelity import different
from benchmarks.rungs import main as race
from benchmarks.trained_table import read_curves, read_trainings
from genotypes.catalogue import build_space

TABLES = Path(__file__).resolve().parents[2] / "benchmarks" / "tables"


NASNET = TABLES / "nasnet-cifar10.csv"


@pytest.fixture(scope="module")
def nasnet() -> pd.DataFrame:
    return read_trainings(NASNET)


def test_its_networks_are_those_that_fidelity_draws(nasnet: pd.DataFrame) -> None:
    drawn = [str(genotype) for genotype in different(build_space("nasnet"), len(nasnet))]
    assert sorted(nasnet.index) == sorted(drawn)
    assert len(nasnet) >= 60


def test_it_holds_parameters_and_curves_in_per_cent(nasnet: pd.DataFrame) -> None:
    assert nasnet["parameters"].between(1e3, 1e6).all()
    curves = nasnet.drop(columns="parameters")
    assert curves.dtypes.eq(float).all()
    assert curves.stack().dropna().between(0, 100).all()
    last = [name for name in curves if name.startswith("epochs=8 seed ") and name.endswith(" epoch 8")]
    assert curves["epochs=8"].to_numpy() == pytest.approx(curves[last].mean(axis=1).to_numpy(), abs=0.006)
    assert curves["epochs=8"].notna().all(), "each network was trained to the end at least once"


def test_pauses_are_replayed_on_its_curves(nasnet: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    (curves, *_) = read_curves(NASNET, "epochs=8").values()
    assert {len(curve) for curve in curves} == {8}
    assert max(curve[-1] for curve in curves) == pytest.approx(nasnet["epochs=8 seed 1.0 epoch 8"].max() / 100)
    assert race([str(NASNET), "--trials", "20", "--orders", "2", "--eta", "3", "--first", "1", "--patience", "9"]) == 0
    assert "races of 20 trainings of 8 epochs" in capsys.readouterr().out
    assert race([str(NASNET), "--setting", "epochs=9"]) == 2
    assert "has no trainings of the setting 'epochs=9'" in capsys.readouterr().err
