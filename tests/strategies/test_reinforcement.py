import copy
import dataclasses
import math
import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome
from genotypes.space import Decision, SearchSpace
from genotypes.spaces.nasnet import NASNetSpace
from strategies.models.controller import isolate
from strategies.reinforcement import PPOController, compare, ppo_loss


@dataclass(frozen=True)
class Counting(SearchSpace):
    """Decisions with the given numbers of options."""

    name: ClassVar[str] = "counting"

    sizes: tuple[int, ...] = (2, 3)

    @property
    def decisions(self):
        return tuple(Decision(f"d{i}", tuple(map(str, range(n)))) for i, n in enumerate(self.sizes))


def some_fail(choices, id_):
    return None if id_ % 3 == 0 else (sum(choices) % 7) / 7


# --- learning ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_policy_learns_and_makes_up_its_mind(drive):
    """On the whole NASNet space the entropy falls to a tenth within 1,000 trials: see benchmarks/rl_entropy.py."""
    search = drive(PPOController(), NASNetSpace(blocks=1))
    uniform = np.mean([math.log(len(decision.options)) for decision in search.space.decisions])
    while not search.updates or search.updates[-1]["entropy"] >= 0.1 * uniform:
        search.run(20)
        assert len(search.individuals) < 1000
    assert search.updates[0]["entropy"] == pytest.approx(uniform, abs=0.02)
    assert search.updates[-1]["baseline"] > search.updates[0]["baseline"] + 0.3
    assert search.mean_truth_of_last(100) > 0.85  # random search has 0.5


def test_without_steps_nothing_is_learned(drive):
    search = drive(PPOController(learning_rate=1e-9, passes=1), NASNetSpace(blocks=2)).run(300)
    assert search.mean_truth_of_last(75) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_divides_the_logits(temperature, drive):
    plain, tempered = (
        drive(PPOController(temperature=t), Counting((4,))).strategy._controller for t in (1.0, temperature)
    )
    choices = torch.arange(4).unsqueeze(1)
    with isolate(), torch.no_grad():
        logits, other = plain(choices)[0].flatten(), tempered(choices)[0].flatten()
        torch.testing.assert_close(other, (logits / temperature).log_softmax(0))
        sampled = [tempered.sample([u]) for u in (0.0, 0.3, 0.6, 0.99)]
    assert [memo[0] for _, memo in sampled] == pytest.approx([other[c[0]].item() for c, _ in sampled], abs=1e-6)


def test_it_learns_from_failures_what_to_leave(drive):
    # Option 0 of the first decision always fails, everything else is equally good.
    def fitness(choices, id_):
        return None if choices[0] == 0 else 0.5 + 0.01 * (id_ % 2)

    search = drive(PPOController(), Counting((2, 2))).run(400, fitness)
    assert sum(one.fitness is None for one in search.individuals[:40]) > 10
    assert sum(one.fitness is None for one in search.individuals[-40:]) <= 2


@pytest.mark.slow
def test_the_entropy_bonus_holds_the_policy_open(drive):
    space = Counting((4, 4))
    plain, bold = (
        drive(PPOController(passes=20, entropy_weight=weight), space).run(300).updates[-1]["entropy"]
        for weight in (0.0, 2.0)
    )
    assert bold > plain + 0.3


# --- the contract -----------------------------------------------------------------------------------------------


def test_first_asks_are_permanent(drive):
    """If this changes on purpose, put in what is proposed now and say in the changelog that old runs do not resume.

    These asks depend on numpy's generator and on the untrained network alone. Their memos agree to rounding only:
    processors differ in the last bits.
    """
    search = drive(PPOController(), NASNetSpace(blocks=1))
    proposals = [search.ask(id_) for id_ in (1, 2, 3)]
    assert [str(proposal.genotype) for proposal in proposals] == [
        "nasnet(blocks=1):1.0.3.11.0.1.1.6.11.1",
        "nasnet(blocks=1):0.1.10.1.0.1.1.11.9.0",
        "nasnet(blocks=1):0.1.1.8.0.0.0.9.5.0",
    ]
    assert proposals[0].memo[:4] == pytest.approx((-0.74537, -0.68334, -2.44731, -2.54279), abs=1e-4)


