"""Slots: the channels of all activations of a network, joined to classes where they can only leave together."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Ints: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Slots:
    """A union-find of slots 0, 1, ...; arrays of slots are joined at once. Slot 0 stands for all that cannot leave.

    A *map* is a tensor of slots that has the shape of an activation: which channel each of its numbers belongs to.
    Along axes where nothing changes it is an expanded view, so that a map takes no more memory than its channels.
    """

    def __init__(self) -> None:
        self._labels: Ints = np.zeros(1, np.int64)

    def draw(self, count: int) -> Ints:
        """Return ``count`` new slots, each a class of its own."""
        first = len(self._labels)
        new = np.arange(first, first + count)
        self._labels = np.concatenate([self._labels, new])
        return new

    def join(self, some: Ints, others: Ints) -> None:
        """Join each slot of an array with the one at the same place of another array of the same shape."""
        left, right = self._labels[some.ravel()], self._labels[others.ravel()]
        differ = left != right
        if not differ.any():
            return
        left, right = left[differ], right[differ]
        nodes, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        edges = coo_array((np.ones(len(left), bool), (places[: len(left)], places[len(left) :])), (len(nodes),) * 2)
        _, parts = connected_components(edges, directed=False)
        first = np.zeros(len(nodes), np.int64)
        first[parts[::-1]] = nodes[::-1]  # the smallest of each part
        names = np.arange(len(self._labels))
        names[nodes] = first[parts]
        self._labels = names[self._labels]

    def join_maps(self, some: Tensor, others: Tensor) -> None:
        """Join the slots of two maps of one shape, place by place."""
        for axis, (size, *strides) in enumerate(zip(some.shape, some.stride(), others.stride(), strict=True)):
            if size > 1 and strides == [0, 0]:
                some, others = some.narrow(axis, 0, 1), others.narrow(axis, 0, 1)
        self.join(some.numpy(), others.numpy())

    def fix(self, slots: Ints) -> None:
        """Keep these slots, and all that are or will be joined with them, from ever leaving: join them with slot 0."""
        self.join(slots, np.zeros_like(slots))

    def join_along(self, slots: Tensor, axis: int) -> Tensor:
        """Join the slots of a map along an axis, and return the map without it."""
        first = slots.narrow(axis, 0, 1)
        if self.differ_along(slots, axis):
            self.join_maps(slots, first.expand_as(slots))
        return first.squeeze(axis)

    def differ_along(self, slots: Tensor, axis: int) -> bool:
        """Return whether a map has slots of more than one class along an axis."""
        if slots.shape[axis] < 2 or slots.stride(axis) == 0:
            return False
        labels = self._labels[compact(slots).numpy()]
        return bool((labels != labels.take([0], axis)).any())

    def classes(self) -> Ints:
        """Return the class of each slot, numbered from 0, the fixed one, in the order of their first slots."""
        _, first, inverse = np.unique(self._labels, return_index=True, return_inverse=True)
        rank: Ints = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[inverse]


def compact(slots: Tensor) -> Tensor:
    """Return a map with one place along each axis where it is an expanded view."""
    for axis, (size, stride) in enumerate(zip(slots.shape, slots.stride(), strict=True)):
        if size > 1 and stride == 0:
            slots = slots.narrow(axis, 0, 1)
    return slots


def spread(slots: Ints, shape: torch.Size, axis: int = 1) -> Tensor:
    """Return the map of an activation whose channels, along ``axis``, are these slots."""
    sizes = [1] * len(shape)
    sizes[axis] = -1
    return torch.from_numpy(slots).view(sizes).expand(shape)
