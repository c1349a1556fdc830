"""The sparsity term of MorphNet: gates of channels, each weighted by what its channel costs (Gordon et al. 2018)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.layout import Axis, Layout
from evo_nas.phenotypes.widths.slots import Ints
from evo_nas.training.task import Batch, Data, Task

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
        axes = find_gates(layout, gates)
        parameters = dict(network.named_parameters())
        device = next(iter(parameters.values())).device
        self._cost, self._threshold, self._l1 = cost, threshold, l1
        self._is_lasso = gates == "lasso"
        self._gates: list[Tensor] = [parameters[axis.name] for axis in axes if axis.name in parameters]
        index = np.concatenate([np.zeros(0, np.int64), *(a.classes for a in axes if a.name in parameters)])
        self._has_gate = np.zeros(layout.count, bool)
        self._has_gate[index] = True
        self._has_gate[0] = False
        self._index = torch.from_numpy(index).to(device)
        self._alive: Ints | None = None
        self._slopes = torch.zeros(0)

    def values(self) -> Tensor:
        """Return the gate of each class, with the gradients' graph, of shape (classes,); 0 for those without one."""
        return self._share_gates(torch.cat(self._measure(self._lengths())))

    def _lengths(self) -> list[Tensor]:
        """Return the length of each row of each parameter, or the size of each gamma."""
        if self._is_lasso:
            return [torch.linalg.vector_norm(weight.flatten(1), dim=1) for weight in self._gates]
        return [gamma.abs() for gamma in self._gates]

    def _share_gates(self, sizes: Tensor) -> Tensor:
        """Return the largest of the sizes that the members of each class have."""
        zeros = sizes.new_zeros(len(self._has_gate))
        return zeros.scatter_reduce(0, self._index, sizes, "amax") * zeros.new_tensor(self._has_gate)

    def alive(self) -> Ints:
        """Return 1 for each class that is alive, else 0, of shape (classes,)."""
        with torch.no_grad():
            return self._find_alive(self.values())

    def find_strongest(self, limit: float, floor: float = 0.0) -> Ints:
        """Return 1 for each class that stays, else 0: as many of the strongest as cost at most ``limit`` together.

        The strongest class of each group stays in any case. Of each group the strongest stay as long as others can
        leave: the share ``floor`` of its classes, a fraction in [0, 1], rounded up. Of equal ones the first stay.

        Raises:
            UsageError: if even one class of each group costs more.
        """
        values = self.values().detach().cpu().numpy().astype(float)
        may_leave, leaves_last = self._has_gate.copy(), np.zeros(len(values), bool)
        for group in self._cost.layout.groups:
            strongest = group.classes[np.argsort(-values[group.classes], kind="stable")]
            may_leave[strongest[0]] = False
            leaves_last[strongest[: math.ceil(floor * len(strongest))]] = True
        weakest = np.flatnonzero(may_leave)[::-1]
        weakest = weakest[np.lexsort((values[weakest], leaves_last[weakest]))]

        def drop(count: int) -> Ints:
            there = np.ones(len(values), np.int64)
            there[weakest[:count]] = 0
            return there

        counts = range(len(weakest) + 1)
        fewest = bisect_left(counts, True, key=lambda count: self._cost.total(drop(count)) <= limit)
        if fewest == len(counts):
            least = self._cost.total(drop(len(weakest)))
            raise UsageError(f"one class of channels per group costs {least:,.0f}, more than {limit:,.0f}")
        return drop(fewest)

    def term(self) -> Tensor:
        """Return the regularisation term, a scalar in the unit of the resource, with the gradients' graph."""
        return self._weigh(self.values())

    def add_gradients(self, strength: float) -> None:
        """Add the gradients of the term times ``strength`` to those that the parameters hold after a backward pass.

        As ``(strength * term()).backward()`` does, in one pass over the weights less.
        """
        with torch.no_grad():
            lengths = self._lengths()
            sizes = torch.cat(self._measure(lengths))
        sizes.requires_grad_()
        (slopes,) = torch.autograd.grad(strength * self._weigh(self._share_gates(sizes)), sizes)
        with torch.no_grad():
            for gate, length, slope in zip(
                self._gates, lengths, torch.split(slopes, list(map(len, lengths))), strict=True
            ):
                if gate.grad is None:
                    gate.grad = torch.zeros_like(gate)
                if not self._is_lasso:
                    gate.grad.addcmul_(gate.sign(), slope)
                    continue
                like_gate, count = (-1, *[1] * (gate.dim() - 1)), gate[0].numel()
                scale = torch.where(length > 0, (1 - self._l1) * slope / (length * math.sqrt(count)), 0)
                gate.grad.addcmul_(gate, scale.view(like_gate))
                if self._l1:
                    gate.grad.addcmul_(gate.sign(), (self._l1 * slope / count).view(like_gate))

    def _weigh(self, values: Tensor) -> Tensor:
        """Return the term of these gates of classes."""
        alive = self._find_alive(values.detach())
        if self._alive is None or not np.array_equal(alive, self._alive):
            self._alive = alive
            slopes = np.asarray(self._cost.slopes(alive).sum(axis=0))
            self._slopes = torch.from_numpy(slopes).to(values)
        return torch.dot(values, self._slopes)

    def _find_alive(self, values: Tensor) -> Ints:
        alive = (values > self._threshold).cpu().numpy() | ~self._has_gate
        return alive.astype(np.int64)

    def _measure(self, lengths: list[Tensor]) -> list[Tensor]:
        """Return the sizes of the gates of each parameter, of which the lengths are known."""
        if not self._is_lasso:
            return lengths
        counts = [gate[0].numel() for gate in self._gates]
        sizes = [(1 - self._l1) / math.sqrt(count) * length for length, count in zip(lengths, counts, strict=True)]
        if self._l1:
            means = [gate.flatten(1).abs().mean(1) for gate in self._gates]
            sizes = [size + self._l1 * mean for size, mean in zip(sizes, means, strict=True)]
        return sizes


def find_gates(layout: Layout, gates: str) -> Sequence[Axis]:
    """Return the axes of parameters whose numbers are gates of kind ``gates``: gamma or lasso.

    Raises:
        UsageError: if gamma finds no norm with a scale.
    """
    if gates == "lasso":
        weights = {op.weight for op in layout.ops}
        return [axis for axis in layout.axes if axis.dim == 0 and axis.name in weights]
    if not any(axis.classes.any() for axis in layout.gates):
        raise UsageError("no channel of the network has a batch norm with a scale; use gates=lasso")
    return layout.gates


class SparseTask(Task):
    """Another task, trained with the sparsity term times ``strength``, MorphNet's lambda, in what is optimised."""

    def __init__(self, task: Task, term: SparsityTerm, strength: float) -> None:
        self._task, self._term, self._strength = task, term, strength

    @property
    def goal(self) -> str:  # type: ignore[override]
        """That of the other task."""
        return self._task.goal

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of the other task."""
        return self._task.loss(network, batch)

    def add_gradients(self, network: nn.Module) -> None:
        """Add those of the term."""
        self._term.add_gradients(self._strength)

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return what the other task measures."""
        return self._task.measure(network, data)
