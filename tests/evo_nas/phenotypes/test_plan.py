"""Where cells stand, how wide they are and what they read, against the loops of the released code."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.plan import MACROS, Plan, output_channels, parse_size, plan_network, state_channels
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.stacking import STACKINGS
from genotypes.zoo import AMOEBANET_A, CELLS, DARTS_V2, NASNET_A, PNASNET_5


def block(left: int, left_op: str, right: int, right_op: str, combine: str = "add") -> Block:
    return Block(Edge(left, left_op), Edge(right, right_op), combine)


# Reads both inputs and puts everything out, so that every way between two cells is built and every size must agree.
ALL = Cell((block(0, "conv_1x1", 1, "max_pool_3x3"), block(1, "identity", 2, "skip_connect", "concat")), (0, 1, 2, 3))


def drawn(plan: Plan) -> str:
    """Draw a plan as words: n2 is a normal cell of 2F filters, R2 a reduction cell of as many."""
    return " ".join(f"{'nR'[layer.stride - 1]}{layer.filters / plan.filters:g}" for layer in plan.layers)


NAMED = {"nasnet": NASNET_A, "amoebanet": AMOEBANET_A, "pnasnet": PNASNET_5, "darts": DARTS_V2}


@pytest.mark.parametrize(
    ("stacking", "macro", "cells_per_stack", "expected"),
    [
        ("nasnet", "cifar", 1, "n1 R2 n2 R4 n4"),
        ("nasnet", "cifar", 2, "n1 n1 R2 n2 n2 R4 n4 n4"),
        ("amoebanet", "cifar", 2, "n1 n1 R2 n2 n2 R4 n4 n4"),
        ("darts", "cifar", 2, "n1 n1 R2 n2 n2 R4 n4 n4"),
        ("pnasnet", "cifar", 1, "n1 R2 R4"),
        ("pnasnet", "cifar", 3, "n1 n1 n1 R2 n2 n2 R4 n4 n4"),
        ("nasnet", "imagenet", 1, "R0.25 R0.5 n1 R2 n2 R4 n4"),
        ("amoebanet", "imagenet", 2, "R0.25 R0.5 n1 n1 R2 n2 n2 R4 n4 n4"),
        ("pnasnet", "imagenet", 2, "R0.25 R0.5 n1 n1 R2 n2 R4 n4"),
        ("darts", "imagenet", 1, "n1 R2 n2 R4 n4"),
    ],
)
def test_cells_stand_where_the_released_networks_have_them(
    stacking: str, macro: str, cells_per_stack: int, expected: str
) -> None:
    plan = plan_network(NAMED[stacking], macro=macro, cells_per_stack=cells_per_stack, filters=8)
    assert drawn(plan) == expected


@pytest.mark.parametrize("cells_per_stack", range(1, 9))
def test_reductions_lie_at_the_thirds_that_the_released_code_computes(cells_per_stack: int) -> None:
    n = cells_per_stack
    strides = {
        name: [layer.stride for layer in plan_network(NAMED[name], cells_per_stack=n, filters=8).layers]
        for name in NAMED
    }
    # slim's calc_reduction_layers: int(k / 3 * num_cells), num_cells counting normal cells, or all of PNASNet's.
    thirds = [int(k / 3 * 3 * n) for k in (1, 2)]
    assert len(strides["pnasnet"]) == 3 * n
    assert [index for index, stride in enumerate(strides["pnasnet"]) if stride == 2] == thirds
    before = [
        len([s for s in strides["nasnet"][:index] if s == 1]) for index, s in enumerate(strides["nasnet"]) if s == 2
    ]
    assert before == thirds
    assert strides["amoebanet"] == strides["nasnet"]
    # DARTS: layers // 3 and 2 * layers // 3 of all cells (cnn/model.py).
    layers = 3 * n + 2
    assert [index for index, s in enumerate(strides["darts"]) if s == 2] == [layers // 3, 2 * layers // 3]


def wired_by_slim(cells_per_stack: int, stem_cells: int, skips: bool) -> list[int | None]:
    """Walk through the loop of slim's nasnet.py: which output each cell reads as h_{i-1}; 0 is the stem's."""
    outputs: list[int | None] = [None, 0]
    reads: list[int | None] = []

    def cell(previous: int | None) -> None:
        reads.append(previous)
        outputs.append(len(outputs) - 1)

    for _ in range(stem_cells):
        cell(outputs[-2])
    for index in range(3 * cells_per_stack):
        previous = outputs[-2]
        if index in (cells_per_stack, 2 * cells_per_stack):
            cell(outputs[-2])
        if not skips:
            previous = outputs[-2]
        cell(previous)
    return reads


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("cells_per_stack", [1, 2, 3, 6])
def test_h_before_is_wired_as_by_the_loop_of_the_released_code(cells_per_stack: int, macro: str, skips: bool) -> None:
    plan = plan_network(NASNET_A, macro=macro, cells_per_stack=cells_per_stack, filters=8, skip_reduction_input=skips)
    # Of outputs, 0 is the stem's and i + 1 that of cell i.
    reads = [None if layer.previous is None else i + 1 - layer.previous for i, layer in enumerate(plan.layers)]
    assert reads == wired_by_slim(cells_per_stack, 2 if macro == "imagenet" else 0, skips)


def test_only_nasnets_large_networks_skip_by_default() -> None:
    for name, pair in NAMED.items():
        for macro, filters in (("cifar", 168), ("imagenet", 44), ("imagenet", 99), ("imagenet", 100)):
            options = {"macro": macro, "cells_per_stack": 2, "filters": filters}
            skips = name == "nasnet" and macro == "imagenet" and filters >= 100
            assert plan_network(pair, **options) == plan_network(pair, **options, skip_reduction_input=skips)  # type: ignore[arg-type]
    one, other = (
        plan_network(NASNET_A, macro="imagenet", cells_per_stack=2, filters=168, skip_reduction_input=skips)
        for skips in (False, True)
    )
    assert one != other


def test_the_cell_after_a_stem_cell_never_skips() -> None:
    plan = plan_network(NASNET_A, macro="imagenet", cells_per_stack=2, filters=168, skip_reduction_input=True)
    assert [layer.previous for layer in plan.layers] == [None, 2, 2, 2, 2, 3, 2, 2, 3, 2]


def test_the_stem_has_the_published_filters() -> None:
    stems = {
        (name, macro, filters): plan_network(NAMED[name], macro=macro, cells_per_stack=1, filters=filters).stem
        for name in NAMED
        for macro, filters in (("cifar", 36), ("imagenet", 48), ("imagenet", 168))
    }
    assert stems == {
        **{(name, "cifar", 36): 108 for name in NAMED},
        **{(name, "imagenet", 48): 32 for name in ("nasnet", "pnasnet", "amoebanet")},
        **{(name, "imagenet", 168): 96 for name in ("nasnet", "pnasnet")},
        ("amoebanet", "imagenet", 168): 32,
        ("darts", "imagenet", 48): 48,
        ("darts", "imagenet", 168): 168,
    }
    assert plan_network(NASNET_A, cells_per_stack=1, filters=36, stem=7).stem == 7


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("cells_per_stack", [1, 2, 5])
def test_the_auxiliary_classifier_reads_at_two_thirds(macro: str, cells_per_stack: int) -> None:
    for name, pair in NAMED.items():
        plan = plan_network(pair, macro=macro, cells_per_stack=cells_per_stack, filters=8)
        layer = plan.layers[plan.auxiliary]
        after = plan.layers[plan.auxiliary + 1]
        if name == "darts":
            assert (layer.stride, layer.filters) == (2, 32), "the second reduction cell itself"
        else:
            assert (after.stride, after.filters) == (2, 32), "what the second reduction cell reads"
            # In PNASNet's stacks of one cell, this is the first reduction cell.
            assert (layer.stride, layer.filters) == (2 if name == "pnasnet" and cells_per_stack == 1 else 1, 16)


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("stacking", STACKINGS)
@pytest.mark.parametrize("cells_per_stack", [1, 2])
def test_sizes_and_widths_agree_wherever_cells_meet(
    cells_per_stack: int, stacking: str, skips: bool, macro: str
) -> None:
    network = CellNetwork(
        CellPair(ALL, ALL, stacking),
        cells_per_stack=cells_per_stack,
        filters=10,  # F / 4 = 2, rounded down
        classes=7,
        macro=macro,
        channels=2,
        skip_reduction_input=skips,
    ).eval()  # on meta tensors a pass costs ten times as much: they are computed in Python
    shapes: list[tuple[int, ...]] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _module, _inputs, y: shapes.append(tuple(y.shape)))
    for image in (8, 11, 32, 95, 331 if macro == "imagenet" else 43):
        shapes.clear()
        with torch.inference_mode():
            assert network(torch.zeros(2, 2, image, image)).shape == (2, 7)
        size = image
        if macro == "imagenet":
            size = -(-image // 8) if stacking == "darts" else (image - 3) // 2 + 1
        for layer, shape in zip(network.plan.layers, shapes, strict=True):
            size = -(-size // layer.stride)
            assert shape == (2, 5 * layer.filters, size, size)


def test_widths_count_concatenated_blocks_twice() -> None:
    assert [state_channels(ALL, state, 3) for state in range(4)] == [3, 3, 3, 6]
    assert output_channels(ALL, 3) == 15


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("6@4032", "nasnet-a", (6, 168)),
        ("4@1056", "nasnet-a", (4, 44)),
        ("7@2304", "nasnet-a", (7, 96)),
        (" 6 @ 768 ", "nasnet-a", (6, 32)),
        ("6@3040", "amoebanet-a", (6, 190)),
        ("4@4320", "pnasnet-5", (4, 216)),
        ("3@1080", "pnasnet-5", (3, 54)),
        ("6@576", "darts-v2", (6, 36)),
    ],
)
def test_the_notation_gives_cells_and_filters(text: str, name: str, expected: tuple[int, int]) -> None:
    assert parse_size(text, CELLS[name]) == expected
    cells_per_stack, filters = expected
    for macro in MACROS:
        plan = plan_network(CELLS[name], macro=macro, cells_per_stack=cells_per_stack, filters=filters)
        assert plan.penultimate == int(text.split("@")[1])


def test_the_notation_of_a_cell_that_concatenates() -> None:
    pair = CellPair(ALL, NASNET_A.reduction)
    assert parse_size("2@100", pair) == (2, 5)
    # Where stacks have one cell and it is a reduction cell, that is the last one.
    assert parse_size("1@16", dataclasses.replace(pair, stacking="pnasnet")) == (1, 1)


@pytest.mark.parametrize(
    "text", ["", "6", "@", "6@", "@4032", "6@4032@1", "6x4032", "-6@4032", "6@-24", "6.0@4032", "0@24"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is N@P, cells per stack and penultimate filters, as in 6@4032, not"):
        parse_size(text, NASNET_A)


@pytest.mark.parametrize(
    ("text", "near"),
    [("5@1538", "5@1536 and 5@1560"), ("6@4033", "6@4032 and 6@4056"), ("6@0", "6@24"), ("6@23", "6@24")],
)
def test_penultimate_filters_that_no_width_gives_are_refused_with_those_near(text: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"^{text} does not fit this cell, .* multiple of 24; near it are {near}"):
        parse_size(text, NASNET_A)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"macro": "mnist"}, "no macro-architecture 'mnist'; there are: cifar, imagenet"),
        ({"cells_per_stack": 0}, "cells_per_stack must be at least 1, not 0"),
        ({"filters": 0}, "filters must be at least 1, not 0"),
        ({"stem": 0}, "stem must be at least 1, not 0"),
        ({"filters": 10**6 + 1}, "filters must be at most 1,000,000, not 1000001"),
        ({"stem": 10**9}, "stem must be at most 1,000,000, not 1000000000"),
        (
            {"cells_per_stack": 10**9},
            "1000000000 cells per stack of 5 blocks each make more than the 10,000 operations",
        ),
        ({"cells_per_stack": 333}, "333 cells per stack of 5 blocks each make more than the 10,000 operations"),
        ({"macro": "imagenet", "filters": 3}, "quarter of the filters: at least 4, not 3"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"cells_per_stack": 1, "filters": 8} | options
    with pytest.raises(ValueError, match=message):
        plan_network(NASNET_A, **settings)  # type: ignore[arg-type]


def test_every_size_that_the_command_line_takes_by_itself_can_be_planned() -> None:
    assert len(plan_network(NASNET_A, macro="imagenet", cells_per_stack=200, filters=10**5, stem=10**6).layers) == 604


def test_a_strided_stem_needs_two_filters() -> None:
    with pytest.raises(ValueError, match="begins with half of its filters and needs at least 2, not 1"):
        plan_network(DARTS_V2, macro="imagenet", cells_per_stack=1, filters=1)
    assert plan_network(DARTS_V2, macro="imagenet", cells_per_stack=1, filters=1, stem=2).stem == 2
