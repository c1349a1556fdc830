"""Gradient descent on all weights of a network at once, as one vector: SGD and AdamW."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from evo_nas.training.recipes import Recipe


class Optimizer(ABC):
    """Takes steps down the gradient, after clipping its norm.

    A small network has hundreds of weight tensors of a few numbers each, and an optimizer that goes through them one
    by one takes longer than some of the layers. So the weights are laid into one vector, of which the parameters are
    views from then on: they must not be moved to another device or type afterwards.
    """

    moments: ClassVar[tuple[str, ...]]
    """Names of the vectors that it keeps between steps."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float, gradient_norm: float) -> None:
        self._parameters = list(parameters)
        self._decay, self._clip = weight_decay, gradient_norm
        with torch.no_grad():
            self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        for parameter, weights in zip(self._parameters, self._split(self._weights), strict=True):
            parameter.data = weights
        self._moments: dict[str, Tensor] = {}  # empty before the first step
        self._steps = 0

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take one step down the gradients that the parameters hold; one without a gradient has one of zero."""
        gradient = torch.cat([_gradient(parameter).reshape(-1) for parameter in self._parameters])
        if self._clip:
            # As torch.nn.utils.clip_grad_norm_: no synchronisation with a device, whatever the norm is.
            gradient.mul_((self._clip / (gradient.norm() + 1e-6)).clamp(max=1.0))
        self._steps += 1
        self._descend(gradient, learning_rate)

    @abstractmethod
    def _descend(self, gradient: Tensor, learning_rate: float) -> None:
        """Move the weights, for the clipped gradient, which may be overwritten."""

    def state(self) -> dict[str, Tensor]:
        """Return what the next step depends on besides the weights: ``moment.index`` of each parameter's moments.

        Empty before the first step.
        """
        tensors = {
            f"{name}.{index}": part
            for name, moment in self._moments.items()
            for index, part in enumerate(self._split(moment))
        }
        return tensors | ({"steps": torch.tensor(self._steps)} if self._moments and self._counts else {})

    _counts: ClassVar[bool] = False
    """Whether a step depends on how many came before it."""

    def expect_state(self) -> dict[str, Tensor]:
        """Return tensors of the names, shapes and types that a whole :meth:`state` has."""
        tensors = {
            f"{name}.{index}": parameter.detach()
            for name in self.moments
            for index, parameter in enumerate(self._parameters)
        }
        return tensors | ({"steps": torch.tensor(0)} if self._counts else {})

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a :meth:`state` back, of which moments that are missing are zero."""
        self._moments = {}
        if not tensors:
            self._steps = 0
            return
        self._steps = int(tensors["steps"]) if self._counts else 1
        for name in self.moments:
            moment = torch.zeros_like(self._weights)
            for index, part in enumerate(self._split(moment)):
                if (known := tensors.get(f"{name}.{index}")) is not None:
                    part.copy_(known)
            self._moments[name] = moment

    def _split(self, vector: Tensor) -> list[Tensor]:
        """Return views of a vector, one per parameter."""
        sizes = [parameter.numel() for parameter in self._parameters]
        parts = torch.split(vector, sizes)
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]


class SGD(Optimizer):
    """SGD with momentum and weight decay, as ``torch.optim.SGD`` has it."""

    moments: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, gradient_norm: float
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, gradient_norm=gradient_norm)
        self._momentum = momentum

    def _descend(self, gradient: Tensor, learning_rate: float) -> None:
        if self._decay:
            gradient.add_(self._weights, alpha=self._decay)
        if self._momentum:
            if "momentum" not in self._moments:
                self._moments["momentum"] = gradient
            else:
                self._moments["momentum"].mul_(self._momentum).add_(gradient)
            gradient = self._moments["momentum"]
        self._weights.add_(gradient, alpha=-learning_rate)


