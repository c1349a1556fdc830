"""The surrogate of guided evolution: distances, posterior and likelihood by their definitions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace
from strategies.models.gaussian_process import (
    Distances,
    Encoder,
    Kernel,
    Posterior,
    compute_expected_improvement,
    kernels,
    likeliest,
    scores,
)

KERNEL = Kernel(reach=0.3, span=0.5, choices=0.5, words=0.5, linear=1.0, noise=0.1)


@pytest.fixture(
    params=["nasnet", "pnas", "nasbench201", "bits", "nasnet(blocks=2,ops=identity+sep_conv_3x3,combines=add)"]
)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return build_space(request.param)


def encoded(space: SearchSpace, n: int = 12) -> tuple[Encoder, list[Genotype], Distances]:
    rng = np.random.default_rng(0)
    encoder = Encoder(space, rng)
    genotypes = [space.sample(rng) for _ in range(n)]
    features = encoder(genotypes, examples=True)
    return encoder, genotypes, encoder.distances(features, features)


def test_distances_are_what_their_definition_says(space: SearchSpace) -> None:
    encoder, genotypes, distances = encoded(space)
    open_ = [i for i, decision in enumerate(space.decisions) if len(decision.options) > 1]
    for i, a in enumerate(genotypes):
        for j, b in enumerate(genotypes):
            differ = sum(a.choices[k] != b.choices[k] for k in open_) / len(open_)
            assert distances.choices[i, j] == pytest.approx(differ, abs=1e-6)
            bags = Counter(space.words(a)), Counter(space.words(b))
            square = sum((bags[0][word] - bags[1][word]) ** 2 for word in bags[0] | bags[1])
            assert distances.words[i, j] * encoder._scale == pytest.approx(square)


def test_a_candidate_is_as_far_from_the_examples_as_if_it_were_one(space: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    encoder = Encoder(space, rng)
    genotypes, others = ([space.sample(rng) for _ in range(9)] for _ in range(2))
    examples = encoder(genotypes, examples=True)
    as_candidates = encoder.distances(encoder(others), examples)
    as_examples = encoder.distances(encoder(others, examples=True), examples)
    assert np.array_equal(as_candidates.words, as_examples.words)
    assert np.array_equal(as_candidates.choices, as_examples.choices)


def test_features_put_together_one_by_one_are_those_of_all_at_once(space: SearchSpace) -> None:
    rng = np.random.default_rng(2)
    encoder = Encoder(space, rng)
    genotypes = [space.sample(rng) for _ in range(7)]
    grown = encoder(genotypes[:1], examples=True)
    for genotype in genotypes[1:]:
        grown = grown + encoder([genotype], examples=True)
    whole = encoder(genotypes, examples=True)
    a, b = encoder.distances(grown, grown), encoder.distances(whole, whole)
    assert np.array_equal(a.words, b.words)
    assert np.array_equal(a.choices, b.choices)
    rows = np.array([0, 2, 5])
    some = grown[rows]
    assert np.array_equal(encoder.distances(some, grown).words, a.words[rows])


def test_random_genotypes_are_one_apart_on_average() -> None:
    _, _, distances = encoded(build_space("nasnet"), n=200)
    apart = distances.words[~np.eye(200, dtype=bool)].mean()
    assert apart == pytest.approx(1.0, abs=0.1)


def test_every_kernel_is_a_covariance(space: SearchSpace) -> None:
    encoder, _, distances = encoded(space, n=40)
    for kernel in kernels(encoder.has_words):
        covariance = kernel(distances)
        assert np.allclose(np.diag(covariance), kernel.variances(distances))
        assert np.linalg.eigvalsh(covariance).min() > -1e-6


def test_the_posterior_is_that_of_the_textbook() -> None:
    _, _, distances = encoded(build_space("nasbench201"), n=20)
    rng = np.random.default_rng(3)
    examples = Distances(distances.choices[:15, :15], distances.words[:15, :15])
    across = Distances(distances.choices[15:, :15], distances.words[15:, :15])
    targets = rng.standard_normal(15)
    mean, sd = Posterior.of(KERNEL, examples, targets).mean_and_sd(across)
    inverse = np.linalg.inv(KERNEL(examples) + KERNEL.noise * np.eye(15))
    cross = KERNEL(across)
    assert np.allclose(mean, cross @ inverse @ targets)
    assert np.allclose(sd**2, KERNEL.variances(across) - np.einsum("ij,jk,ik->i", cross, inverse, cross))


def test_the_likeliest_kernel_has_the_largest_marginal_likelihood() -> None:
    encoder, _, distances = encoded(build_space("nasbench201"), n=30)
    candidates = kernels(encoder.has_words)
    assert len(set(candidates)) == len(candidates)
    for seed in range(3):
        truth = candidates[7 * seed]
        covariance = truth(distances) + truth.noise * np.eye(30)
        targets = np.random.default_rng(seed).multivariate_normal(np.zeros(30), covariance)
        likelihoods = [
            multivariate_normal(np.zeros(30), k(distances) + k.noise * np.eye(30)).logpdf(targets) for k in candidates
        ]
        assert likeliest(candidates, distances, targets) == candidates[int(np.argmax(likelihoods))]


def test_scores_depend_on_the_order_alone_and_stretch_the_top() -> None:
    fitnesses = [0.1, 0.8, 0.81, 0.5, 0.90]
    assert np.array_equal(scores(fitnesses), scores([0.0, 0.5, 0.6, 0.2, 1.0]))
    assert scores(fitnesses).mean() == pytest.approx(0.0)
    assert scores(fitnesses).std() == pytest.approx(1.0)
    assert scores([0.5, 0.5, 0.1, 0.9])[0] == scores([0.5, 0.5, 0.1, 0.9])[1]
    ranked = scores(list(np.linspace(0, 1, 50)))
    assert ranked[-1] - ranked[-2] > ranked[1] - ranked[0], "the best is kept apart"


@pytest.mark.parametrize("fitnesses", [[0.3], [0.3, 0.3, 0.3]])
def test_scores_of_equals_are_zero(fitnesses: list[float]) -> None:
    assert np.array_equal(scores(fitnesses), np.zeros(len(fitnesses)))


def test_expected_improvement_is_the_mean_of_what_exceeds_the_incumbent() -> None:
    draws = np.random.default_rng(0).standard_normal(400_000)
    for mean, sd in ((0.0, 1.0), (-1.0, 0.5), (0.7, 0.2)):
        sampled = np.maximum(mean + sd * draws - 0.5, 0.0).mean()
        exact = compute_expected_improvement(np.array([mean]), np.array([sd]), 0.5)[0]
        assert exact == pytest.approx(sampled, abs=5e-3)