def test_asks_after_an_update_are_permanent(drive):
    """As above. In principle rounding can move a choice after an update, so there are few, of a tiny space.

    The untrained network answers these asks with (0, 0), (1, 0), (0, 1), (0, 2), (1, 0), (0, 2), (1, 1), (1, 2).
    """
    strategy = PPOController(batch=8, passes=10, learning_rate=0.01)
    search = drive(strategy, Counting((2, 3))).run(8, lambda choices, id_: choices[0] / 2 + choices[1] / 8)
    choices = [search.ask(id_).genotype.choices for id_ in range(9, 17)]
    assert choices == [(1, 1), (1, 1), (0, 1), (1, 2), (1, 1), (0, 1), (1, 2), (1, 2)]


def test_a_memo_holds_the_log_probability_of_each_choice(drive):
    search = drive(PPOController(), Counting((2, 1, 3)))
    memo = search.ask().memo
    assert all(type(number) is float and math.isfinite(number) for number in memo)
    assert memo == pytest.approx((-math.log(2), 0.0, -math.log(3)), abs=0.1)
    assert memo[1] == 0.0


def test_asking_changes_nothing(drive):
    search = drive(PPOController(batch=5), NASNetSpace(blocks=1)).run(12, some_fail)
    state = copy.deepcopy(search.strategy._controller.state_dict())
    first = search.ask(13)
    for id_ in range(14, 30):
        search.ask(id_)
    assert search.ask(13) == first
    assert all(torch.equal(state[name], value) for name, value in search.strategy._controller.state_dict().items())


def test_told_again_it_asks_the_same_to_the_last_bit(drive):
    lived = drive(PPOController(batch=5), NASNetSpace(blocks=1)).run(23, some_fail)
    again = drive(PPOController(batch=5), NASNetSpace(blocks=1))
    for individual in lived.individuals:
        again.tell(individual)
    assert again.notes == lived.notes
    assert [again.ask(id_) for id_ in range(24, 34)] == [lived.ask(id_) for id_ in range(24, 34)]


def test_starting_again_forgets_everything(drive):
    used = drive(PPOController(batch=5), NASNetSpace(blocks=1)).run(12, some_fail)
    again = drive(used.strategy, used.space).run(12, some_fail)
    assert again.individuals == used.individuals
    assert again.notes == used.notes


def test_seeds_differ(drive):
    first = [drive(PPOController(), NASNetSpace(), seed).ask().memo for seed in (0, 1)]
    assert first[0] != first[1]


def test_neither_settings_of_torch_nor_its_global_generators_matter_or_change(drive):
    plain = drive(PPOController(batch=5), NASNetSpace(blocks=1)).run(12, some_fail)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    try:
        before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002
        with torch.device("meta"), torch.inference_mode():
            odd = drive(PPOController(batch=5), NASNetSpace(blocks=1)).run(12, some_fail)
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (repr(np.random.get_state()), random.getstate())  # noqa: NPY002
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float64)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
    assert odd.individuals == plain.individuals
    assert odd.notes == plain.notes


@pytest.mark.parametrize("sizes", [(1,), (1, 1, 1), (5,), (1, 4, 1), (2, 3, 5, 7, 11)])
def test_spaces_of_any_shape_are_searched(sizes, drive):
    space = Counting(sizes)
    search = drive(PPOController(batch=4), space).run(12, lambda choices, id_: (id_ % 5) / 5)
    for individual in search.individuals:
        space.check(individual.genotype)
    assert all(math.isfinite(value) for notes in search.updates for value in notes.values())
    if max(sizes) == 1:
        assert [notes["entropy"] for notes in search.updates] == [0.0] * 3


