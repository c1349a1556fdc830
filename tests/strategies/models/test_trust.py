"""Scores measured by a sample, and the prior on what they say: by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import multivariate_normal

from strategies.models.gaussian_process import Distances, Kernel, Posterior, likeliest
from strategies.models.trust import NO_TRUST, Ruler, Trust

NAN = float("nan")
SAMPLE = [{"a": float(value), "b": float(value % 3)} for value in range(9)]
TRUST = Trust(pull=0.5, total=0.3, each=0.2)


def columns(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 4))


def distances(some: np.ndarray, others: np.ndarray) -> Distances:
    nothing = np.zeros((len(some), len(others)))
    return Distances(nothing, nothing, (some, others))


def test_a_score_becomes_the_normal_score_of_its_place() -> None:
    ruler = Ruler(SAMPLE)
    assert ruler.names == ("a", "b")
    measured = ruler(SAMPLE)
    assert measured[:, 1] == pytest.approx(ndtri((np.arange(9) + 1) / 10))
    assert measured[4, 1] == pytest.approx(0.0)
    assert measured[[0, 3, 6], 2] == pytest.approx(ndtri(0.2)), "equal values share the mean of their places"
    sums = log_ndtr(measured[:, 1:]).sum(1)
    assert list(np.argsort(measured[:, 0])) == list(np.argsort(sums)), "the first column ranks as the sum of logarithms"
    between = ruler([{"a": 4.5, "b": 1.0}])
    assert measured[4, 1] < between[0, 1] < measured[5, 1]


def test_beyond_the_sample_it_goes_on_but_not_far() -> None:
    ruler = Ruler(SAMPLE)
    top, above, absurd, low = ruler([{"a": value, "b": 1.0} for value in (8.0, 9.0, 1e30, -1e30)])[:, 1]
    assert top < above < absurd == pytest.approx(top + 1.0)
    assert low == pytest.approx(-absurd)


@pytest.mark.parametrize("value", [NAN, -np.inf, np.inf])
def test_a_score_without_a_value_is_the_worst(value: float) -> None:
    ruler = Ruler([*SAMPLE, {"a": value, "b": 1.0}])
    measured = ruler([{"a": value, "b": 1.0}, {"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 1.0}])
    assert measured[0, 1] < measured[1, 1] < measured[2, 1]
    assert measured[0, 0] < measured[1, 0]
    assert np.isfinite(measured).all()


def test_a_score_that_is_not_known_costs_that_score_only() -> None:
    ruler = Ruler(SAMPLE)
    known, unknown, nothing = ruler([{"a": 7.0, "b": 2.0}, {"a": 7.0}, {}])
    assert unknown[1] == known[1] == unknown[2]
    assert nothing[1:] == pytest.approx(0.0)
    assert ruler([{"a": 7.0, "b": NAN}])[0, 0] < unknown[0]


def test_a_constant_score_and_none_at_all_say_nothing() -> None:
    assert Ruler([{"a": 1.0}] * 5)([{"a": 1.0}, {"a": 2.0}]) == pytest.approx(0.0)
    assert Ruler([{"a": NAN}] * 5)([{"a": NAN}, {"a": 2.0}]) == pytest.approx(0.0)
    assert Ruler([{}] * 5)([{}, {"a": 2.0}]).shape == (2, 1)


def test_covariances_are_those_of_a_sum_with_random_weights() -> None:
    some, others = columns(3), columns(5, seed=1)
    prior = np.diag([TRUST.total, *[TRUST.each / 3] * 3])
    assert TRUST.covariances(some, others) == pytest.approx(some @ prior @ others.T)
    assert TRUST.variances(some) == pytest.approx(np.diag(TRUST.covariances(some, some)))
    assert TRUST.expect(some) == pytest.approx(0.5 * some[:, 0])


def test_the_posterior_is_that_of_bayesian_linear_regression() -> None:
    told, asked = columns(12), columns(4, seed=1)
    targets = told @ [1.0, -0.5, 0.0, 0.3]
    kernel = Kernel(1.0, 1.0, 0.0, 0.0, 0.0, 0.1, TRUST)
    posterior = Posterior.of(kernel, distances(told, told), targets)
    prior = np.diag([TRUST.total, *[TRUST.each / 3] * 3])
    # Weight space: Rasmussen & Williams 2006, equations 2.7 and 2.8, with the prior mean.
    covariance = np.linalg.inv(np.linalg.inv(prior) + told.T @ told / 0.1)
    start = np.array([TRUST.pull, 0.0, 0.0, 0.0])
    weights = start + covariance @ told.T @ (targets - told @ start) / 0.1
    mean, sd = posterior.mean_and_sd(distances(asked, told))
    assert mean == pytest.approx(asked @ weights)
    assert sd**2 == pytest.approx(np.diag(asked @ covariance @ asked.T))
    draws = [
        posterior.draw(distances(asked, told), distances(asked, asked), np.random.default_rng(i)) for i in range(2000)
    ]
    assert np.mean(draws, 0) == pytest.approx(mean, abs=0.05)
    assert np.cov(np.transpose(draws)) == pytest.approx(asked @ covariance @ asked.T, abs=0.02)


def test_the_likelihood_is_that_of_a_normal_distribution_with_the_prior_mean() -> None:
    told = columns(10)
    kernels = [Kernel(1.0, 1.0, 0.0, 0.0, 0.0, noise, trust) for noise in (0.1, 1.0) for trust in (NO_TRUST, TRUST)]
    for seed, sign in ((0, 1.0), (1, 0.0), (2, -1.0)):
        targets = sign * told[:, 0] + 0.5 * np.random.default_rng(seed).standard_normal(10)

        def likelihood(kernel: Kernel, targets: np.ndarray = targets) -> float:
            covariance = kernel(distances(told, told)) + kernel.noise * np.eye(10)
            return float(multivariate_normal.logpdf(targets, kernel.trust.expect(told), covariance))

        assert likeliest(kernels, distances(told, told), targets) == max(kernels, key=likelihood)


def test_places_follow_the_normal_distribution() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    measured = Ruler([{"a": value} for value in values])([{"a": value} for value in (-1.0, 0.0, 1.0)])
    assert ndtr(measured[:, 1]) == pytest.approx(ndtr([-1.0, 0.0, 1.0]), abs=0.06)
