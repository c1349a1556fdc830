"""The command ``prune``: a trained network made smaller, with the weights of the channels that stay."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.commands.base import Parser, add_json, cannot_write, output_file, whole
from evo_nas.errors import DataError, UsageError
from genotypes.genotype import shorten
from genotypes.widths import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from evo_nas.phenotypes.blueprint import WidthsBlueprint
    from evo_nas.training.pruning import Pruning

EPILOG = """\
examples:
  python -m evo_nas prune runs/train-A/last.safetensors --to 0.5x-mult-adds -o small.safetensors
  python -m evo_nas prune torchvision:resnet18 resnet18.pth --to 0.25x-parameters -o small.safetensors
  python -m evo_nas prune package.module:make weights.pt --to 20000000-mult-adds -o small.safetensors

The smaller network computes what the network does without the weakest channels, so it has to be trained further:
  python -m evo_nas train --from small.safetensors --dataset folder --data-dir IMAGES
  python -m evo_nas export --weights small.safetensors --format module,safetensors,onnx"""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument(  # one list, so that the first of two can be left out wherever the flags stand
        "given",
        nargs="+",
        metavar="WEIGHTS",
        help="safetensors, or a state dict (.pt, .pth); before it its network: torchvision:NAME, timm:NAME, "
        "cell:NAME@CxF, resnet:DEPTHxF or your own package.module:make. Weights of evo_nas say what they are of, "
        "so that only your own is named",
    )
    parser.add_argument(
        "--to",
        metavar="BUDGET",
        type=_read_budget,
        required=True,
        help="what the network may cost: 0.5x-mult-adds, 0.5x-parameters, or a number as in 20000000-mult-adds",
    )
    parser.add_argument("-o", "--output", metavar="FILE", type=output_file, required=True, help="safetensors file")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument(
        "--gates",
        metavar="NAME",
        choices=("gamma", "lasso"),
        help="what makes a channel weak: the scale of its batch norm, gamma, or its weights, lasso (default: gamma, or "
        "lasso where there is no batch norm)",
    )
    parser.add_argument("--classes", metavar="K", type=whole(10**6), help="classes (default: as the weights have)")
    parser.add_argument(
        "--channels", metavar="C", type=whole(10**4), help="channels of the images (default: as the weights have)"
    )
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=whole(10**4),
        help="side of the images (default: 32, or 224 for 1000 classes)",
    )
    add_json(parser)


def _read_budget(text: str) -> Budget:
    try:
        return Budget.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> None:
    """Write the smaller network, and print what became of the larger one."""
    from evo_nas.phenotypes.blueprint import save_network
    from evo_nas.system.atomic import require_writable
    from evo_nas.training.pruning import prune_network

    *names, weights = arguments.given
    if len(names) > 1:
        raise UsageError(f"name one network and one file of weights, not {len(arguments.given)} things")
    network = names[0] if names and names[0] != "-" else None
    output: Path = arguments.output
    if output.suffix != ".safetensors":
        raise UsageError(f"-o names a file that ends in .safetensors, not {output}")
    if output.exists() and not arguments.force:
        raise UsageError(f"{output} is there already: overwrite it with --force, or name another file with -o")
    try:
        require_writable(output)
    except OSError as error:
        raise cannot_write(error) from error
    blueprint, tensors = _find_network(network, Path(weights), arguments)
    pruning = prune_network(blueprint, tensors, arguments.to, arguments.gates)
    try:
        save_network(output, pruning.blueprint, pruning.tensors, label=Path(weights).stem)
    except OSError as error:
        raise cannot_write(error) from error
    if arguments.json:
        print(json.dumps(_tell(pruning, blueprint.widths.widths) | {"output": str(output)}, indent=2))
    else:
        print("\n".join([*_write_table(pruning, blueprint.widths.widths), f"weights: {output}"]))


def _find_network(
    name: str | None, path: Path, arguments: argparse.Namespace
) -> tuple[WidthsBlueprint, Mapping[str, Tensor]]:
    """Find the network that the weights are of: the one that is named, or that of the file's own blueprint.

    Raises:
        UsageError: if none is, or another one.
        DataError: if the weights cannot be read, or are those of another network.
    """
    from evo_nas.phenotypes.blueprint import CellBlueprint, EdgeBlueprint, WidthsBlueprint, difference
    from evo_nas.phenotypes.named import is_foreign, spell_cells, spell_edges
    from evo_nas.phenotypes.transfer import load_weights
    from evo_nas.training.pruning import widths_of_seed

    given, tensors = load_weights(path, name if name is not None and is_foreign(name) else None)
    if given is None:
        if name is None:
            raise UsageError(f"{path} does not say what network it is of: name it before the file")
        images = _read_images(arguments, name, tensors)
        size = {"classes": images["classes"], "channels": images["channels"], "image_size": images["image"]}
        images["classes"] = tuple(map(str, range(size["classes"])))
        images |= {"mean": (0.5,) * size["channels"], "std": (0.5,) * size["channels"]}
        blueprint = WidthsBlueprint(widths_of_seed(name, **size), **images)
        if (found := difference(blueprint, tensors)) is not None:
            raise DataError(f"{path} holds the weights of another network: {found}")
        return blueprint, tensors
    own = {"classes": len(given.classes), "channels": given.channels, "image_size": given.image}
    for flag, value in own.items():
        if getattr(arguments, flag) not in (None, value):
            raise UsageError(
                f"the weights in {path} are of a network with --{flag.replace('_', '-')} {value}: leave that out"
            )
    if isinstance(given, CellBlueprint | EdgeBlueprint):
        tensors = given.strip(tensors)
        images = {key: getattr(given, key) for key in ("classes", "channels", "image", "mean", "std")}
        if isinstance(given, CellBlueprint):
            spelled = spell_cells(given.cells, given.size)
        else:
            spelled = spell_edges(given.edges, cells_per_stack=given.cells_per_stack, filters=given.filters)
        given = WidthsBlueprint(widths_of_seed(spelled, **own), **images)
    assert isinstance(given, WidthsBlueprint), "there are three kinds"
    if name not in (None, given.widths.network):
        raise UsageError(f"the weights in {path} are of {shorten(given.widths.network)}, not of {shorten(name)}")
    return given, tensors


def _read_images(arguments: argparse.Namespace, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what images a network takes: as the flags have it, else as its first and its last layer have it."""
    from evo_nas.phenotypes.widths.draw import build_ghost

    classes, channels = arguments.classes, arguments.channels
    side = arguments.image_size or 32
    if classes is None or channels is None:
        ghost = build_ghost(name, classes=classes or 10, channels=channels or 3, image_size=side)
        layers = [key for key, parameter in ghost.named_parameters() if parameter.dim() > 1 and key in tensors]
        convolutions = [key for key in layers if tensors[key].dim() == 4]
        classes = classes or (len(tensors[layers[-1]]) if layers else 10)
        channels = channels or (tensors[convolutions[0]].shape[1] if convolutions else 3)
    return {"classes": classes, "channels": channels, "image": arguments.image_size or (224 if classes == 1000 else 32)}


def _tell(pruning: Pruning, before: Mapping[str, int]) -> dict[str, Any]:
    widths = pruning.blueprint.widths
    return {
        "network": widths.network,
        **{
            name: {"before": getattr(pruning.before, name), "after": getattr(pruning.after, name)}
            for name in ("mult_adds", "parameters")
        },
        "widths": {name: {"before": before[name], "after": after} for name, after in widths.widths.items()},
    }


def _write_table(pruning: Pruning, before: Mapping[str, int]) -> Iterator[str]:
    """Yield the costs and the widths of all groups, before and after."""
    told = _tell(pruning, before)
    rows = [("mult-adds", told["mult_adds"]), ("parameters", told["parameters"]), *told["widths"].items()]
    names = [shorten(name) for name, _ in rows]
    width = max(map(len, names))
    number = max(len(f"{row['before']:,}") for _, row in rows)
    yield f"{'':<{width}}  {'before':>{number}}  {'after':>{number}}"
    for name, (_, row) in zip(names, rows, strict=True):
        share = row["after"] / row["before"]
        yield f"{name:<{width}}  {row['before']:>{number},}  {row['after']:>{number},}  {share:.2f}x"
