import itertools
import math
import random

import numpy as np
import pytest
import torch

from genotypes.space import Decision
from strategies.models.controller import INITIAL_RANGE, Controller, isolate

SIZES = (2, 1, 4, 3)


def decisions(sizes=SIZES):
    return [Decision(f"d{i}", tuple(map(str, range(size)))) for i, size in enumerate(sizes)]


def controller(sizes=SIZES, seed=0, scale=1.0):
    """``scale`` blows the weights up, so that predictions are far from uniform and depend on what came before."""
    with isolate():
        made = Controller(decisions(sizes), 16, np.random.default_rng(seed))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(scale)
    return made


@pytest.mark.parametrize("sizes", [SIZES, (5,), (1,), (1, 1, 1), (2,) * 30])
def test_a_sample_and_the_whole_sequence_agree_on_the_log_probabilities(sizes):
    policy = controller(sizes, scale=20.0)
    rng = np.random.default_rng(1)
    with isolate():
        samples = [policy.sample(rng.random(len(sizes)).tolist()) for _ in range(20)]
        log_probs, _ = policy(torch.tensor([choices for choices, _ in samples]))
    assert all(0 <= c < size for choices, _ in samples for c, size in zip(choices, sizes, strict=True))
    torch.testing.assert_close(log_probs, torch.tensor([logs for _, logs in samples]), rtol=0, atol=1e-4)


def test_the_probabilities_of_all_architectures_sum_to_one():
    policy = controller(scale=20.0)
    everything = torch.tensor(list(itertools.product(*map(range, SIZES))))
    with isolate():
        log_probs, _ = policy(everything)
    assert log_probs.sum(1).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_samples_come_as_often_as_the_policy_says():
    policy = controller((3, 2), scale=20.0)
    everything = list(itertools.product(range(3), range(2)))
    with isolate():
        expected = policy(torch.tensor(everything))[0].sum(1).exp().tolist()
        # A grid instead of random numbers: each cell of the unit square is hit in proportion to its area.
        grid = (np.arange(60) + 0.5) / 60
        drawn = [policy.sample((float(u), float(v)))[0] for u in grid for v in grid]
    for choices, probability in zip(everything, expected, strict=True):
        assert drawn.count(choices) / len(drawn) == pytest.approx(probability, abs=0.02)


def test_the_ends_of_the_unit_interval_pick_the_first_and_the_last_option():
    policy = controller()
    with isolate():
        assert policy.sample([0.0] * 4)[0] == (0, 0, 0, 0)
        assert policy.sample([math.nextafter(1.0, 0.0)] * 4)[0] == (1, 0, 3, 2)


def test_a_number_on_an_edge_belongs_to_the_option_above_it():
    policy = controller((2,), scale=0.0)
    with isolate():
        assert [policy.sample([u])[0] for u in (math.nextafter(0.5, 0.0), 0.5)] == [(0,), (1,)]


def test_without_weights_every_softmax_is_uniform():
    policy = controller(scale=0.0)
    with isolate():
        log_probs, entropies = policy(torch.tensor([[1, 0, 3, 2]]))
    expected = torch.tensor([[math.log(size) for size in SIZES]])
    torch.testing.assert_close(entropies, expected)
    torch.testing.assert_close(log_probs, -expected)


def test_a_decision_with_one_option_is_certain_and_its_gradients_are_finite():
    policy = controller()
    with isolate():
        log_probs, entropies = policy(torch.tensor([[1, 0, 3, 2]]))
        (log_probs.sum() + entropies.sum()).backward()
    assert log_probs[0, 1] == 0.0
    assert entropies[0, 1] == 0.0
    assert all(torch.isfinite(parameter.grad).all() for parameter in policy.parameters())
    assert policy.weight.grad[1].abs().max() == 0.0
    assert policy.lstm.weight_hh_l0.grad.abs().max() > 0.0


def test_a_choice_bears_on_later_decisions_and_on_no_earlier_one():
    policy = controller(scale=20.0)
    with isolate():
        _, entropies = policy(torch.tensor([[0, 0, 1, 0], [0, 0, 2, 0]]))
    assert torch.equal(entropies[0, :3], entropies[1, :3])
    assert abs(entropies[0, 3] - entropies[1, 3]) > 1e-3


def test_the_same_option_of_two_decisions_is_read_differently():
    policy = controller((3, 3))
    tokens = {int(policy.first[decision]) + option for decision in range(2) for option in range(3)}
    assert tokens == {1, 2, 3, 4, 5, 6}
    assert policy.embedding.num_embeddings == 7


def test_initial_weights_fill_their_range_and_come_from_the_generator_alone():
    one, same, other = controller(seed=0), controller(seed=0), controller(seed=1)
    flat = [torch.cat([p.detach().flatten() for p in c.parameters()]) for c in (one, same, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    assert 0.99 * INITIAL_RANGE < flat[0].max() <= INITIAL_RANGE
    assert -INITIAL_RANGE <= flat[0].min() < -0.99 * INITIAL_RANGE
    assert flat[0].mean().abs() < 0.01


def test_building_a_controller_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
    controller()
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (repr(np.random.get_state()), random.getstate())  # noqa: NPY002


def look_and_fail(seen):
    with isolate():
        made = torch.zeros(1)
        seen.append((made.device.type, made.dtype, torch.get_num_threads()))
        seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        raise KeyError


def test_isolation_is_complete_and_ends_even_with_an_error():
    seen = []
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.inference_mode():
            with pytest.raises(KeyError):
                look_and_fail(seen)
            assert torch.zeros(1).device.type == "meta"
            assert torch.is_inference_mode_enabled()
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float64)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert seen == [("cpu", torch.float32, 1), (True, False)]
