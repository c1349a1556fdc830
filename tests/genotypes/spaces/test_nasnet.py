"""The NASNet space: the paper's decisions, and the mutation of Real et al. 2018 with its probabilities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genotypes.catalogue import build_space
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.spaces.nasnet import PAPER_OPS, NASNetSpace


def test_the_paper_predicts_fifty_decisions_in_its_order() -> None:
    decisions = NASNetSpace().decisions
    assert len(decisions) == 50
    assert [d.name for d in decisions[:5]] == [
        "normal/block0/hidden_1",
        "normal/block0/hidden_2",
        "normal/block0/op_1",
        "normal/block0/op_2",
        "normal/block0/combine",
    ]
    assert decisions[25].name == "reduction/block0/hidden_1"
    assert [len(d.options) for d in decisions[20:25]] == [6, 6, 13, 13, 2]


def test_the_size_is_the_published_one() -> None:
    # prod (b + 1)^2 over blocks, 13 operations, 2 combinations, for each cell (Zoph et al. 2017, section 3.1)
    one_cell = (2 * 3 * 4 * 5 * 6) ** 2 * 13**10 * 2**5
    assert NASNetSpace().size == one_cell**2
    assert f"{one_cell:.3e}" == "2.287e+18"
    eight_ops = NASNetSpace(ops=PAPER_OPS[:8], combines=("add",))
    assert f"{eight_ops.size**0.5:.3e}" == "5.566e+14"


def test_the_paper_lists_thirteen_operations_and_all_known_ones_can_be_named() -> None:
    assert len(PAPER_OPS) == 13
    everything = NASNetSpace(ops=tuple(OPERATIONS), combines=tuple(COMBINES))
    assert set(PAPER_OPS) < set(everything.decisions[2].options)
    assert everything.decisions[2].options == tuple(OPERATIONS)
    assert everything.decisions[4].options == ("add", "concat", "add_layer_norm", "add_instance_norm")


def test_nasnet_b_and_c_were_found_with_four_combinations() -> None:
    space = build_space("nasnet(combines=add+concat+add_layer_norm+add_instance_norm)")
    assert space == NASNetSpace(combines=tuple(COMBINES))
    assert space.size == NASNetSpace(combines=("add",)).size * 4**10
    choices = [0, 1, 10, 4, 0, 0, 1, 10, 4, 1, 0, 1, 10, 4, 2, 0, 1, 10, 4, 3, 0, 1, 10, 4, 0] * 2
    cell = space.decode(space.genotype(choices)).normal
    assert [block.combine for block in cell.blocks] == [*COMBINES, "add"]
    # What differs in its combination alone is another network.
    keys = {space.key(space.genotype([*choices[:4], combine, *choices[5:]])) for combine in range(4)}
    assert len(keys) == 4


def test_the_first_five_choices_are_the_first_block() -> None:
    space = NASNetSpace()
    choices = [0] * 50
    choices[:5] = [1, 0, 10, 4, 1]
    pair = space.decode(space.genotype(choices))
    assert str(pair.normal.blocks[0]) == "concat(sep_conv_3x3(1), avg_pool_3x3(0))"
    assert str(pair.reduction.blocks[0]) == "add(identity(0), identity(0))"


def kind_of_change(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return ["hidden", "hidden", "op", "op", "combine"][changed[0] % 5] if changed else "none"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("combines", "shares"),
    [
        # An operation is drawn from all 13 and may come out the same: then nothing changes.
        (("add",), {"none": 0.05 + 0.475 / 13, "hidden": 0.475, "op": 0.475 * 12 / 13}),
        (
            ("add", "concat"),
            {
                "none": 0.05 + 0.95 / 3 / 13,
                "hidden": 0.95 / 3,
                "op": 0.95 / 3 * 12 / 13,
                "combine": 0.95 / 3,
            },
        ),
    ],
)
def test_mutations_have_the_published_probabilities(combines: tuple[str, ...], shares: dict[str, float]) -> None:
    space, rng, n = NASNetSpace(combines=combines), np.random.default_rng(0), 20_000
    kinds: Counter[str] = Counter()
    positions: Counter[int] = Counter()
    for _ in range(n):
        parent = space.sample(rng)
        child = space.mutate(parent, rng)
        kinds[kind_of_change(parent.choices, child.choices)] += 1
        for i, (a, b) in enumerate(zip(parent.choices, child.choices, strict=True)):
            positions[i] += a != b
    assert set(kinds) == set(shares)
    for kind, share in shares.items():
        assert abs(kinds[kind] / n - share) < 4 * (share * (1 - share) / n) ** 0.5, kind
    # Every block of both cells and both sides are equally likely.
    for step in range(4):
        counts = [positions[i] for i in range(step, 50, 5)]
        assert max(abs(c - np.mean(counts)) for c in counts) < 5 * np.mean(counts) ** 0.5


def test_a_hidden_state_mutation_never_makes_a_loop() -> None:
    space, rng = NASNetSpace(ops=("identity",), combines=("add",)), np.random.default_rng(0)
    genotype = space.sample(rng)
    for _ in range(2000):
        genotype = space.mutate(genotype, rng)
        space.decode(genotype)  # a cell refuses to read what does not exist yet


def test_words_are_those_of_the_decoded_cells() -> None:
    rng = np.random.default_rng(0)
    for spelling in ("nasnet", "amoebanet", "pnas", "darts", "nasnet(blocks=2,combines=add)"):
        space = build_space(spelling)
        for _ in range(50):
            genotype = space.sample(rng)
            pair = space.decode(genotype)
            expected = []
            for name, cell in zip(space.cells, (pair.normal, pair.reduction), strict=False):
                labels = ["input 0", "input 1"]
                order = {op: position for position, op in enumerate(space.ops)}
                for block in cell.blocks:
                    ops = sorted((edge.op for edge in block.edges), key=order.__getitem__)
                    labels.append(f"{block.combine}({', '.join(ops)})")
                for state in cell.live_states() - {0, 1}:
                    for edge in cell.blocks[state - 2].edges:
                        expected += [f"{name} {edge.op}", f"{name} {edge.op} of {labels[edge.source]}"]
            assert sorted(space.words(genotype)) == sorted(expected)


def test_isomorphic_genotypes_have_the_same_words() -> None:
    space = build_space("pnas(blocks=2)")
    one, other = (space.genotype(choices) for choices in ((0, 1, 2, 3, 0, 1, 4, 5), (1, 0, 5, 4, 1, 0, 3, 2)))
    assert space.key(one) == space.key(other)
    assert sorted(space.words(one)) == sorted(space.words(other))
