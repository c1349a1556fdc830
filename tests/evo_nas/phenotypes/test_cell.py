import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evo_nas.phenotypes.cell import CellModule, DropPath, check_vocabulary
from evo_nas.phenotypes.ops import FactorizedReduction
from evo_nas.phenotypes.plan import output_channels
from genotypes.cell import Block, Cell, Edge
from genotypes.genotype import GenotypeError


def block(left: int, left_op: str, right: int, right_op: str, combine: str = "add") -> Block:
    return Block(Edge(left, left_op), Edge(right, right_op), combine)


SUM = Cell.join_leaves([block(0, "identity", 1, "identity")])


def build(
    cell: Cell, current: int = 6, previous: int | None = 4, larger: bool = False, filters: int = 4, stride: int = 1
) -> CellModule:
    module = CellModule(
        cell, current=current, previous=previous, previous_is_larger=larger, filters=filters, stride=stride
    )
    return module.eval()


def test_state_0_is_the_fitted_cell_before_and_state_1_the_one_before_that() -> None:
    module = build(SUM)
    current, previous = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.equal(module(current, previous), module.fit_current(current) + previous)
    assert [type(layer) for layer in module.fit_current] == [nn.ReLU, type(module.fit_current[1]), nn.BatchNorm2d]


def test_previous_of_another_width_goes_through_relu_1x1_norm() -> None:
    module = build(SUM, previous=5)
    previous = torch.randn(2, 5, 8, 8)
    conv = module.fit_previous[1]
    expected = module.fit_previous[2](F.conv2d(previous.relu(), conv.weight))
    torch.testing.assert_close(module.fit_previous(previous), expected)
    assert conv.kernel_size == (1, 1)


def test_previous_from_before_a_reduction_is_halved_even_if_its_width_fits() -> None:
    module = build(SUM, previous=4, larger=True)
    assert [type(layer) for layer in module.fit_previous] == [nn.ReLU, FactorizedReduction]
    assert module(torch.randn(2, 6, 4, 4), torch.randn(2, 4, 7, 7)).shape == (2, 4, 4, 4)


def test_missing_previous_is_the_raw_current() -> None:
    module = build(Cell.join_leaves([block(1, "max_pool_3x3", 1, "max_pool_3x3", "concat")]), previous=None, filters=6)
    current = torch.randn(2, 6, 8, 8)
    pooled = F.max_pool2d(current, 3, 1, 1)
    assert torch.equal(module(current, current), torch.cat([pooled, pooled], dim=1))


def test_missing_previous_in_the_output_is_fitted_without_a_relu() -> None:
    module = build(Cell(SUM.blocks, (1, 2)), previous=None)
    current = torch.randn(2, 6, 8, 8)
    conv, norm = module.fit_output[0]
    torch.testing.assert_close(module(current, current)[:, :4], norm(conv(current)))


def test_concat_doubles_the_width_and_each_reader_fits_it_back() -> None:
    cell = Cell.join_leaves(
        [block(0, "identity", 1, "identity", "concat"), block(2, "max_pool_3x3", 2, "identity", "concat")]
    )
    module = build(cell)
    current, previous = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    wide = torch.cat([module.fit_current(current), previous], dim=1)
    left, right = module.blocks[1].left, module.blocks[1].right
    fitted = [path[2](F.conv2d(wide.relu(), path[1].weight)) for path in (left, right)]
    expected = torch.cat([F.max_pool2d(fitted[0], 3, 1, 1), fitted[1]], dim=1)
    torch.testing.assert_close(module(current, previous), expected)
    assert output_channels(cell, 4) == 8


@pytest.mark.parametrize(("height", "width"), [(6, 5), (1, 1)])
def test_a_sum_can_be_normed_over_the_layer_or_over_each_channel(height: int, width: int) -> None:
    current, previous = (torch.randn(3, c, height, width, dtype=torch.float64) for c in (6, 4))
    for combine, oracle in (
        ("add_layer_norm", nn.LayerNorm([4, height, width], elementwise_affine=False)),
        ("add_instance_norm", nn.InstanceNorm2d(4)),
    ):
        module = build(Cell.join_leaves([block(0, "identity", 1, "identity", combine)])).double()
        norm = module.blocks[0].norm
        assert {name: tuple(value.shape) for name, value in norm.named_parameters()} == {"weight": (4,), "bias": (4,)}
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        total = module.fit_current(current) + previous
        # One pixel of its own has no variance; torch's instance norm then refuses.
        normed = oracle(total) if height > 1 or combine == "add_layer_norm" else torch.zeros_like(total)
        expected = normed * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(module(current, previous), expected)


def test_darts_fits_h_before_even_if_it_has_the_width() -> None:
    fitted = CellModule(
        SUM, current=6, previous=4, previous_is_larger=False, filters=4, stride=1, fits_always=True
    ).eval()
    current, previous = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    _, conv, norm = fitted.fit_previous
    expected = fitted.fit_current(current) + norm(F.conv2d(previous.relu(), conv.weight))
    torch.testing.assert_close(fitted(current, previous), expected)


