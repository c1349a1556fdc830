"""Time strided 1x1 convolutions as they were, by oneDNN with the stride, against a slice and a convolution without it.

    python -m benchmarks.strided_pointwise [--rounds N]

Forward and both gradients, one thread, in turns within one process; a figure is a ratio of processor seconds, old over
new, as median and range over the rounds. More than 1: the new way is faster. Channels are at least 8 (16 with the
stride of AVX-512 kernels), where the old way is not known to write past its memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from evo_nas.phenotypes.fast.shortcuts import apply
from evo_nas.phenotypes.ops import SameConv2d
from evo_nas.training.devices import keep_freed_memory

SHAPES = [(128, 16, 16, 16), (128, 16, 32, 32), (128, 32, 16, 16), (64, 32, 64, 32), (32, 64, 128, 16)]
"""Batch, input channels, output channels, pixels a side."""


def seconds(forward: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor, repeats: int) -> float:
    """Return the processor seconds of some steps forward and back."""
    start = time.process_time()
    for _ in range(repeats):
        y = forward(x)
        torch.autograd.grad(y, (x, weight), torch.ones_like(y))
    return time.process_time() - start


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep_freed_memory()  # as every process that trains does
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {rounds} rounds\n")
    print(
        "| batch, in, out, side | a slice, as layers are defined | a slice by hand, as trained |\n| --- | --- | --- |"
    )
    for batch, inputs, outputs, side in SHAPES:
        layer = SameConv2d(inputs, outputs, (1, 1), (2, 2)).to(memory_format=torch.channels_last)
        x = torch.randn(batch, inputs, side, side).to(memory_format=torch.channels_last).requires_grad_()
        ways: list[Callable[[Tensor], Tensor]] = [
            lambda x, w=layer.weight: F.conv2d(x, w, None, 2),  # type: ignore[misc]
            layer,
            lambda x, layer=layer: apply(layer, [x]),  # type: ignore[misc]
        ]
        repeats = max(1, int(0.03 / min(seconds(way, x, layer.weight, 3) / 3 for way in ways)))
        taken = [[seconds(way, x, layer.weight, repeats) for way in ways] for _ in range(rounds)]
        cells = []
        for index in (1, 2):
            ratios = [row[0] / row[index] for row in taken]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"| {batch}, {inputs}, {outputs}, {side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
