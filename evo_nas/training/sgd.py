"""Stochastic gradient descent on all weights of a network at once, as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Descent:
    """SGD with momentum and weight decay, as ``torch.optim.SGD`` has it, after clipping the gradient's norm.

    A small network has hundreds of weight tensors of a few numbers each, and an optimizer that goes through them one
    by one takes longer than some of the layers. So the weights are laid into one vector, of which the parameters are
    views from then on: they must not be moved to another device or type afterwards.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float, gradient_norm: float
    ) -> None:
        self._parameters = list(parameters)
        self._momentum, self._decay, self._clip = momentum, weight_decay, gradient_norm
        with torch.no_grad():
            self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        for parameter, weights in zip(self._parameters, self._split(self._weights), strict=True):
            parameter.data = weights
        self._velocity: Tensor | None = None

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
        if self._decay:
            gradient.add_(self._weights, alpha=self._decay)
        if self._momentum:
            if self._velocity is None:
                self._velocity = gradient
            else:
                self._velocity.mul_(self._momentum).add_(gradient)
            gradient = self._velocity
        self._weights.add_(gradient, alpha=-learning_rate)

    def velocities(self) -> dict[int, Tensor]:
        """Return the momentum of each parameter by its index; empty before the first step."""
        if self._velocity is None:
            return {}
        return dict(enumerate(self._split(self._velocity)))

    def restore(self, velocities: dict[int, Tensor]) -> None:
        """Take momenta back, by the index of their parameters."""
        if not velocities:
            self._velocity = None
            return
        own = torch.zeros_like(self._weights)
        for index, part in enumerate(self._split(own)):
            if index in velocities:
                part.copy_(velocities[index])
        self._velocity = own

    def _split(self, vector: Tensor) -> list[Tensor]:
        """See a vector as one tensor a parameter."""
        sizes = [parameter.numel() for parameter in self._parameters]
        parts = torch.split(vector, sizes)
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
