"""Seconds to find the groups of channels of a network, and the share of a training step that the sparsity term takes.

    python -m benchmarks.widths [--steps 60]

The term is timed on resnet18 at 32x32 pixels, batches of 64 images, one thread: steps with the term and steps without
it take turns, so that both meet the same machine. A step is forward, loss, backward and SGD. Prints medians over the
steps, in processor seconds, because other processes must not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

import torch
import torch.nn.functional as F
from torchvision import models

from evo_nas.phenotypes.widths.cost import CostModel
from evo_nas.phenotypes.widths.trace import trace_layout
from evo_nas.training.regularizers import SparsityTerm

TRACED = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x1_0", "densenet121")


def time_tracing(name: str, size: int) -> tuple[float, int]:
    """Return the seconds that the groups of a network of torchvision take at a size of images, and their number."""
    network = getattr(models, name)(weights=None)
    start = time.process_time()
    layout = trace_layout(network, (3, size, size))
    return time.process_time() - start, len(layout.groups)


def time_steps(steps: int, resource: str, gates: str) -> tuple[float, float]:
    """Return the median seconds of a step without the term and of one with it."""
    torch.manual_seed(0)
    network = models.resnet18(weights=None, num_classes=10)
    term = SparsityTerm(network, CostModel(trace_layout(network, (3, 32, 32)), resource), gates=gates)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for step in range(steps + 4):
        with_term = step % 4 in (1, 2)  # without, with, with, without: neither always comes first
        start = time.process_time()
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        if with_term:
            term.add_gradients(1e-10)
        optimizer.step()
        if step >= 4:  # the first ones warm up
            seconds[with_term].append(time.process_time() - start)
    return median(seconds[False]), median(seconds[True])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="steps of each pair of ways together (default 60)")
    steps = parser.parse_args(arguments).steps
    torch.set_num_threads(1)
    print("| network | image | groups | seconds |\n| --- | --- | --- | --- |")
    for name in TRACED:
        for size in (32, 224):
            seconds, groups = time_tracing(name, size)
            print(f"| {name} | {size} | {groups} | {seconds:.2f} |", flush=True)
    print("\n| resource | gates | step without the term, s | with it, s | more |\n| --- | --- | --- | --- | --- |")
    for resource, gates in (("flops", "gamma"), ("parameters", "gamma"), ("flops", "lasso")):
        without, with_term = time_steps(steps, resource, gates)
        print(f"| {resource} | {gates} | {without:.3f} | {with_term:.3f} | {with_term / without - 1:.1%} |", flush=True)


if __name__ == "__main__":
    main()