class PathOptimizer(Optimizer):
    """Leaves every weight without a gradient, and its moments, as they are, as torch's optimizers do.

    For networks of which each step takes one path. Weight decay is for weights of more than one dimension alone, as in
    the code of single path one-shot (megvii-model/SinglePathOneShot).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float, gradient_norm: float) -> None:
        super().__init__(parameters, weight_decay=weight_decay, gradient_norm=gradient_norm)
        self._parts: dict[str, list[Tensor]] = {}  # of the moments: cutting them up at each step would take long

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a :meth:`state` back, of which moments that are missing are zero."""
        super().restore(tensors)
        self._parts = {name: self._split(moment) for name, moment in self._moments.items()}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take one step down the gradients that there are."""
        if not self._moments:
            self._moments = {name: torch.zeros_like(self._weights) for name in self.moments}
            self._parts = {name: self._split(moment) for name, moment in self._moments.items()}
        used = [index for index, parameter in enumerate(self._parameters) if parameter.grad is not None]
        if not used:
            return
        gradients = [_gradient(self._parameters[index]) for index in used]
        if self._clip:
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        self._descend_path(used, gradients, learning_rate)

    @abstractmethod
    def _descend_path(self, used: Sequence[int], gradients: list[Tensor], learning_rate: float) -> None:
        """Move the weights at these indices, for their clipped gradients, which may be overwritten."""

    def _descend(self, gradient: Tensor, learning_rate: float) -> None:
        raise AssertionError("a step goes weight by weight")

    def _weights_at(self, used: Sequence[int]) -> list[Tensor]:
        return [self._parameters[index] for index in used]

    def _take(self, used: Sequence[int], moment: str) -> list[Tensor]:
        return [self._parts[moment][index] for index in used]


class PathSGD(PathOptimizer):
    """SGD with momentum on one path, as ``torch.optim.SGD`` has it."""

    moments: ClassVar[tuple[str, ...]] = ("momentum",)

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, gradient_norm: float
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, gradient_norm=gradient_norm)
        self._momentum = momentum

    def _descend_path(self, used: Sequence[int], gradients: list[Tensor], learning_rate: float) -> None:
        weights, moments = self._weights_at(used), self._take(used, "momentum")
        if self._decay:
            for gradient, weight in zip(gradients, weights, strict=True):
                if weight.dim() > 1:
                    gradient.add_(weight, alpha=self._decay)
        torch._foreach_mul_(moments, self._momentum)
        torch._foreach_add_(moments, gradients)
        torch._foreach_add_(weights, moments, alpha=-learning_rate)


class PathAdamW(PathOptimizer):
    """AdamW on one path, as ``torch.optim.AdamW`` has it: each weight counts its own steps."""

    moments: ClassVar[tuple[str, ...]] = ("mean", "square")

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float, gradient_norm: float) -> None:
        super().__init__(parameters, weight_decay=weight_decay, gradient_norm=gradient_norm)
        self._taken = [0] * len(self._parameters)

    def state(self) -> dict[str, Tensor]:
        """Return the moments, and how many steps each weight took."""
        return super().state() | ({"steps": torch.tensor(self._taken)} if self._moments else {})

    def expect_state(self) -> dict[str, Tensor]:
        """Return tensors of the names, shapes and types that a whole :meth:`state` has."""
        return super().expect_state() | {"steps": torch.tensor(self._taken)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a :meth:`state` back, of which moments that are missing are zero."""
        super().restore(tensors)
        self._taken = tensors["steps"].tolist() if tensors else [0] * len(self._parameters)

    def _descend_path(self, used: Sequence[int], gradients: list[Tensor], learning_rate: float) -> None:
        for index in used:
            self._taken[index] += 1
        steps = [self._taken[index] for index in used]
        weights = self._weights_at(used)
        means, squares = self._take(used, "mean"), self._take(used, "square")
        if decayed := [weight for weight in weights if weight.dim() > 1]:
            torch._foreach_mul_(decayed, 1 - learning_rate * self._decay)
        torch._foreach_lerp_(means, gradients, 1 - BETAS[0])
        torch._foreach_mul_(squares, BETAS[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETAS[1])
        scales = torch._foreach_sqrt(squares)
        torch._foreach_div_(scales, [math.sqrt(1 - BETAS[1] ** step) for step in steps])
        torch._foreach_add_(scales, EPSILON)
        torch._foreach_addcdiv_(weights, means, scales, [-learning_rate / (1 - BETAS[0] ** step) for step in steps])


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW`` has it by default."""

    moments: ClassVar[tuple[str, ...]] = ("mean", "square")
    _counts: ClassVar[bool] = True

    def _descend(self, gradient: Tensor, learning_rate: float) -> None:
        if not self._moments:
            self._moments = {name: torch.zeros_like(self._weights) for name in self.moments}
        mean, square = self._moments["mean"], self._moments["square"]
        self._weights.mul_(1 - learning_rate * self._decay)
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        mean_share, square_share = (1 - beta**self._steps for beta in BETAS)
        scale = (square.sqrt() / math.sqrt(square_share)).add_(EPSILON)
        self._weights.addcdiv_(mean, scale, value=-learning_rate / mean_share)


BETAS: Final = (0.9, 0.999)
"""Shares that AdamW keeps of its means of gradients and of their squares at each step: torch's defaults."""

EPSILON: Final = 1e-8
"""Number that AdamW adds to the root of the mean square: torch's default."""


def optimizer_of(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer that a recipe names, with its numbers."""
    if recipe.optimizer == "adamw":
        return AdamW(parameters, weight_decay=recipe.weight_decay, gradient_norm=recipe.gradient_norm)
    return SGD(
        parameters,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        gradient_norm=recipe.gradient_norm,
    )


def path_optimizer_of(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer that a recipe names, for networks of which each step takes one path."""
    if recipe.optimizer == "adamw":
        return PathAdamW(parameters, weight_decay=recipe.weight_decay, gradient_norm=recipe.gradient_norm)
    return PathSGD(
        parameters, momentum=recipe.momentum, weight_decay=recipe.weight_decay, gradient_norm=recipe.gradient_norm
    )


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
