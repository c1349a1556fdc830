"""Hidden states: maps of which the ReLU, and each pooling, is computed once however many operations begin with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.fast import shortcuts
from evo_nas.phenotypes.ops import SamePool2d

Layers = tuple[nn.Module | shortcuts.Unit, ...]
"""Layers applied one after another; none for an identity."""


class HiddenState:
    """A hidden state, (n, c, h, w), or several of them that are meant as one, concatenated along the channels.

    The concatenation is laid out in memory only for those who need it so.
    """

    def __init__(self, raw: Tensor | None = None, parts: Sequence[HiddenState] = ()) -> None:
        self._raw, self._parts = raw, parts
        self._pooled: dict[tuple[str, int, int, bool], Tensor] = {}

    @classmethod
    def join(cls, parts: Sequence[HiddenState]) -> HiddenState:
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
        x: Tensor | None = None
        rectifies = False
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                rectifies = True
            elif x is None:
                x = self._first(layer, rectifies)
                rectifies = False
            else:
                if rectifies and not (fused := shortcuts.can_rectify(layer, x)):
                    # Nobody else reads what comes out of a layer: its ReLU takes no memory of its own.
                    x = torch.relu_(x)
                x = shortcuts.apply(layer, [x], rectifies=rectifies and fused)
                rectifies = False
        assert x is not None, "a ReLU stands before a layer"
        return x

    def _first(self, layer: nn.Module | shortcuts.Unit, rectifies: bool) -> Tensor:
        if not rectifies:
            return self._through_pool(layer) if isinstance(layer, SamePool2d) else shortcuts.apply(layer, [self.raw])
        if shortcuts.can_rectify(layer, self.raw):
            return shortcuts.apply(layer, [self.raw], rectifies=True)
        return shortcuts.apply(layer, self.rectified)

    def _through_pool(self, pool: SamePool2d) -> Tensor:
        """Return the pooled state, cached: identical poolings share one result."""
        key = (pool.kind, pool.kernel, pool.stride, pool.pads_zeros)
        if key not in self._pooled:
            self._pooled[key] = shortcuts.apply(pool, [self.raw])
        return self._pooled[key]


def layers_of(module: nn.Module) -> Layers:
    """List what a module, a sequence of sequences perhaps, does one after another; nothing for an identity."""
    return tuple(shortcuts.units(list(_flat(module))))


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _flat(part)
    elif not isinstance(module, nn.Identity):
        yield module
