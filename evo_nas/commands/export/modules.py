"""Networks of every kind as one Python file, and the name of the function or class in it that builds the network."""

from __future__ import annotations

from typing import Final

from evo_nas.phenotypes.blueprint import (
    Blueprint,
    CellBlueprint,
    ChainBlueprint,
    DetectorBlueprint,
    EdgeBlueprint,
    WidthsBlueprint,
)

BUILDERS: Final[dict[type[Blueprint], str]] = {
    CellBlueprint: "Network",
    ChainBlueprint: "Network",
    DetectorBlueprint: "Network",
    EdgeBlueprint: "build_edge_network",
    WidthsBlueprint: "build_network",
}
"""Kind of network -> what its file calls to build it, without arguments."""


def write_python(blueprint: Blueprint, genotype: str | None = None) -> str:
    """Write the Python file of a network: constants, classes, and ``load`` for weights of a safetensors file.

    Raises:
        UsageError: if no file of Python can hold it.
    """
    from evo_nas.commands.export.chains import write_chain
    from evo_nas.commands.export.detectors import write_detector
    from evo_nas.commands.export.edges import write_edges
    from evo_nas.commands.export.resized import write_module
    from evo_nas.commands.export.standalone import standalone

    if isinstance(blueprint, WidthsBlueprint):
        return write_module(blueprint)
    if isinstance(blueprint, EdgeBlueprint):
        return write_edges(blueprint, genotype)
    if isinstance(blueprint, ChainBlueprint):
        return write_chain(blueprint, genotype)
    if isinstance(blueprint, DetectorBlueprint):
        return write_detector(blueprint, genotype)
    assert isinstance(blueprint, CellBlueprint), "there are five kinds"
    return standalone(blueprint, genotype)
