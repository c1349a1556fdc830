"""A network with other widths: the same code and modules, each with the weights of the channels that are there."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from evo_nas.errors import UsageError
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.slots import Ints


def resize_network(network: nn.Module, layout: Layout, copies: Ints) -> nn.Module:
    """Return a copy of the network in which each class is there as often as ``copies`` says, an entry per class.

    With zeros and ones alone it computes what the network computes with the channels of the other classes masked by
    zeros. What is there more than once has the same weights each time: draw them anew before it is trained.

    Raises:
        UsageError: if a group would have no channel left, or the network cannot be copied; names it.
    """
    for group in layout.groups:
        if not copies[group.classes].any():
            raise UsageError(f"no channel is left of the group {group.name}, so that nothing passes through it")
    copies = copies.copy()
    copies[0] = 1  # the fixed class
    tensors = dict([*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)])
    # What is resized below need not be copied before.
    twin = copy_network(network, {id(tensors[axis.name]): tensors[axis.name] for axis in layout.axes})
    names: dict[int, list[str]] = {}  # tied weights have several
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    resized: dict[str, Tensor] = {}
    for axis in layout.axes:
        tensor = resized.get(axis.name, tensors[axis.name].detach())
        index = torch.from_numpy(_pick(axis.classes, copies)).to(tensor.device)
        resized[axis.name] = tensor.index_select(axis.dim, index)
    for name, tensor in resized.items():
        old = tensors[name]
        new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor
        for each in names[id(old)]:
            path, _, attribute = each.rpartition(".")
            owner = twin.get_submodule(path)
            setattr(owner, attribute, new)
            if attribute == "weight":
                tell_sizes(owner, tensor)
    return twin


def copy_network(network: nn.Module, tensors: dict[int, Tensor]) -> nn.Module:
    """Return a copy of a network with other tensors in the place of those with the ids that are given.

    Raises:
        UsageError: if it cannot be copied.
    """
    try:
        return copy.deepcopy(network, dict(tensors))
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"the network cannot be copied: {error}") from error


def make_ghost(network: nn.Module) -> nn.Module:
    """Return a copy of a network that has shapes and no numbers, and takes no memory."""
    tensors: dict[int, Tensor] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in network.parameters()
    }
    tensors |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    return copy_network(network, tensors)


def _pick(classes: Ints, copies: Ints) -> Ints:
    """Return the indices of an axis that stay, those of a run of one class together as often as it is there."""
    counts = copies[classes]
    if counts.max(initial=0) <= 1:
        return np.flatnonzero(counts)
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]])
    if len(starts) == len(classes):  # runs of one, as in most axes: many times as fast
        return np.repeat(starts, counts)
    runs = np.split(np.arange(len(classes)), starts[1:])
    return np.concatenate([np.tile(run, counts[run[0]]) for run in runs])


def tell_sizes(module: nn.Module, weight: Tensor) -> None:
    """Tell a module of torch the sizes that follow from its new weight."""
    if isinstance(module, _ConvNd):
        if 1 < module.groups == module.in_channels:
            module.in_channels = module.groups = len(weight) * module.in_channels // module.out_channels
        module.out_channels, module.in_channels = len(weight), weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, _NormBase):
        module.num_features = len(weight)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels:
            module.num_groups = len(weight)
        module.num_channels = len(weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.numel()
