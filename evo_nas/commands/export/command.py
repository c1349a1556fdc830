"""The command ``export``: cells and networks for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.commands.base import Parser, add_cells, add_size, whole
from evo_nas.commands.export.calibration import CALIBRATION_IMAGES, Calibration

if TYPE_CHECKING:
    from genotypes.cell import CellPair
    from genotypes.chain import Chain
    from genotypes.edge_cell import EdgeCell
    from genotypes.pyramid import Pyramid


EPILOG = """\
formats:
  json         the genotype, or the pair of cells where there is none; the widths
  cells        the pair of cells, as JSON
  dot          the cells or the feature pyramid in DOT, for Graphviz
  module       the network as one Python file that needs torch, and for widths the package of their network
  safetensors  the weights, without an auxiliary classifier
  torch        the network with its weights, by torch.export (.pt2)
  onnx         the network with its weights; needs the extra onnx
  onnx-int8    the same in whole numbers of 8 bits, calibrated with train images
  timm         a folder that timm loads: module, weights, config.json, model card
  card         the model card in Markdown, and a picture of the cells

examples:
  python -m evo_nas export runs/RUN --format json,dot
  python -m evo_nas export --weights runs/train-A/best.safetensors --format module,safetensors,torch,onnx
  python -m evo_nas export --weights runs/train-A/best.safetensors --format onnx-int8 --calibration-images 500
  python -m evo_nas export --cell nasnet-a --size 6@768 --format module -o nasnet.py

Without --weights they are random. docs/export.md says how to use each file."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_cells(parser)
    parser.add_argument(
        "--format", metavar="LIST", action="append", default=[], help="what to write, with commas: see below"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        type=Path,
        default=Path("export"),
        help="folder (default: export), or one file",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="trained network: best.safetensors of a training")
    add_size(parser, macro=None)
    parser.add_argument(
        "--image-size",
        metavar="PIXELS",
        type=whole(10**4),
        help="side of the images (default: 32, or 224 for imagenet)",
    )
    parser.add_argument("--channels", metavar="C", type=whole(10**4), help="channels of the images (default: 3)")
    parser.add_argument("--classes", metavar="K", type=whole(10**6), help="classes (default: 10, or 1000 for imagenet)")
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="onnx: batch norms become part of the convolutions before them (default)",
    )
    parser.add_argument("--seed", metavar="K", type=whole(2**62, 0), default=0, help="of weights nobody trained (0)")
    parser.add_argument(
        "--calibration-images",
        metavar="N",
        type=whole(10**6),
        default=CALIBRATION_IMAGES,
        help=f"onnx-int8: train images that the ranges of numbers are taken from (default: {CALIBRATION_IMAGES})",
    )
    parser.add_argument("--dataset", metavar="NAME", help="onnx-int8: the images (default: those of the training)")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="onnx-int8: where image sets lie")
    parser.add_argument("--threads", metavar="T", type=whole(1024), default=1, help="onnx-int8: of the latency (1)")


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and print their names."""
    from evo_nas.commands.cell_sources import find_design
    from evo_nas.commands.export.formats import Size, export, has_random_weights, parse_formats, subject_of, targets

    formats = parse_formats(arguments.format)
    named = arguments.source is not None or arguments.cell is not None or arguments.weights is None
    source = find_design(arguments.source, arguments.cell, arguments.trial, arguments.network) if named else None
    names = ("size", "filters", "macro", "stem", "channels", "classes")
    size = Size(
        cells_per_stack=arguments.cells_per_stack,
        image=arguments.image_size,
        **{name: getattr(arguments, name) for name in names},
    )
    subject = subject_of(source, arguments.weights, size, formats, arguments.network)
    files = targets(arguments.output, subject, formats, force=arguments.force)
    if has_random_weights(subject, formats):
        print(f"evo_nas: note: without --weights they are random, of seed {arguments.seed}", file=sys.stderr)
    calibration = Calibration(
        arguments.weights,
        arguments.dataset,
        arguments.data_dir,
        arguments.calibration_images,
        arguments.threads,
    )
    notes = export(subject, files, _draw, seed=arguments.seed, fold=arguments.fold, calibration=calibration)
    print("\n".join([*map(str, files.values()), *notes]))


def _draw(design: CellPair | EdgeCell | Chain | Pyramid) -> str:
    from analysis.plots.cells import design_dot

    return design_dot(design)
