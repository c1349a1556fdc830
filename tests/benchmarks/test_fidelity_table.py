import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.fidelity_table import FIDELITY_TABLE, fidelity_table, kendall_tau, spearman_correlation


def trained(accuracies: dict[str, list[list[float]]], cpu_seconds: dict[str, float] | None = None) -> pd.DataFrame:
    """Make the frame of trainings: setting -> a list a seed of the accuracies of all genotypes."""
    return pd.DataFrame(
        {
            "setting": setting,
            "genotype": f"g{genotype}",
            "seed": seed,
            "accuracy": accuracy,
            "cpu_seconds": (cpu_seconds or {}).get(setting, 1.0),
        }
        for setting, seeds in accuracies.items()
        for seed, values in enumerate(seeds)
        for genotype, accuracy in enumerate(values)
    )


def noisy(sd: float, seeds: int, genotypes: int, seed: int) -> list[list[float]]:
    """Measure the same genotypes, whose true accuracies have a spread of 0.05, with noise of another spread."""
    truth = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(genotypes)
    return (truth + sd * np.random.default_rng(seed).standard_normal((seeds, genotypes))).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy_ties_and_repeated_draws_included(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, size=(2, 12)).astype(float)
    counts = rng.multinomial(12, np.full(12, 1 / 12), size=4).astype(float)
    for sample, tau, rho in zip(counts, kendall_tau(a, b, counts), spearman_correlation(a, b, counts), strict=True):
        drawn = np.repeat(np.arange(12), sample.astype(int))
        assert tau == pytest.approx(stats.kendalltau(a[drawn], b[drawn]).statistic)
        assert rho == pytest.approx(stats.spearmanr(a[drawn], b[drawn]).statistic)


def test_a_constant_measure_has_no_correlation() -> None:
    once = np.ones((1, 3))
    assert np.isnan(kendall_tau(np.zeros(3), np.arange(3.0), once)).all()
    assert np.isnan(spearman_correlation(np.zeros(3), np.arange(3.0), once)).all()


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    frame = trained(
        {
            "cpu": [[0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4]],  # mean: the middle two are tied
            "long": [[0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.8, 0.7]],  # mean: the last two are tied
            "reverse": [[0.4, 0.3, 0.2, 0.1]] * 2,
        },
        {"cpu": 10.0, "long": 40.0, "reverse": 5.0},
    )
    table = fidelity_table(frame, reference="long").set_index("setting")
    # Of 6 pairs the reference ties one: tau-b is (concordant - discordant) / sqrt(6 * 5).
    assert table.loc["cpu", "tau"] == pytest.approx((5 + 3) / 2 / np.sqrt(6 * 5))
    assert table.loc["cpu", "mean_tau"] == pytest.approx(4 / 5)
    assert table.loc["cpu", "seeds_tau"] == pytest.approx(4 / 6)
    assert table.loc["long", "tau"] == table.loc["long", "seeds_tau"] == pytest.approx(4 / 6)
    assert np.isnan(table.loc["long", "mean_tau"])
    assert table.loc["reverse", "tau"] == pytest.approx(-5 / np.sqrt(6 * 5))
    assert table.loc["reverse", "gain"] == pytest.approx(-9 / np.sqrt(6 * 5))
    assert table.loc["cpu", "gain"] == table.loc["cpu", "gain_low"] == table.loc["cpu", "gain_high"] == 0
    assert table.loc["cpu", "tau_per_cpu_second"] == pytest.approx(4 / np.sqrt(6 * 5) / 10)
    assert table.loc["cpu", ["genotypes", "seeds", "accuracy", "cpu_seconds"]].tolist() == [4, 2, 0.25, 10]


def test_every_column_is_documented() -> None:
    table = fidelity_table(trained({"cpu": [[0.1, 0.2, 0.3]], "long": [[0.1, 0.2, 0.3]]}), reference="long")
    stems = list(dict.fromkeys(name.removesuffix("_low").removesuffix("_high") for name in table))
    assert stems == list(FIDELITY_TABLE)