def test_only_edges_from_an_input_stride() -> None:
    cell = Cell.join_leaves([block(0, "conv_1x1", 1, "max_pool_3x3"), block(2, "avg_pool_3x3", 1, "identity")])
    module = build(cell, stride=2)
    for size, half in ((8, 4), (7, 4), (1, 1)):
        y = module(torch.randn(2, 6, size, size), torch.randn(2, 4, size, size))
        assert y.shape == (2, 4, half, half)


def test_output_ascends_and_halves_listed_inputs() -> None:
    module = build(Cell(SUM.blocks, (0, 1, 2)), stride=2)
    current, previous = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)
    y = module(current, previous)
    assert y.shape == (2, 12, 4, 4)
    torch.testing.assert_close(y[:, :4], module.fit_output[0](module.fit_current(current)))
    torch.testing.assert_close(y[:, 4:8], module.fit_output[1](previous))
    assert [type(fit) for fit in module.fit_output] == [FactorizedReduction, FactorizedReduction, nn.Identity]


def test_what_reaches_no_output_is_not_built() -> None:
    cell = Cell((block(0, "sep_conv_7x7", 0, "conv_3x3"), block(1, "conv_1x1", 1, "identity")), output=(3,))
    assert cell.live_states() == {1, 3}
    module = build(cell)
    assert len(module.blocks) == 1
    assert isinstance(module.fit_current, nn.Identity)
    assert sum(p.numel() for p in module.parameters()) == 4 * 4 + 2 * 4
    assert module(torch.randn(2, 6, 8, 8), torch.randn(2, 4, 8, 8)).shape == (2, 4, 8, 8)


def test_a_cell_may_put_out_its_inputs_alone() -> None:
    module = build(Cell(SUM.blocks, (1,)))
    previous = torch.randn(2, 4, 8, 8)
    assert torch.equal(module(torch.randn(2, 6, 8, 8), previous), previous)


def test_unknown_words_are_refused_even_in_a_dead_block() -> None:
    dead = block(0, "identity", 0, "sep_conv_9x9")
    with pytest.raises(GenotypeError, match=r"block 1 names the operation 'sep_conv_9x9'; known: identity, "):
        check_vocabulary(Cell((*SUM.blocks, dead), (2,)))
    with pytest.raises(GenotypeError, match=r"block 0 names the combination 'multiply'; known: add, concat"):
        check_vocabulary(Cell.join_leaves([block(0, "identity", 1, "identity", "multiply")]))


def test_drop_path_drops_whole_examples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath()
    drop.keep = 0.7
    y = drop(torch.ones(20_000, 3, 2, 2)).flatten(1)
    assert torch.equal(y.amin(1), y.amax(1))
    torch.testing.assert_close(y[:, 0].unique(), torch.tensor([0, 1 / 0.7]))
    assert y.mean().item() == pytest.approx(1, abs=4 * (0.3 / 0.7 / 20_000) ** 0.5)  # four standard errors


def test_drop_path_does_nothing_in_evaluation_or_at_keep_1() -> None:
    drop, x = DropPath(), torch.randn(64, 3, 2, 2)
    assert drop(x) is x
    drop.keep = 0.1
    assert drop.eval()(x) is x


def test_paths_are_dropped_apart_from_each_other() -> None:
    torch.manual_seed(0)
    module = build(Cell.join_leaves([block(1, "max_pool_3x3", 1, "max_pool_3x3", "concat")])).train()
    for drop in module.modules():
        if isinstance(drop, DropPath):
            drop.keep = 0.5
    y = module(torch.randn(64, 6, 4, 4), torch.ones(64, 4, 4, 4))
    kept = torch.stack([y[:, 0, 0, 0], y[:, 4, 0, 0]], dim=1) > 0
    assert len(kept.unique(dim=0)) == 4


@pytest.mark.parametrize(
    ("edge_op", "concatenated", "drops"),
    [("identity", False, 0), ("identity", True, 0), ("max_pool_3x3", False, 1), ("conv_1x1", True, 1)],
)
def test_drop_path_follows_every_operation_but_an_identity(edge_op: str, concatenated: bool, drops: int) -> None:
    first = block(0, "identity", 1, "identity", "concat" if concatenated else "add")
    module = build(Cell.join_leaves([first, block(2, edge_op, 0, "identity")]))
    found = [name for name, m in module.named_modules() if isinstance(m, DropPath)]
    assert len(found) == drops
    assert all(name.startswith("blocks.1.left.") for name in found)
    strided = build(SUM, stride=2)
    assert not any(isinstance(m, DropPath) for m in strided.modules()), "strided identities are spared too"