def test_notes_come_with_every_batch_and_not_between(drive):
    search = drive(PPOController(batch=4), NASNetSpace(blocks=1)).run(11, some_fail)
    assert [i for i, notes in enumerate(search.notes, 1) if notes] == [4, 8]
    for notes in search.updates:
        assert set(notes) == {"reward", "baseline", "entropy", "loss", "clip_fraction"}
        assert all(type(value) is float and math.isfinite(value) for value in notes.values())


# --- failures, latecomers, strangers ----------------------------------------------------------------------------


def test_failures_get_the_lowest_fitness_told_by_the_time_of_the_update(drive):
    fitnesses = [None, 0.6, 0.8, 0.4, 0.9, None, 0.9, 0.9]
    search = drive(PPOController(batch=4), NASNetSpace(blocks=1))
    search.run(8, lambda choices, id_: fitnesses[id_ - 1])
    # The first failure is told before the 0.4, and the second in a batch in which nothing is as low.
    assert [notes["reward"] for notes in search.updates] == pytest.approx(
        [(0.4 + 0.6 + 0.8 + 0.4) / 4, (0.9 + 0.4 + 0.9 + 0.9) / 4]
    )


def test_batches_of_failures_teach_nothing_until_something_succeeds(drive):
    search = drive(PPOController(batch=4), NASNetSpace(blocks=1))
    untrained = search.ask(100)
    search.run(12, lambda choices, id_: None)
    assert search.updates == []
    assert search.ask(100) == untrained
    search.run(4, lambda choices, id_: 0.1 * (id_ - 12))
    assert search.updates[0]["reward"] == pytest.approx(0.25)
    assert search.ask(100) != untrained


def test_a_reused_fitness_counts_as_any_other(drive):
    ends = []
    for outcome in (Outcome.OK, Outcome.REUSED):
        search = drive(PPOController(batch=4), NASNetSpace(blocks=1))
        for id_ in range(1, 5):
            proposal = search.ask(id_)
            search.tell(Individual(id_, proposal.genotype, outcome, id_ / 10, memo=proposal.memo))
        ends.append((search.notes, search.ask(5)))
    assert ends[0] == ends[1]


def test_candidates_may_come_back_late_and_out_of_order(drive):
    space = NASNetSpace(blocks=1)
    # One long step an update: the clip fraction is then that of the ratios as the batch comes in.
    search = drive(PPOController(batch=5, passes=1, learning_rate=0.1), space)
    asked = {id_: search.ask(id_) for id_ in range(1, 31)}
    for id_ in sorted(asked, reverse=True):
        search.tell(search.ended(id_, asked[id_]))
    # All thirty are of the first policy: to it the first batch is new, and the others are old.
    clipped = [notes["clip_fraction"] for notes in search.updates]
    assert clipped[0] == 0.0
    assert min(clipped[1:]) > 0.1


def test_a_stranger_counts_as_if_the_policy_had_proposed_it(drive):
    space = NASNetSpace(blocks=1)
    ends = []
    for known in (True, False):
        search = drive(PPOController(batch=4), space)
        for id_ in range(1, 5):
            proposal = search.ask(id_)
            memo = proposal.memo if known else ()
            search.tell(Individual(id_, proposal.genotype, Outcome.OK, id_ / 10, memo=memo))
        ends.append(search)
    assert ends[0].updates[0] == pytest.approx(ends[1].updates[0], abs=1e-5)
    assert ends[0].ask(5).memo == pytest.approx(ends[1].ask(5).memo, abs=1e-4)


def test_a_warm_start_draws_the_policy_towards_what_was_good(drive):
    space = NASNetSpace(blocks=1)
    good, bad = Genotype(space.spelling, (1,) * 10), Genotype(space.spelling, (0,) * 10)
    search = drive(PPOController(batch=10), space)
    for id_ in range(1, 101):
        genotype, fitness = ((good, 0.9), (bad, 0.1))[id_ % 2]
        search.tell(Individual(id_, genotype, Outcome.OK, fitness))
    choices = np.array([search.ask(id_).genotype.choices for id_ in range(101, 151)])
    assert (choices == 1).mean() > 0.6 > 0.3 > (choices == 0).mean()