@pytest.mark.slow
def test_intervals_cover_a_known_tau_about_as_often_as_they_say() -> None:
    """For normal distributions tau is 2 / pi * arcsin(r): here of r = 1 / 2."""
    rng, hits, known = np.random.default_rng(1), 0, 1 / 3
    for _ in range(100):
        truth, other = rng.standard_normal((2, 30))
        frame = trained({"cpu": [(truth / 2 + np.sqrt(3 / 4) * other).tolist()], "long": [truth.tolist()]})
        row = fidelity_table(frame, reference="long", resamples=400).iloc[0]
        hits += row["tau_low"] <= known <= row["tau_high"]
    assert 88 <= hits <= 99


def test_settings_that_differ_in_noise_alone_reach_the_tau_that_noise_leaves() -> None:
    settings = {"cpu": noisy(0.05, 2, 2000, 1), "long": noisy(0.025, 2, 2000, 2)}
    table = fidelity_table(trained(settings), reference="long", resamples=1).set_index("setting")
    # A spread of 0.05 under noise of 0.05 and 0.025 / sqrt(2): reliabilities of 1/2 and 8/9.
    assert table.loc["cpu", "noise_tau"] == pytest.approx(2 / np.pi * np.arcsin(np.sqrt(1 / 2 * 8 / 9)), abs=0.02)
    assert table["tau"].tolist() == pytest.approx(table["noise_tau"].tolist(), abs=0.02)
    assert table.loc["long", "noise_tau"] == pytest.approx(table.loc["long", "seeds_tau"])


def test_a_bias_shows_as_a_tau_below_what_noise_leaves() -> None:
    long = noisy(0.01, 2, 200, 1)
    other = np.random.default_rng(7).standard_normal(200)
    biased = [[a + 0.05 * b for a, b in zip(seed, other, strict=True)] for seed in noisy(0.01, 2, 200, 2)]
    table = fidelity_table(trained({"cpu": biased, "long": long}), reference="long", resamples=500).set_index("setting")
    assert table.loc["cpu", "tau_high"] < table.loc["cpu", "noise_tau"] - 0.1


def test_differences_are_paired() -> None:
    """Two settings that share their noise differ by less than their intervals are wide."""
    shared = noisy(0.05, 1, 12, 1)
    almost = [[a + 0.002 * i for i, a in enumerate(seed)] for seed in shared]
    row = (
        fidelity_table(trained({"cpu": shared, "almost": almost, "long": noisy(0.0, 1, 12, 0)}), reference="long")
        .set_index("setting")
        .loc["almost"]
    )
    assert row["gain_high"] - row["gain_low"] < (row["tau_high"] - row["tau_low"]) / 2


def test_one_seed_has_no_noise_that_is_known() -> None:
    table = fidelity_table(trained({"cpu": [[0.1, 0.2, 0.3]], "long": [[0.1, 0.3, 0.2]]}), reference="long")
    assert table.loc[0, "tau"] == pytest.approx(1 / 3)
    assert table[["seeds_tau", "noise_tau"]].isna().all(axis=None)
    assert table.loc[1, ["tau", "gain"]].isna().all()


def test_a_genotype_that_failed_anywhere_is_left_out_everywhere() -> None:
    whole = {"cpu": [[0.1, 0.2, 0.3, 0.9]], "long": [[0.1, 0.2, 0.3, np.nan]]}
    table = fidelity_table(trained(whole), reference="long")
    assert table["genotypes"].tolist() == [3, 3]
    assert table.loc[0, "accuracy"] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="only 2 genotypes were trained with success everywhere, and 3 are the fewest"):
        fidelity_table(trained({"cpu": [[0.1, np.nan, 0.3]], "long": [[0.1, 0.2, 0.3]]}), reference="long")


def test_a_setting_that_is_not_there_is_named() -> None:
    frame = trained({"cpu": [[0.1, 0.2, 0.3]], "long": [[0.1, 0.2, 0.3]]})
    with pytest.raises(ValueError, match="with the setting 'gpu'; the settings are: cpu, long"):
        fidelity_table(frame, reference="gpu")
    with pytest.raises(ValueError, match="with the setting 'gpu'"):
        fidelity_table(frame, reference="long", baseline="gpu")


def test_the_same_seed_gives_the_same_intervals() -> None:
    frame = trained({"cpu": noisy(0.05, 2, 12, 1), "long": noisy(0.02, 2, 12, 2)})
    first, again, other = (fidelity_table(frame, reference="long", seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first["tau"] == other["tau"]).all()
    assert first.loc[0, "tau_low"] != other.loc[0, "tau_low"]
