"""A network with other widths that starts at random, by whatever rule the author of its seed draws weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from evo_nas.errors import UsageError
from evo_nas.phenotypes.named import OURS, build_by_name
from evo_nas.phenotypes.widths.layout import Layout
from evo_nas.phenotypes.widths.resize import make_ghost, resize_network
from evo_nas.phenotypes.widths.trace import trace_layout
from genotypes.genotype import shorten
from genotypes.widths import Widths

_LAYOUTS: Final[dict[tuple[str, int, int, int], Layout]] = {}
"""Those that this process has traced, by the name of the network, its classes, channels and the side of its images."""


def build_widths(widths: Widths, *, build: Callable[..., nn.Module] = build_by_name, **size: int) -> nn.Module:
    """Build the network of these widths, with weights from torch's default generator.

    ``build`` builds its seed; ``size`` are the ``classes``, ``channels`` and ``image_size`` that it takes. A network is
    traced once in a process for each size, so that many widths of it are built fast.

    Raises:
        UsageError: if there is no such network, it cannot be traced, or its own widths are not the ``seed`` of these.
    """
    seed = build(widths.network, **size)
    layout = find_layout(seed, widths.network, **size)
    if layout.widths != dict(widths.seed):
        differing = next(
            name for name in {**layout.widths, **widths.seed} if layout.widths.get(name) != widths.seed.get(name)
        )
        raise UsageError(
            f"these widths are of another {shorten(widths.network)}: its group {shorten(differing)} is "
            f"{layout.widths.get(differing, 'not there')}, not {widths.seed.get(differing, 'missing')}"
        )
    return redraw_network(seed, layout, widths.widths)


def build_ghost(name: str, **size: int) -> nn.Module:
    """Build a network by its name with shapes and no numbers.

    Raises:
        UsageError: if there is no such network.
    """
    if name.partition(":")[0] in OURS:
        with torch.device("meta"):
            return build_by_name(name, **size)
    with torch.random.fork_rng(devices=[]):  # some code of others asks its weights for numbers
        return make_ghost(build_by_name(name, **size))


def find_layout(seed: nn.Module, network: str, *, classes: int, channels: int, image_size: int) -> Layout:
    """Return the layout of the network of this name, which has just been built, traced once in a process.

    Raises:
        UsageError: if it cannot be traced.
    """
    key = (network, classes, channels, image_size)
    shapes = {name: tuple(parameter.shape) for name, parameter in seed.named_parameters()}
    # The code of a user's own network may have changed in the same session.
    if key not in _LAYOUTS or dict(_LAYOUTS[key].shapes) != shapes:
        with torch.random.fork_rng(devices=[]):  # so that tracing changes no weights drawn afterwards
            _LAYOUTS[key] = trace_layout(seed, (channels, image_size, image_size))
    return _LAYOUTS[key]


def redraw_network(seed: nn.Module, layout: Layout, widths: Mapping[str, int]) -> nn.Module:
    """Return the seed with its groups of channels at these widths, to be trained from scratch.

    Where nothing changes it is the seed itself. Otherwise each parameter of a group that changes is drawn anew, by
    torch's default generator, from the numbers that the seed has in its place. One with two or more axes is multiplied
    by the root of (inputs per output in the seed / now), as the rules of Glorot and He have it. Constants stay.

    Raises:
        UsageError: if there is no such group, a width is less than 1, or the network cannot be copied.
    """
    copies = layout.copies(widths)
    if (copies == 1).all():
        return seed
    network = resize_network(seed, layout, copies)
    before = dict(seed.named_parameters(remove_duplicate=False))
    now = dict(network.named_parameters(remove_duplicate=False))
    # Tied weights have several names, of which the layout knows one; they are drawn once.
    changed = {
        id(now[axis.name]): axis.name for axis in layout.axes if axis.name in now and (copies[axis.classes] != 1).any()
    }
    for name in changed.values():
        draw_like(now[name].detach(), before[name].detach())
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.reset_running_stats()
    return network


def draw_like(tensor: Tensor, like: Tensor) -> None:
    """Fill a tensor with numbers of another one, drawn with replacement and scaled to its inputs per output."""
    if tensor.is_meta:  # there are no numbers
        return
    values = like.flatten()
    if (values == values[0]).all():  # as the scales of norms: no rule of drawing
        tensor.fill_(values[0])
        return
    chosen = torch.randint(len(values), tensor.shape, device=values.device)
    tensor.copy_(values[chosen])
    if tensor.dim() > 1:
        tensor.mul_(math.sqrt(like[0].numel() / tensor[0].numel()))
