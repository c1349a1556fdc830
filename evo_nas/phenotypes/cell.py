"""A cell as a torch module: two inputs fitted to F channels, blocks, and the concatenation of their results."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.ops import OPS, FactorizedReduction, pointwise, relu_conv_bn
from evo_nas.phenotypes.plan import state_channels
from genotypes.cell import INPUTS, Block, Cell, Edge
from genotypes.genotype import GenotypeError, shorten
from genotypes.operations import COMBINES, OPERATIONS


def check_vocabulary(cell: Cell) -> None:
    """Check that every operation and combination of the cell is known.

    Raises:
        GenotypeError: if one is not; it names the block and lists what is known.
    """
    for index, block in enumerate(cell.blocks):
        for edge in block.edges:
            if edge.op not in OPERATIONS:
                raise GenotypeError(
                    f"block {index} names the operation {shorten(edge.op)!r}; known: {', '.join(OPERATIONS)}"
                )
        if block.combine not in COMBINES:
            raise GenotypeError(
                f"block {index} names the combination {shorten(block.combine)!r}; known: {', '.join(COMBINES)}"
            )


class DropPath(nn.Module):
    """Drop a whole path for some examples of a batch, and scale it for the others (Larsson et al. 2016).

    ``keep`` is the probability that an example keeps the path, in (0, 1]; in evaluation every example does. The
    draws come from torch's default generator of the tensor's device: whoever trains seeds it.
    """

    keep: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to the same shape and, over the draws, the same mean."""
        if not self.training or self.keep == 1:
            return x
        return x * (x.new_empty(len(x), 1, 1, 1).bernoulli_(self.keep) / self.keep)

    def extra_repr(self) -> str:
        """Show the probability in the printed network."""
        return f"keep={self.keep}"


class SumNorm(nn.GroupNorm):
    """Group norm that takes a single pixel too, of which small images leave no more: torch's own module refuses it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to the same shape."""
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class BlockModule(nn.Module):
    """Two edges and their combination: ``filters`` channels, or twice as many if it concatenates.

    ``channels`` are those of the hidden states; at stride 2 only edges from an input of the cell stride, because the
    other states are small already.
    """

    def __init__(self, block: Block, channels: dict[int, int], filters: int, stride: int) -> None:
        super().__init__()
        self.block = block
        self.left, self.right = (
            _path(edge, channels[edge.source], filters, stride if edge.source < INPUTS else 1) for edge in block.edges
        )
        # Over all channels together it is layer norm, over each alone instance norm.
        groups = {"add_layer_norm": 1, "add_instance_norm": filters}.get(block.combine)
        self.norm = SumNorm(groups, filters) if groups else nn.Identity()

    def forward(self, states: dict[int, Tensor]) -> Tensor:
        """Compute the block's hidden state from those before it."""
        left: Tensor = self.left(states[self.block.left.source])  # (n, F, h, w)
        right: Tensor = self.right(states[self.block.right.source])  # (n, F, h, w)
        joined: Tensor = torch.cat([left, right], dim=1) if self.block.combine == "concat" else left + right
        normed: Tensor = self.norm(joined)
        return normed


class CellModule(nn.Module):
    """One cell at F filters, as in the released NASNet code (tensorflow/models, slim/nets/nasnet).

    ``current`` counts the channels of h_i. ``previous`` counts those of h_{i-1}; where it is None, as in the first cell
    of a network, it gets h_i in its place, unfitted. ``previous_is_larger`` says that h_{i-1} comes from before
    a reduction. With ``fits_always`` it is fitted even where it has F channels. What reaches no output is not built.
    Operations and combinations are known: see :func:`check_vocabulary`.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        current: int,
        previous: int | None,
        previous_is_larger: bool,
        filters: int,
        stride: int,
        fits_always: bool = False,
    ) -> None:
        super().__init__()
        used = cell.live_states()
        self.output = cell.output
        self.fit_current = relu_conv_bn(current, filters) if 0 in used else nn.Identity()
        self.fit_previous: nn.Module = nn.Identity()
        if previous is not None and 1 in used:
            if previous_is_larger:
                self.fit_previous = nn.Sequential(nn.ReLU(), FactorizedReduction(previous, filters))
            elif previous != filters or fits_always:
                self.fit_previous = relu_conv_bn(previous, filters)

        channels = {s: state_channels(cell, s, filters) for s in range(INPUTS + len(cell.blocks))}
        channels[1] = current if previous is None else filters
        self.created = [state for state in sorted(used) if state >= INPUTS]
        self.blocks = nn.ModuleList(
            BlockModule(cell.blocks[state - INPUTS], channels, filters, stride) for state in self.created
        )
        self.fit_output = nn.ModuleList(_fit_output(state, channels[state], filters, stride) for state in self.output)

    def forward(self, current: Tensor, previous: Tensor) -> Tensor:
        """Map h_i, (n, current, h, w), and h_{i-1} to (n, output_channels, ceil(h / stride), ceil(w / stride))."""
        states = {
            0: self.fit_current(current),  # (n, F, h, w)
            1: self.fit_previous(previous),  # (n, F, h, w)
        }
        for state, block in zip(self.created, self.blocks, strict=True):
            states[state] = block(states)  # (n, F or 2F, ceil(h / stride), ceil(w / stride))
        outputs = [fit(states[state]) for state, fit in zip(self.output, self.fit_output, strict=True)]
        return torch.cat(outputs, dim=1)


def _path(edge: Edge, in_channels: int, filters: int, stride: int) -> nn.Module:
    """Make what an edge computes: the fit of a concatenated state to F channels, the operation, drop path."""
    fit: list[nn.Module] = []
    if edge.source >= INPUTS and in_channels != filters:
        fit = [*relu_conv_bn(in_channels, filters)]
        in_channels = filters
    op = OPS[edge.op](in_channels, filters, stride)
    # The released NASNet code spares every identity, one that strides or fits included.
    # The released code of DARTS spares those that compute nothing.
    drop = [] if edge.op == "identity" or isinstance(op, nn.Identity) else [DropPath()]
    return nn.Sequential(*fit, op, *drop) if fit or drop else op


def _fit_output(state: int, in_channels: int, filters: int, stride: int) -> nn.Module:
    """Make what brings a listed state to the cell's size and width, without a ReLU: inputs may differ in both."""
    if state >= INPUTS:
        return nn.Identity()
    if stride == 2:
        return FactorizedReduction(in_channels, filters)
    if in_channels != filters:
        return nn.Sequential(pointwise(in_channels, filters), nn.BatchNorm2d(filters))
    return nn.Identity()
