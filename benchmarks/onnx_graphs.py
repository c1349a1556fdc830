"""Whether ONNX graphs that are written from our modules compute what the networks compute, and how fast they are made.

    python -m benchmarks.onnx_graphs --count 100
    python -m benchmarks.onnx_graphs --count 2 --exporter
    python -m benchmarks.onnx_graphs --latency

Of each space of cells ``--count`` genotypes are drawn, and every published cell is taken; each becomes a small network
whose weights and running statistics are all away from their first values. ONNX Runtime computes its logits from the
graph, with and without batch norms folded, on images of an odd and an even size. The error is the largest difference
from the network in float64, as a share of the largest logit. ``--exporter`` compares with the graph of torch's exporter
in its place, which takes seconds a network. ONNX Runtime's instance norm loses more digits than torch's, in either
graph: where all operations and combinations are drawn, errors up to 3e-5 are those of the norms.

``--latency`` takes published cells at N = 6 and F = 32, on one image of 32x32, with one thread: seconds to build the
network, to write and open its graph, and for an inference by ONNX Runtime and by eager torch, medians. All seconds are
those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from evo_nas.commands.export.graphs import export_graph
from evo_nas.evaluators.deployment import Deployment, open_session
from evo_nas.phenotypes.blueprint import Blueprint, CellBlueprint, EdgeBlueprint
from evo_nas.phenotypes.cost import cost_of
from evo_nas.phenotypes.network import CellNetwork
from evo_nas.phenotypes.onnx.network import write_onnx
from genotypes.catalogue import build_space
from genotypes.edge_cell import EdgeCell
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.zoo import CELLS

SPACES: Final = {
    **{name: name for name in ("nasnet", "amoebanet", "pnas", "darts", "nasbench201")},
    "all operations": f"nasnet(combines={'+'.join(COMBINES)},ops={'+'.join(OPERATIONS)})",
}
IMAGES: Final = (16, 17)
LARGEST_ERROR: Final = 1e-5
LARGEST_ERROR_OF_NORMS: Final = 3e-5


def draw_weights(network: nn.Module, seed: int) -> nn.Module:
    """Give a network weights of which none has its first value."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if "var" in name or tensor.dim() == 1 else (-0.4, 0.4)
            tensor.uniform_(low, high, generator=generator)
    return network.eval()


def draw_blueprints(spelling: str) -> Iterator[Blueprint]:
    """Yield networks of random genotypes of a space, on images of the sizes by turns."""
    space, rng, index = build_space(spelling), np.random.default_rng(0), 0
    while True:
        decoded: Any = space.decode(space.sample(rng))
        options: dict[str, Any] = {"cells_per_stack": 1, "filters": 4, "classes": ("a", "b", "c")}
        kind: Callable[..., Blueprint] = EdgeBlueprint if isinstance(decoded, EdgeCell) else CellBlueprint
        yield kind(decoded, **options, image=IMAGES[index % len(IMAGES)])
        index += 1


def list_published() -> Iterator[Blueprint]:
    """Yield small networks of every published cell, for small and for large images."""
    for cells in CELLS.values():
        for macro, image in zip(("cifar", "imagenet"), (16, 35), strict=True):
            yield CellBlueprint(cells, cells_per_stack=2, filters=8, classes=("a", "b"), macro=macro, image=image)


def compute(content: bytes, images: torch.Tensor) -> np.ndarray:
    """Return the logits of a graph, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images.numpy()})[0])


def compare(blueprint: Blueprint, seed: int, *, exporter: bool) -> tuple[float, float, float]:
    """Return the error of a network's graphs, and the seconds to write one and to export one, nan if it is not."""
    network = draw_weights(blueprint.network(), seed)
    size = {"channels": blueprint.channels, "image": blueprint.image}
    images = torch.randn(2, 3, blueprint.image, blueprint.image, generator=torch.Generator().manual_seed(seed))
    start = time.process_time()
    folded = write_onnx(network, **size).SerializeToString()
    seconds, by_torch = time.process_time() - start, float("nan")
    plain = write_onnx(network, **size, fold=False).SerializeToString()
    if exporter:
        start = time.process_time()
        content = export_graph(network, blueprint)
        by_torch = time.process_time() - start
        expected = compute(content, images)
    else:
        with torch.no_grad():
            expected = network.double()(images.double()).numpy()
    errors = [np.abs(compute(graph, images) - expected).max() for graph in (folded, plain)]
    return float(max(errors) / np.abs(expected).max()), seconds, by_torch


def clock(work: Callable[[], Any], repeats: int) -> float:
    """Return the median of the processor's seconds that some work takes."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def print_latencies() -> None:
    """Print a row per published cell."""
    print(f"{'cell':<13}{'mult-adds':>13}{'build, s':>10}{'open, s':>9}{'ORT, ms':>9}{'eager, ms':>11}")
    for name, cells in CELLS.items():
        network = CellNetwork(cells, cells_per_stack=6, filters=32, classes=10).eval()
        building = clock(lambda cells=cells: CellNetwork(cells, cells_per_stack=6, filters=32, classes=10), 1)
        opening = clock(lambda network=network: open_session(network, Deployment(3, 32)), 1)
        infer, image = open_session(network, Deployment(3, 32)), torch.zeros(1, 3, 32, 32)
        with torch.inference_mode():
            infer(), network(image)
            times = 1e3 * clock(infer, 20), 1e3 * clock(lambda network=network, image=image: network(image), 10)
        mult_adds = cost_of(cells, image=32, cells_per_stack=6, filters=32, classes=10).mult_adds
        print(
            f"{name:<13}{mult_adds:>13,}{building:>10.2f}{opening:>9.2f}{times[0]:>9.1f}{times[1]:>11.1f}", flush=True
        )


def main() -> int:
    """Print a row per space; return 1 if a graph computes something else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="genotypes of each space")
    parser.add_argument("--exporter", action="store_true", help="compare with torch's exporter")
    parser.add_argument("--latency", action="store_true", help="time published cells at their final size instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.latency:
        print_latencies()
        return 0
    sources = {name: islice(draw_blueprints(spelling), arguments.count) for name, spelling in SPACES.items()}
    print(f"{'networks of':<16}{'count':>6}{'largest error':>15}{'median':>9}{'write, s':>10}{'export, s':>11}")
    is_wrong = False
    for name, blueprints in {"published cells": list_published(), **sources}.items():
        rows = [compare(each, seed, exporter=arguments.exporter) for seed, each in enumerate(blueprints)]
        errors, seconds, exported = np.array(rows).T
        is_wrong |= errors.max() >= (LARGEST_ERROR_OF_NORMS if name == "all operations" else LARGEST_ERROR)
        times = f"{np.median(seconds):>10.3f}{np.median(exported):>11.2f}"
        print(f"{name:<16}{len(rows):>6}{errors.max():>15.1e}{np.median(errors):>9.1e}{times}", flush=True)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