# --- arithmetic -------------------------------------------------------------------------------------------------


def test_at_a_ratio_of_one_the_loss_is_minus_the_mean_advantage():
    logs = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    loss, clip_fraction = ppo_loss(logs, logs, torch.tensor([1.0, -2.0, 4.0]), 0.2)
    assert loss.shape == clip_fraction.shape == ()
    assert loss.item() == pytest.approx(-1.0)
    assert clip_fraction.item() == 0.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "moves"),
    [
        (1.1, 1.0, 1.1, True),
        (1.5, 1.0, 1.2, False),  # good and already likelier: no more to gain
        (0.5, 1.0, 0.5, True),  # good and yet less likely: must come back
        (0.5, -1.0, -0.8, False),
        (1.5, -1.0, -1.5, True),
    ],
)
def test_a_ratio_counts_until_it_is_clipped(ratio, advantage, gain, moves):
    logs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, _ = ppo_loss(logs, torch.zeros(1, 1), torch.tensor([advantage]), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(-gain, abs=1e-6)
    assert (logs.grad.abs().item() > 0.0) is moves


def test_each_decision_is_clipped_alone_with_its_architectures_advantage():
    ratios = torch.tensor([[1.0, 2.0, 1.1], [0.9, 0.1, 1.0]])
    loss, clip_fraction = ppo_loss(ratios.log(), torch.zeros(2, 3), torch.tensor([1.0, -1.0]), 0.2)
    assert loss.item() == pytest.approx(-((1.0 + 1.2 + 1.1) - (0.9 + 0.8 + 1.0)) / 6, abs=1e-6)
    assert clip_fraction.item() == pytest.approx(2 / 6)


def test_rewards_are_compared_with_the_average_of_those_before_them():
    advantages, baseline = compare([0.5, 0.9], baseline=0.1, decay=0.75)
    # 0.5 - 0.1 = 0.4; the baseline goes a quarter of the way, to 0.2; 0.9 - 0.2 = 0.7; and on to 0.375.
    scale = math.sqrt((0.4**2 + 0.7**2) / 2)
    assert advantages == pytest.approx([0.4 / scale, 0.7 / scale])
    assert baseline == pytest.approx(0.375)


def test_rewards_without_differences_give_no_advantages():
    advantages, baseline = compare([0.3] * 20, baseline=0.1 + 0.2, decay=0.95)
    assert max(map(abs, advantages)) < 1e-6
    assert baseline == pytest.approx(0.3)


def test_the_scale_of_the_fitnesses_is_immaterial():
    rewards = np.random.default_rng(0).random(20)
    large, _ = compare(rewards.tolist(), 0.5, 0.95)
    small, _ = compare((0.9 + 0.001 * rewards).tolist(), 0.9005, 0.95)
    assert large == pytest.approx(small)


# --- options ----------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_paper():
    options = dataclasses.asdict(PPOController())
    paper = {"batch": 20, "hidden": 100, "learning_rate": 0.00035, "entropy_weight": 0.00001, "baseline_decay": 0.95}
    assert {**options, **paper} == options
    assert PPOController.name == "rl"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch", 0),
        ("hidden", 0),
        ("passes", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("clip", 0.0),
        ("clip", 1.0),
        ("entropy_weight", -0.1),
        ("entropy_weight", math.nan),
        ("baseline_decay", -0.1),
        ("baseline_decay", 1.0),
        ("temperature", 0.0),
        ("temperature", math.inf),
    ],
)
def test_an_impossible_option_is_refused_by_name_and_value(option, value):
    with pytest.raises(ValueError, match=rf"^{option} must be .* not {value}$"):
        PPOController(**{option: value})
