"""Progressive search: levels, what ends them, what is grown, and a surrogate that learns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from genotypes.catalogue import SPACES, build_space
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.spaces.growing import GrowingSpace
from strategies.models.lstm_surrogate import KINDS, Surrogate, Vocabulary
from strategies.progressive import ProgressiveSearch, rank_correlation


def growing(spelling: str) -> GrowingSpace:
    space = build_space(spelling)
    assert isinstance(space, GrowingSpace)
    return space


SPACE = growing("pnas(blocks=3,ops=identity+sep_conv_3x3)")  # 10 cells of one block
SMALL = {"beam": 6, "ensemble": 2, "epochs": 3}


def ask(search: Any, *pending: Proposal) -> Proposal | None:
    proposal: Proposal | None = search.strategy.ask(search.population, pending, np.random.default_rng(0))
    return proposal


def to_the_end(search: Any, fitness: Any = None) -> Any:
    """Go on until the strategy has nothing left."""
    for _ in range(1000):
        if ask(search) is None:
            return search
        search.step(fitness)
    raise AssertionError("the search does not end")


def level(individual: Individual | Proposal) -> int:
    return SPACE.level_of(individual.genotype).blocks


def levels(search: Any) -> list[int]:
    """How many were told of each level, checked to come one level after another."""
    seen = [level(one) for one in search.individuals]
    assert seen == sorted(seen)
    return [seen.count(blocks) for blocks in range(1, SPACE.blocks + 1)]


def test_the_first_level_is_every_cell_of_one_block_once(drive: Any) -> None:
    search = drive(ProgressiveSearch(epochs=1), growing("pnas"))
    asked: list[Proposal] = []
    while (proposal := ask(search, *asked)) is not None:
        asked.append(proposal)
    assert len({search.space.key(proposal.genotype) for proposal in asked}) == len(asked) == 136


def test_a_first_level_of_more_than_k_is_a_sample_that_the_seed_decides(drive: Any) -> None:
    def first(seed: int) -> list[Genotype]:
        search = drive(ProgressiveSearch(beam=20), growing("nasnet"), seed=seed)
        asked: list[Proposal] = []
        while (proposal := ask(search, *asked)) is not None:
            asked.append(proposal)
        return [proposal.genotype for proposal in asked]

    sampled = first(1)
    assert len(set(sampled)) == 20
    assert all(genotype.choices[:5] == genotype.choices[5:] for genotype in sampled)
    assert first(1) == sampled != first(2)


@pytest.mark.parametrize("predictor", KINDS)
def test_k_of_each_level_are_tried_and_each_grew_from_one_that_lives(drive: Any, predictor: str) -> None:
    search = to_the_end(drive(ProgressiveSearch(**SMALL, predictor=predictor), SPACE))
    assert levels(search) == [6, 6, 6]
    assert len({SPACE.key(one.genotype) for one in search.individuals}) == 18
    by_id = {one.id: one for one in search.individuals}
    for one in search.individuals:  # of the two spellings of a block, always the same
        assert all(map(SPACE.in_order, np.reshape(one.genotype.choices, (-1, 4)).tolist()))
    for one in search.individuals[6:]:
        parent = by_id[one.parent]
        assert level(parent) == level(one) - 1
        assert one.genotype in set(SPACE.grown(parent.genotype))
    assert not any(one.memo or one.parent for one in search.individuals[:6])
    for members in (search.individuals[6:12], search.individuals[12:]):
        predictions = [one.memo[0] for one in members]
        assert predictions == sorted(predictions, reverse=True)
    assert [set(notes) - {"level"} for notes in search.updates] == [
        {"rank_fit", "rank_fit_single"},
        {"rank_predicted", "rank_predicted_single", "rank_fit", "rank_fit_single"},
        {"rank_predicted", "rank_predicted_single"},
    ]
    assert [notes["level"] for notes in search.updates] == [1, 2, 3]


def test_the_members_are_the_best_ranked_of_all_children(drive: Any) -> None:
    search = drive(ProgressiveSearch(**SMALL), SPACE).run(6)
    first = [ask(search)]
    while (proposal := ask(search, *first)) is not None:
        first.append(proposal)
    children = [child for parent in search.individuals for child in SPACE.grown(parent.genotype)]
    ordered = [child for child in children if SPACE.in_order(child.choices[4:])]
    predicted = search.strategy._surrogate.predict(np.reshape([child.choices for child in ordered], (-1, 2, 4))).mean(0)
    best: dict[str, float] = {}
    for child, score in zip(ordered, predicted, strict=True):
        best[SPACE.key(child)] = max(score, best.get(SPACE.key(child), 0.0))
    expected = sorted(best.values(), reverse=True)[:6]
    assert [proposal.memo[0] for proposal in first] == pytest.approx(expected, abs=1e-6)


def test_with_a_wide_beam_every_cell_is_tried_once(drive: Any) -> None:
    space = growing("pnas(blocks=2,ops=identity)")
    search = to_the_end(drive(ProgressiveSearch(beam=1000, epochs=1), space))
    cells = [cell for first in space.grown(None) for cell in (first, *space.grown(first))]
    assert {space.key(one.genotype) for one in search.individuals} == {space.key(cell) for cell in cells}
    assert len(search.individuals) == len({space.key(cell) for cell in cells})


def test_between_levels_it_waits_and_at_the_end_it_has_nothing_left(drive: Any) -> None:
    search = drive(ProgressiveSearch(**SMALL), SPACE)
    rng, id = np.random.default_rng(0), 0
    for blocks in (1, 2, 3):
        pending: dict[int, Proposal] = {}
        while (proposal := ask(search, *pending.values())) is not None:
            id += 1
            pending[id] = proposal
        assert len(pending) == 6
        for ended in rng.permutation(list(pending)).tolist():  # in another order than asked
            assert ask(search, *pending.values()) is None
            notes = search.tell(search.ended(ended, pending.pop(ended)))
            assert bool(notes) == (not pending)
        assert notes["level"] == blocks
    assert ask(search) is None
    search.tell(search.ended(99, Proposal(SPACE.sample(rng))))
    assert ask(search) is None


def test_told_again_it_is_the_same_to_the_last_bit(drive: Any) -> None:
    torch = pytest.importorskip("torch")
    original = to_the_end(drive(ProgressiveSearch(**SMALL, predictor="both"), SPACE, seed=5, fails=lambda id: id == 3))
    for stop in (4, 7, 15):
        search = drive(ProgressiveSearch(**SMALL, predictor="both"), SPACE, seed=5, fails=lambda id: id == 3)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)  # as somebody else in this process may have it
        try:
            for one in original.individuals[:stop]:
                search.tell(one)
        finally:
            torch.set_num_threads(threads)
        assert to_the_end(search).individuals == original.individuals
        assert search.notes == original.notes


FAILS: dict[str, Callable[[int], bool]] = {
    "the first": lambda id: id == 1,
    "the last of a level": lambda id: id % 6 == 0,
    "all but one of a level": lambda id: id % 6 != 0,
}


@pytest.mark.parametrize("rule", FAILS)
def test_a_level_is_complete_whatever_became_of_its_members(drive: Any, rule: str) -> None:
    search = to_the_end(drive(ProgressiveSearch(**SMALL), SPACE, fails=FAILS[rule]))
    assert levels(search) == [6, 6, 6]
    dead = {one.id for one in search.individuals if not one.ok}
    assert dead.isdisjoint(one.parent for one in search.individuals)


def test_where_a_whole_level_failed_the_next_of_its_ranking_are_tried(drive: Any) -> None:
    search = to_the_end(drive(ProgressiveSearch(**SMALL), SPACE, fails=lambda id: id <= 6 or 11 <= id <= 22))
    # 6 of 10 one-block cells fail, then the other 4 are tried; twice 6 of two blocks fail before 6 live.
    assert levels(search) == [10, 18, 6]
    assert len({SPACE.key(one.genotype) for one in search.individuals}) == 34
    assert [notes["level"] for notes in search.updates] == [1, 2, 3]


def test_where_everything_fails_everything_is_tried_before_the_search_ends(drive: Any) -> None:
    search = to_the_end(drive(ProgressiveSearch(**SMALL), SPACE, fails=lambda id: True))
    assert levels(search) == [10, 0, 0]
    assert not search.updates


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("predictor", KINDS)
def test_constant_scores_neither_crash_nor_stall_it(drive: Any, constant: float, predictor: str) -> None:
    search = drive(ProgressiveSearch(**SMALL, predictor=predictor), SPACE)
    to_the_end(search, lambda choices, id: constant)
    assert levels(search) == [6, 6, 6]
    assert [set(notes) for notes in search.updates] == [{"level"}] * 3  # a rank correlation is undefined
    assert all(np.isfinite(value) for one in search.individuals for value in one.memo)


def test_strangers_change_nothing(drive: Any) -> None:
    alone = drive(ProgressiveSearch(**SMALL), SPACE)
    visited = drive(ProgressiveSearch(**SMALL), SPACE)
    rng = np.random.default_rng(0)
    for id in range(1, 19):
        for _ in range(2):
            stranger = SPACE.sample(rng)
            visited.population.add(Individual(1000 + id, stranger, Outcome.OK, 1.0))
            visited.strategy.tell(Individual(1000 + id, stranger, Outcome.OK, 1.0), np.random.default_rng(id))
        assert ask(alone) == ask(visited)
        alone.step()
        visited.step()
    assert alone.notes == visited.notes


def test_a_member_told_before_it_was_asked_is_not_asked_again(drive: Any) -> None:
    search = drive(ProgressiveSearch(**SMALL), SPACE)
    first = ask(search)
    assert first is not None
    second = ask(search, first)
    assert second is not None
    search.tell(Individual(50, second.genotype, Outcome.REUSED, 0.7))
    to_the_end(search)
    assert [one.genotype for one in search.individuals].count(second.genotype) == 1
    assert levels(search) == [6, 6, 6]


def test_a_level_all_of_whose_members_are_known_is_passed_at_once(drive: Any) -> None:
    source = to_the_end(drive(ProgressiveSearch(**SMALL), SPACE))
    search = drive(ProgressiveSearch(**SMALL), SPACE)
    for one in [*source.individuals[6:], *source.individuals[:6]]:
        notes = search.tell(one)
    # With the last of level 1 the search chooses the same level 2, all of which is known by then.
    assert notes["level"] == 2
    proposal = ask(search)
    assert proposal is not None
    assert level(proposal) == 3


@pytest.mark.slow
def test_it_finds_better_cells_than_chance(drive: Any) -> None:
    space = growing("pnas(blocks=3)")
    last, notes = [], []
    for seed in range(3):
        search = to_the_end(drive(ProgressiveSearch(beam=40), space, seed=seed))
        last.append(search.mean_truth_of_last(40))
        notes.append([update["rank_fit"] for update in search.updates[:-1]])
    # Over 10 seeds, mean and sd: 0.841 +- 0.025; with predictions shuffled 0.510 +- 0.019, as random cells have.
    assert np.mean(last) > 0.75
    # 0.994 +- 0.003 and 0.957 +- 0.015
    assert np.mean(notes, 0) == pytest.approx([1.0, 0.95], abs=0.05)


def test_a_space_that_cannot_grow_is_refused_in_one_line() -> None:
    strategy = ProgressiveSearch()
    for name in SPACES:
        space = build_space(name)
        if isinstance(space, GrowingSpace):
            assert strategy.suited(space) is strategy
            continue
        with pytest.raises(ValueError, match=f"which the space {name} ") as caught:
            strategy.suited(space)
        assert "\n" not in str(caught.value)
        assert all(other in str(caught.value) for other in SPACES if isinstance(build_space(other), GrowingSpace))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam must be at least 1, not 0"),
        ({"ensemble": 0}, "ensemble must be at least 1"),
        ({"epochs": -1}, "epochs must be at least 1"),
        ({"predictor": "tree"}, "predictor must be one of mlp, lstm, both, not 'tree'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProgressiveSearch(**options)


# The surrogate ------------------------------------------------------------------------------------------------------


def cells(space: GrowingSpace, blocks: int, n: int) -> np.ndarray:
    """Choices of the first cell of n random genotypes: (n, b, w)."""
    rng = np.random.default_rng(blocks)
    genotypes = [space.at(blocks).sample(rng) for _ in range(n)]
    width = len(space.last_block(1))
    return np.array([g.choices[: blocks * width] for g in genotypes]).reshape(n, blocks, width)


def test_hidden_states_share_their_embedding_and_operations_theirs() -> None:
    assert Vocabulary.of(growing("pnas").last_block(5)) == Vocabulary((0, 0, 6, 6), 14)
    assert Vocabulary.of(growing("nasnet").last_block(5)) == Vocabulary((0, 0, 6, 6, 19), 21)


@pytest.mark.parametrize("spelling", ["pnas", "nasnet"])
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_children_are_predicted_as_if_each_were_read_from_the_start(spelling: str, kind: str) -> None:
    space = growing(spelling)
    surrogate = Surrogate(space.last_block(5), kind, 3, 2, np.random.default_rng(0))
    parents, scores = cells(space, 2, 9), np.random.default_rng(0).random(9).tolist()
    surrogate.fit(parents, scores, np.random.default_rng(0))
    options = [len(decision.options) for decision in space.last_block(3)]
    ways = np.random.default_rng(0).integers(options, size=(100, len(options)))
    predicted = surrogate.predict_children(parents, ways)
    assert predicted.shape == (9, 100)
    for parent, row in zip(parents, predicted, strict=True):
        children = np.array([[*parent, way] for way in ways])
        assert row == pytest.approx(surrogate.predict(children).mean(0), abs=1e-5)
    assert predicted.std() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_the_surrogate_learns_an_order_wherever_the_scores_lie(kind: str) -> None:
    choices = cells(growing("pnas"), 2, 60)
    operations = choices[:, :, 2:].mean((1, 2)) / 7
    for low, high in ((0.05, 0.15), (0.85, 0.95)):
        surrogate = Surrogate(growing("pnas").last_block(5), kind, 2, 40, np.random.default_rng(0))
        scores = (low + (high - low) * operations).tolist()
        surrogate.fit(choices, scores, np.random.default_rng(0))
        predicted = surrogate.predict(choices)
        for one in predicted:  # every network alone
            assert (rank_correlation(one, scores) or 0) > 0.9
            assert np.abs(one - scores).mean() < 0.03


@pytest.mark.slow
def test_each_network_of_an_ensemble_leaves_out_a_share_of_its_own() -> None:
    choices = cells(growing("pnas"), 1, 4)
    scores = [0.125, 0.25, 0.5, 0.75]

    def predictions(scores: list[float], members: int) -> np.ndarray:
        surrogate = Surrogate(growing("pnas").last_block(5), "mlp", members, 60, np.random.default_rng(0))
        surrogate.fit(choices, scores, np.random.default_rng(0))
        return surrogate.predict(choices)

    for members, expected in ((1, 0), (2, 2)):
        before = predictions(scores, members)
        unmoved = 0
        for a, b in combinations(range(4), 2):  # to swap scores keeps their mean
            swapped = list(scores)
            swapped[a], swapped[b] = scores[b], scores[a]
            unmoved += int((predictions(swapped, members) == before).all(1).sum())
        assert unmoved == expected, "two shares of two cells: one network sees nothing of either swap"


@pytest.mark.parametrize("kind", KINDS)
def test_one_result_is_enough_to_go_on(kind: str) -> None:
    surrogate = Surrogate(growing("pnas").last_block(5), kind, 5, 2, np.random.default_rng(0))
    surrogate.fit(cells(growing("pnas"), 1, 1), [0.4], np.random.default_rng(0))
    assert np.isfinite(surrogate.predict(cells(growing("pnas"), 3, 5))).all()


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(8, size=(2, 15))  # with ties
        assert rank_correlation(a, b) == pytest.approx(float(spearmanr(a, b).statistic))
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([0.5], [0.1]) is None
