"""The sparsity term of MorphNet: gates of channels, each weighted by what its channel costs (Gordon et al. 2018)."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.slots import Ints

GATES: Final = ("gamma", "lasso")


class SparsityTerm:
    """The term that makes channels vanish, to be added to a loss, times a lambda.

    A class of channels shares its gate, the largest value of its members, and is alive where that is above
    ``threshold``. With ``gates`` = gamma a value is the size of a norm's scale, and classes without a norm are always
    alive. With lasso it is (1 - ``l1``) |w|_2 / sqrt(d) + ``l1`` |w|_1 / d of the d weights that make the channel.

    The network's parameters must stay the ones that they are.

    Raises:
        UsageError: if a name is unknown, a number is out of range, or gamma finds no norm with a scale.
    """

    def __init__(
        self, network: nn.Module, cost: CostModel, *, gates: str = "gamma", threshold: float = 0.01, l1: float = 0.0
    ) -> None:
        if gates not in GATES:
            raise UsageError(f"gates must be one of {', '.join(GATES)}, not {gates!r}")
        if not (0 <= threshold < math.inf and 0 <= l1 <= 1):
            raise UsageError(f"threshold must be 0 or more and l1 a fraction in [0, 1], not {threshold} and {l1}")
        layout = cost.layout
        weights = {op.weight for op in layout.ops}
        axes = layout.gates if gates == "gamma" else [a for a in layout.axes if a.dim == 0 and a.name in weights]
        parameters = dict(network.named_parameters())
        device = next(iter(parameters.values())).device
        self._cost, self._threshold, self._l1 = cost, threshold, l1
        self._is_lasso = gates == "lasso"
        self._gates: list[Tensor] = [parameters[axis.name] for axis in axes if axis.name in parameters]
        index = np.concatenate([np.zeros(0, np.int64), *(a.classes for a in axes if a.name in parameters)])
        self._has_gate = np.zeros(layout.count, bool)
        self._has_gate[index] = True
        self._has_gate[0] = False
        if not self._has_gate.any():
            raise UsageError("no channel of the network has a batch norm with a scale; use gates=lasso")
        self._index = torch.from_numpy(index).to(device)
        self._alive: Ints | None = None
        self._slopes = torch.zeros(0)

    def values(self) -> Tensor:
        """Return the gate of each class, with the gradients' graph, of shape (classes,); 0 for those without one."""
        if self._is_lasso:
            rows = [weight.flatten(1) for weight in self._gates]
            sizes = torch.cat([self._measure(row) for row in rows])
        else:
            sizes = torch.cat(self._gates).abs()
        zeros = sizes.new_zeros(len(self._has_gate))
        return zeros.scatter_reduce(0, self._index, sizes, "amax") * zeros.new_tensor(self._has_gate)

    def alive(self) -> Ints:
        """Return 1 for each class that is alive, else 0, of shape (classes,)."""
        with torch.no_grad():
            return self._find_alive(self.values())

    def term(self) -> Tensor:
        """Return the regularisation term, a scalar in the unit of the resource, with the gradients' graph."""
        values = self.values()
        alive = self._find_alive(values.detach())
        if self._alive is None or not np.array_equal(alive, self._alive):
            self._alive = alive
            slopes = np.asarray(self._cost.slopes(alive).sum(axis=0))
            self._slopes = torch.from_numpy(slopes).to(values)
        return torch.dot(values, self._slopes)

    def _find_alive(self, values: Tensor) -> Ints:
        alive = (values > self._threshold).cpu().numpy() | ~self._has_gate
        return alive.astype(np.int64)

    def _measure(self, rows: Tensor) -> Tensor:
        count, share = rows.shape[1], self._l1
        l2: Tensor = _RowNorms.apply(rows) / math.sqrt(count)
        return l2 if share == 0 else (1 - share) * l2 + share * rows.abs().mean(1)


class _RowNorms(torch.autograd.Function):
    """The length of each row, with a gradient of one pass over the rows; torch's own takes twice as long."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        ctx.save_for_backward(rows, norms)
        return norms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        rows, norms = ctx.saved_tensors
        product: Tensor = rows * torch.where(norms > 0, grad / norms, 0).unsqueeze(1)
        return product
