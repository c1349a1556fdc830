"""A network as a graph that runs without our code: by torch.export, or in ONNX."""

from __future__ import annotations

import importlib.util
import io
import json
from typing import TYPE_CHECKING, Any

from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import Blueprint, ChainBlueprint, DetectorBlueprint, WidthsBlueprint
from evo_nas.phenotypes.named import OURS
from evo_nas.phenotypes.onnx.graph import IMAGES, LOGITS, OPSET

if TYPE_CHECKING:
    from torch import Tensor, nn


def require_onnx(blueprint: Blueprint) -> None:
    """Raise if a package is missing that writes the network in ONNX.

    Raises:
        UsageError: naming it, and how to install it.
    """
    names = ["onnx"]
    is_foreign = isinstance(blueprint, WidthsBlueprint) and blueprint.widths.network.partition(":")[0] not in OURS
    if is_foreign or isinstance(blueprint, DetectorBlueprint | ChainBlueprint):
        names.append("onnxscript")  # for torch's exporter
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs {' and '.join(missing)}: python -m pip install 'evo_nas[onnx]'")


def write_graph(network: nn.Module, blueprint: Blueprint, *, fold: bool = True) -> bytes:
    """Return the content of an ONNX file: written from our own modules, or by torch's exporter for those of others."""
    from evo_nas.phenotypes.onnx.network import can_write, write_onnx

    if not can_write(network):
        return export_graph(network, blueprint, fold=fold)
    images = {"channels": blueprint.channels, "image": blueprint.image}
    content: bytes = write_onnx(network, **images, fold=fold, metadata=_describe(blueprint)).SerializeToString()
    return content


def export_graph(network: nn.Module, blueprint: Blueprint, *, fold: bool = True) -> bytes:
    """Return the content of an ONNX file that torch's exporter writes of any network, in many seconds."""
    import torch

    images, dynamic = _example(blueprint)
    with torch.no_grad():  # nobody trains it: strided 1x1 convolutions stay what they are
        program = torch.onnx.export(
            network,
            images,
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            input_names=[IMAGES],
            output_names=[LOGITS, "deltas"] if isinstance(blueprint, DetectorBlueprint) else [LOGITS],
            optimize=fold,
            verbose=False,
        )
    assert program is not None, "the way by dynamo gives a program"
    program.model.metadata_props.update(_describe(blueprint))
    model = program.model_proto
    graph = model.graph
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]  # how torch came to it, with the folders of this machine
    content: bytes = model.SerializeToString()
    return content


def write_program(network: nn.Module, blueprint: Blueprint) -> bytes:
    """Return the content of a file of torch.export."""
    import torch

    images, dynamic = _example(blueprint)
    program = torch.export.export(network, images, dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of our code, with the folders of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=_describe(blueprint))
    return file.getvalue()


def _example(blueprint: Blueprint) -> tuple[tuple[Tensor], tuple[dict[int, Any]]]:
    """Return images to trace a network with, and that any number of them will do."""
    import torch

    images = torch.zeros(2, blueprint.channels, blueprint.image, blueprint.image)
    return (images,), ({0: torch.export.Dim("batch")},)


def _describe(blueprint: Blueprint) -> dict[str, str]:
    """Return what a user of the network needs to know, each entry as JSON."""
    told: dict[str, Any] = {"classes": blueprint.classes, "mean": blueprint.mean, "std": blueprint.std}
    told["image"] = blueprint.image
    if isinstance(blueprint, DetectorBlueprint):  # its anchors follow from them
        told["strides"] = blueprint.ghost().strides
    return {name: json.dumps(value) for name, value in told.items()}
