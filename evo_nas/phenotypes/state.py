"""Hidden states: maps of which the ReLU, and each pooling, is computed once however many operations begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from evo_nas.phenotypes import shortcuts
from evo_nas.phenotypes.ops import SamePool2d

Layers = tuple[nn.Module, ...]
"""What is done one after another; nothing at all for an identity."""


class State:
    """A hidden state, (n, c, h, w), or several of them that are meant as one, concatenated along the channels.

    The concatenation is laid out in memory only for those who need it so.
    """

    def __init__(self, raw: Tensor | None = None, parts: Sequence[State] = ()) -> None:
        self._raw, self._parts = raw, parts
        self._pooled: dict[tuple[str, int, int, bool], Tensor] = {}

    @classmethod
    def joined(cls, parts: Sequence[State]) -> State:
        """Mean several states as one."""
        return parts[0] if len(parts) == 1 else cls(parts=parts)

    @property
    def raw(self) -> Tensor:
        """The map as it is."""
        if self._raw is None:
            self._raw = torch.cat([part.raw for part in self._parts], dim=1)
        return self._raw

    @cached_property
    def rectified(self) -> Sequence[Tensor]:
        """The ReLU of the map, part by part."""
        if self._raw is None:
            return [tensor for part in self._parts for tensor in part.rectified]
        return [torch.relu(self._raw)]

    def through(self, layers: Layers) -> Tensor:
        """Send the state through layers, but through a ReLU or a pooling at their beginning only once."""
        if not layers:
            return self.raw
        first, start = layers[0], 1
        if isinstance(first, nn.ReLU):
            x, start = shortcuts.applied(layers[1], self.rectified), 2
        elif isinstance(first, SamePool2d):
            x = self._through_pool(first)
        else:
            x = shortcuts.applied(first, [self.raw])
        for layer in layers[start:]:
            # Nobody else reads what comes out of a layer: its ReLU takes no memory of its own.
            x = torch.relu_(x) if isinstance(layer, nn.ReLU) else shortcuts.applied(layer, [x])
        return x

    def _through_pool(self, pool: SamePool2d) -> Tensor:
        """Pool; it has no weights, so whoever pools in the same way gets the same."""
        key = (pool.kind, pool.kernel, pool.stride, pool.pads_zeros)
        if key not in self._pooled:
            self._pooled[key] = shortcuts.applied(pool, [self.raw])
        return self._pooled[key]


def layers_of(module: nn.Module) -> Layers:
    """List what a module, a sequence of sequences perhaps, does one after another; nothing for an identity."""
    if isinstance(module, nn.Identity):
        return ()
    if not isinstance(module, nn.Sequential):
        return (module,)
    return tuple(layer for part in module for layer in layers_of(part))
