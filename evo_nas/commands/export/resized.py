"""A network of widths as one Python file: what builds its seed, the shapes that differ, and how a module takes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

from torch import Tensor, nn

from evo_nas.commands.export.edges import write_classes
from evo_nas.commands.export.standalone import TAIL, borrow, spell, write_cells, write_constants
from evo_nas.errors import UsageError
from evo_nas.phenotypes import resnet
from evo_nas.phenotypes.blueprint import CellBlueprint, EdgeBlueprint, WidthsBlueprint
from evo_nas.phenotypes.named import WITHOUT_AUXILIARY, find_maker, read_cells, read_edges, read_resnet
from evo_nas.phenotypes.widths.draw import build_ghost, draw_like
from evo_nas.phenotypes.widths.resize import tell_sizes
from genotypes.genotype import shorten

_HEAD: Final = '''\
"""A classifier of images, (n, {channels}, h, w): {seed} with other widths.

    network = load("weights.safetensors")
    logits = network(normalised(images))

Written by `python -m evo_nas export`. Classes and functions are copied from evo_nas, Apache-2.0.
"""
'''

_TABLES: Final = '''\
WIDTHS = {widths}
"""The number of channels of each group, by the name of its first layer."""

SHAPES = {shapes}
"""The shapes of the tensors that differ from those of the network as it is built."""

'''

_BUILD: Final = '''\
def build_network() -> nn.Module:
    """Build the network, made for images of {image}x{image} pixels; its weights are random before some are loaded."""
    network = {seed}
    known: dict[int, tuple[Tensor, Tensor]] = {{}}  # tied weights have several names
    for name, shape in SHAPES.items():
        path, _, attribute = name.rpartition(".")
        owner = network.get_submodule(path)
        old = getattr(owner, attribute)
        if id(old) not in known:
            new = torch.empty(shape, dtype=old.dtype)
            draw_like(new, old.detach())
            known[id(old)] = old, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        setattr(owner, attribute, known[id(old)][1])
        if attribute == "weight":
            tell_sizes(owner, known[id(old)][1])
    return network
'''

_IMPORTS: Final = """\
import math

import torch
from torch import Tensor, nn
"""

_MODULES: Final = """\
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
"""

_PLAIN: Final = re.compile(r"[\w.:@-]{1,100}", re.ASCII)
"""A name that can stand in a docstring."""


def write_module(blueprint: WidthsBlueprint) -> str:
    """Write the Python file of a network of widths; it needs torch, and the package that its seed comes from.

    Raises:
        UsageError: if the network cannot be made, or a tensor of another size is in no file of weights.
    """
    name, channels = blueprint.widths.network, blueprint.channels
    imports, sources, seed = _find_seed(blueprint)
    # A network of torchvision reads 3 channels where it is built; its first layer is resized like the others.
    plain = build_ghost(name, **blueprint.size | ({"channels": 3} if name.startswith("torchvision:") else {}))
    shown = name if _PLAIN.fullmatch(name) else "a network of cells"
    parts = [
        f"{_HEAD.format(channels=channels, seed=shown)}\n{imports}\n{write_constants(blueprint)}\n"
        + _TABLES.format(
            widths=spell(dict(blueprint.widths.widths)), shapes=spell(dict(_find_shapes(plain, blueprint.ghost())))
        ).rstrip("\n")
        + "\n",
        *sources,
        inspect.getsource(draw_like),
        inspect.getsource(tell_sizes),
        _BUILD.format(seed=seed, image=blueprint.image),
        TAIL.format(network="build_network", kind="nn.Module", tensors="load_file(path)", channels=channels),
    ]
    return "\n\n".join(parts)


def _find_shapes(plain: nn.Module, network: nn.Module) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the tensors of a network that have other shapes than those of its seed."""
    before, held = _list_tensors(plain), network.state_dict()
    for name, tensor in _list_tensors(network).items():
        if before[name].shape != tensor.shape:
            if name not in held:
                raise UsageError(f"no file of weights holds {shorten(name)} of this network, so no module can have it")
            yield name, tuple(tensor.shape)


def _list_tensors(network: nn.Module) -> dict[str, Tensor]:
    return dict([*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)])


def _find_seed(blueprint: WidthsBlueprint) -> tuple[str, list[str], str]:
    """Return imports, sources, and the expression that builds the seed."""
    name, channels = blueprint.widths.network, blueprint.channels
    kind, _, rest = name.partition(":")
    images: dict[str, Any] = {key: getattr(blueprint, key) for key in ("classes", "channels", "image", "mean", "std")}
    if kind == "edges":
        cell, numbers = read_edges(rest)
        imports, sources = write_classes(EdgeBlueprint(cell, **numbers, **images))
        return imports + _MODULES, sources, "build_edge_network()"
    if kind == "cell":
        cells, size = read_cells(rest)
        seed = CellBlueprint(cells, **size, **images)
        imports, body = write_cells(seed, seed.ghost())
        return imports + _MODULES, [body], "Network()"
    if kind == "resnet":
        depth, filters = read_resnet(rest)
        sources = [f"FILTERS = {resnet.FILTERS}\n", *borrow("ResNet", (resnet,))]
        imports = _IMPORTS.replace("import torch\n", "import torch\nimport torch.nn.functional as F\n")
        return imports + _MODULES, sources, f"ResNet({depth}, {filters}, classes=len(CLASSES), channels={channels})"
    if kind == "torchvision":
        options = "".join(f", {key}={value}" for key, value in WITHOUT_AUXILIARY.get(rest, {}).items())
        call = f"models.get_model({spell(rest)}, weights=None, num_classes=len(CLASSES){options})"
        return f"{_IMPORTS}{_MODULES}from torchvision import models\n", [], call
    if kind == "timm":
        call = f"timm.create_model({spell(rest)}, pretrained=False, num_classes=len(CLASSES), in_chans={channels})"
        return _IMPORTS.replace("import torch\n", "import timm\nimport torch\n") + _MODULES, [], call
    if not all(word.isidentifier() for word in [*kind.split("."), rest]):
        raise UsageError(f"no import spells {shorten(name)}: give the module and the function names of Python")
    values = {"classes": "len(CLASSES)", "channels": channels, "image_size": blueprint.image}
    call = ", ".join(f"{key}={values[key]}" for key in find_maker(name)[1])
    return f"{_IMPORTS}{_MODULES}\nfrom {kind} import {rest}\n", [], f"{rest}({call})"
