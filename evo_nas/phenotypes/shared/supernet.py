"""A supernet: one set of weights for all networks of a space, each of which is a path through it (Guo et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from evo_nas.phenotypes.kinds import BUILDERS, brings_network, kind_of
from evo_nas.phenotypes.network import initialize
from evo_nas.phenotypes.shared.blocks import cover_blocks, place_cells
from evo_nas.phenotypes.shared.chains import build_detector, draw_detector, place_anchors, place_chain
from evo_nas.phenotypes.shared.edges import is_dead, place_edges
from evo_nas.phenotypes.shared.pieces import Piece, cover_options
from evo_nas.phenotypes.shufflenet import draw_chain
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace


@dataclass(frozen=True)
class Sharing:
    """The way in which the networks of one kind of design share weights.

    ``cover`` yields designs that together have every weight that a network of the space can have. ``place`` maps a
    network and its design to the pieces of each of its weights, by name, or of the tensors that are named. ``is_dead``
    returns of a design whether no image reaches its output. ``draw`` draws the weights of the layer at a path of a
    network, as those networks have them. ``build`` builds the network of a design without memory; ``settle`` gives one
    what it needs beside weights and batch norms, of the type and on the device of a tensor.
    """

    cover: Callable[[SearchSpace], Iterator[Any]]
    place: Callable[..., Mapping[str, tuple[Piece, ...]]]
    is_dead: Callable[[Any], bool] = lambda design: False
    draw: Callable[[nn.Module, str], None] = lambda network, path: initialize(network.get_submodule(path))
    build: Callable[..., nn.Module] | None = None
    settle: Callable[[nn.Module, Tensor], None] = lambda network, like: None


SHARINGS: Final[dict[type, Sharing]] = {
    CellPair: Sharing(cover_blocks, place_cells),
    EdgeCell: Sharing(cover_options, place_edges, is_dead),
    Chain: Sharing(cover_options, place_chain, draw=lambda network, path: draw_chain(network.get_submodule(path))),
}
"""Kind of a decoded object -> how its classifiers share weights. Another kind of supernet is a line here."""

OF_DETECTORS: Final[dict[type, Sharing]] = {
    Chain: Sharing(cover_options, place_chain, draw=draw_detector, build=build_detector, settle=place_anchors),
}
"""The same for detectors."""


def sharing_of(space: SearchSpace, *, detects: bool = False) -> Sharing:
    """Return how the classifiers of a space share weights, or its detectors.

    Raises:
        ValueError: if no supernet is known for it.
    """
    kind, sharings = kind_of(space), OF_DETECTORS if detects else SHARINGS
    if brings_network(space) or kind not in sharings:
        what = "brings networks of its own" if brings_network(space) else f"describes a {kind.__name__}"
        known = ", ".join(known.__name__ for known in sharings)
        of_detectors = " of detectors" if detects else ""
        raise ValueError(f"a supernet{of_detectors} is known for {known}; the space {space.spelling} {what}")
    sharing = sharings[kind]
    next(sharing.cover(space))
    return sharing


class Supernet(nn.Module):
    """The weights of all networks of a space at one size, which :meth:`path` lends to one network at a time.

    A network has its weights by the place of each operation: what two networks have in the same place they share.
    Batch norms have neither gamma nor beta, and their statistics belong to the network that :meth:`path` returns, so
    that the supernet has no buffers. ``size`` is what :meth:`genotypes.space.SearchSpace.network` documents; with
    ``detects`` the networks are detectors, and it is that of :class:`evo_nas.phenotypes.detector.Detector` and the name
    of the neck.

    ``tensors`` are the weights by their names, as :meth:`weights_by_name` returned them; by default they are drawn from
    torch's default generator.

    Raises:
        ValueError: if no supernet is known for the space.
    """

    def __init__(
        self, space: SearchSpace, tensors: Mapping[str, Tensor] | None = None, *, detects: bool = False, **size: Any
    ) -> None:
        super().__init__()
        self.space, self.size = space, size
        self._sharing = sharing_of(space, detects=detects)
        self._build = self._sharing.build or BUILDERS[kind_of(space)]
        self.weights = nn.ParameterDict()
        for name, tensor in (dict(self._draw()) if tensors is None else tensors).items():
            self.weights[name] = nn.Parameter(tensor)

    def _draw(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the first value of each weight, drawn as for a network that stands alone."""
        known: set[str] = set()
        for design in self._sharing.cover(self.space):
            ghost = self._ghost(design)
            for name, pieces in self._sharing.place(ghost, design).items():
                new = [piece.name for piece in pieces if piece.name not in known]
                if not new:
                    continue
                owner, _, last = name.rpartition(".")
                module = ghost.get_submodule(owner)
                module.to_empty(device="cpu", recurse=False)
                module.reset_parameters()  # type: ignore[operator]  # every layer with weights has it
                self._sharing.draw(ghost, owner)
                weight = module.get_parameter(last).detach()
                widths = [piece.channels for piece in pieces]
                parts = torch.split(weight, widths, dim=1) if any(widths) else [weight]
                for piece, part in zip(pieces, parts, strict=True):
                    if piece.name in new:
                        known.add(piece.name)
                        yield piece.name, part.clone()

    def weights_by_name(self) -> dict[str, Tensor]:
        """Return all weights by their names: views, whose values change with the supernet's."""
        return {name: weight.detach() for name, weight in self.weights.items()}

    @torch.no_grad()
    def adopt(self, tensors: Mapping[str, Tensor], part: str = "") -> int:
        """Copy the weights whose names begin with ``part`` from those of another supernet; return how many there are.

        Raises:
            ValueError: if one of them has another shape there, or none has such a name.
        """
        taken = {name: tensor for name, tensor in tensors.items() if name.startswith(part) and name in self.weights}
        for name, tensor in taken.items():
            if tensor.shape != self.weights[name].shape:
                shapes = f"{tuple(tensor.shape)}, not {tuple(self.weights[name].shape)}"
                raise ValueError(f"the weights are of another supernet: {name} has the shape {shapes}")
            self.weights[name].copy_(tensor)
        if not taken:
            raise ValueError("the weights are of another supernet: none has a name of this one's")
        return len(taken)

    def forward(self, images: Tensor, genotype: Genotype) -> Any:
        """Map images, (n, channels, h, w), to what one network puts out, such as logits, (n, classes)."""
        return self.path(genotype).train(self.training)(images)

    def path(self, genotype: Genotype) -> nn.Module:
        """Return the network of a genotype with the weights of the supernet, which gradients reach, in training mode.

        Its batch norms are new. The supernet keeps nothing of it.

        Raises:
            GenotypeError: if the space does not contain the genotype.
        """
        design = self.space.decode(genotype)
        network = self._ghost(design)
        for name, pieces in self._sharing.place(network, design).items():
            parts = [self.weights[piece.name] for piece in pieces]
            owner, _, last = name.rpartition(".")
            # A tensor that is made of several is no parameter, and yet what the layer computes with.
            lent = cast("dict[str, Any]", network.get_submodule(owner)._parameters)
            lent[last] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        like = next(iter(self.weights.values()))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                _renew(module, like)
        self._sharing.settle(network, like)
        return network

    def extract(self, genotype: Genotype) -> dict[str, Tensor]:
        """Return the weights of a network as a state dict of its own: a copy, for a network that stands alone.

        Its batch norms have a gamma of 1, a beta of 0 and no statistics yet.

        Raises:
            GenotypeError: if the space does not contain the genotype.
        """
        return {name: tensor.clone() for name, tensor in self.path(genotype).state_dict().items()}

    def is_dead(self, genotype: Genotype) -> bool:
        """Return whether no image reaches the output of the genotype's network."""
        return self._sharing.is_dead(self.space.decode(genotype))

    def _ghost(self, design: Any) -> nn.Module:
        """Build the network of a design with shapes and no numbers."""
        with torch.device("meta"), _Undrawn():
            return self._build(design, drop_path_keep=1.0, **self.size)


class _Undrawn(TorchFunctionMode):
    """Until the end of the block nothing is drawn: torch goes a long way to draw numbers that have no memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func in _DRAWING else func(*args, **(kwargs or {}))


_DRAWING: Final = frozenset({Tensor.normal_, Tensor.uniform_})


def _renew(norm: nn.BatchNorm2d, like: Tensor) -> None:
    """Set a batch norm's gamma to 1, its beta to 0 and its statistics to none yet, of the type of ``like``."""
    size = norm.num_features
    norm.weight = nn.Parameter(torch.ones(size, dtype=like.dtype, device=like.device), requires_grad=False)
    norm.bias = nn.Parameter(torch.zeros(size, dtype=like.dtype, device=like.device), requires_grad=False)
    norm.running_mean = torch.zeros(size, dtype=like.dtype, device=like.device)
    norm.running_var = torch.ones(size, dtype=like.dtype, device=like.device)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=like.device)
