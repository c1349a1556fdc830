"""Find convolutions on the CPU that write past their memory, or whose results or gradients are wrong.

    python -m benchmarks.convolutions [--sets kernels,channels] [--isa AVX2] [--limit N]

Every case runs in a process of its own, forked from one that has imported torch, under the checks of glibc's malloc:
a block whose guard bytes were overwritten aborts the process when it is freed. Each of the three passes (forward,
gradient of the input, gradient of the weights) is computed in float32, several times, and compared with float64. The
passes run alone, so that a failure names its pass. ``--isa`` has oneDNN behave as on a processor with no more than
those instructions (``ONEDNN_MAX_CPU_ISA``), so that an AVX-512 machine can tell what happens on one with AVX2.

The result is a table: for each set and pass, how many cases ran, and how many crashed or were wrong; and, on stderr,
which values each property takes among the failures. convolutions.md has the tables.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MALLOC_CHECKS: Final = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
"""glibc 2.34 and newer: verify the guard bytes of each block, abort where they are damaged, fill what is freed."""

PASSES: Final = ("forward", "input", "weights")
TOLERANCE: Final = 1e-4
"""Of the largest entry: float32 sums of some thousand terms err by less than a tenth of that."""
REPEATS: Final = 3
PATIENCE: Final = 120
"""Seconds after which a case counts as hanging."""


@dataclass(frozen=True)
class Case:
    """One convolution: NCHW sizes, (vertical, horizontal) kernel, stride and dilation, as PyTorch counts them."""

    batch: int
    inputs: int
    outputs: int
    size: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: int = 1
    groups: int = 1
    channels_last: bool = True

    @property
    def padding(self) -> tuple[int, int]:
        """The padding that keeps the size at stride 1 and an odd kernel."""
        return self.dilation * (self.kernel[0] // 2), self.dilation * (self.kernel[1] // 2)


def kernels_set() -> Iterator[Case]:
    """Yield every kind of convolution that a network of ours has, at few and odd channels."""
    kernels = [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (1, 7), (7, 1)]
    strides = [(1, 1), (2, 2), (3, 3), (1, 2), (2, 1)]
    for kernel, stride, dilation, last in itertools.product(kernels, strides, (1, 2), (True, False)):
        if dilation > 1 and kernel == (1, 1):
            continue
        for inputs, outputs in ((1, 1), (2, 3), (4, 4), (3, 8), (8, 3), (5, 17), (12, 12), (16, 32), (24, 6), (33, 64)):
            for batch, size in ((2, 7), (32, 8)):
                yield Case(batch, inputs, outputs, size, kernel, stride, dilation, 1, last)
        for channels, groups in (
            (2, 2),
            (3, 3),
            (4, 2),
            (7, 7),
            (8, 8),
            (12, 4),
            (16, 16),
            (24, 24),
            (40, 40),
            (64, 8),
        ):
            yield Case(16, channels, channels, 8, kernel, stride, dilation, groups, last)


def channels_set() -> Iterator[Case]:
    """Yield strided 1x1 convolutions for every pair of 1 to 64 channels."""
    for inputs, outputs in itertools.product(range(1, 65), repeat=2):
        yield Case(32, inputs, outputs, 8, stride=(2, 2))


def sizes_set() -> Iterator[Case]:
    """Yield strided 1x1 convolutions for many batches, maps, strides and groups."""
    strides = [(2, 2), (3, 3), (4, 4), (1, 2), (2, 1), (1, 3)]
    for inputs, outputs in ((1, 1), (3, 4), (4, 4), (6, 12), (7, 8), (9, 9), (16, 16), (20, 20), (28, 8), (36, 64)):
        for batch, size, stride, last in itertools.product(
            (1, 2, 3, 8, 32, 128), (1, 2, 4, 7, 8, 16, 32), strides, (True, False)
        ):
            yield Case(batch, inputs, outputs, size, stride=stride, channels_last=last)
    for groups, per_group, last in itertools.product((2, 3, 4, 8), range(1, 17), (True, False)):
        yield Case(32, groups * per_group, groups * per_group, 8, stride=(2, 2), groups=groups, channels_last=last)


def unit_stride_set() -> Iterator[Case]:
    """Yield 1x1 convolutions without a stride, which stand in the place of the strided ones, for 1 to 64 channels."""
    for inputs, outputs in itertools.product(range(1, 65), repeat=2):
        yield Case(32, inputs, outputs, 4)


SETS: Final = {"kernels": kernels_set, "channels": channels_set, "sizes": sizes_set, "unit-stride": unit_stride_set}


def run_pass(case: Case, which: str) -> None:
    """Compute one pass in float32 and compare it with float64; exit with code 3 where it is wrong."""
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    shape = (case.batch, case.inputs, case.size, case.size)
    x = torch.randn(shape, generator=generator).to(memory_format=layout)
    kernels = torch.randn((case.outputs, case.inputs // case.groups, *case.kernel), generator=generator)
    kernels = kernels.to(memory_format=layout)
    geometry = (list(case.stride), list(case.padding), [case.dilation] * 2, False, [0, 0], case.groups)
    truth = torch.ops.aten.convolution(x.double(), kernels.double(), None, *geometry)
    grad = torch.randn(truth.shape, generator=generator).to(memory_format=layout)
    mask = [which == "input", which == "weights", False]
    if which != "forward":
        both = torch.ops.aten.convolution_backward(
            *(grad.double(), x.double(), kernels.double(), None, *geometry, mask)
        )
        truth = both[PASSES.index(which) - 1]
    for repeat in range(REPEATS):
        if which == "forward":
            found = torch.ops.aten.convolution(x, kernels, None, *geometry)
        else:
            found = torch.ops.aten.convolution_backward(grad, x, kernels, None, *geometry, mask)[
                PASSES.index(which) - 1
            ]
        error = ((found.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30)).item()
        if not error < TOLERANCE:
            os._exit(3)
        # Blocks of other sizes between them: damaged ones are met again sooner.
        _ = [torch.randn(5 + repeat % 7, 3) for _ in range(20)]
    os._exit(0)


def outcome_of(case: Case, which: str) -> str:
    """Return how a pass ended in a process of its own: "ok", "wrong", or what ended the process."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)
        signal.alarm(PATIENCE)
        run_pass(case, which)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return {0: "ok", 3: "wrong"}.get(os.WEXITSTATUS(status), f"exit code {os.WEXITSTATUS(status)}")


def spell(values: set[object], all_values: set[object]) -> str:
    """Return the values of one property among the failures, shortened where they are all that were tried."""
    if values == all_values:
        return "all"
    ordered = sorted(values, key=str) if not all(isinstance(v, int) for v in values) else sorted(values)  # type: ignore[type-var]
    return ", ".join(map(str, ordered))


def report(name: str, ended: dict[tuple[Case, str], str]) -> None:
    """Print one set's table, and which values each property takes among the failures of a pass."""
    for which in PASSES:
        own = {case: how for (case, p), how in ended.items() if p == which}
        failed = {case: how for case, how in own.items() if how != "ok"}
        print(f"| {name} | {which} | {len(own)} | {len(failed)} | {dict(Counter(failed.values())) or ''} |")
    for which in PASSES:
        failures = [case for (case, p), how in ended.items() if p == which and how != "ok"]
        if failures:
            for field in Case.__dataclass_fields__:
                values = {getattr(case, field) for case in failures}
                tried = {getattr(case, field) for case, p in ended if p == which}
                if len(tried) > 1:
                    print(f"    {which}, {field}: {spell(values, tried)}", file=sys.stderr)


def main() -> None:
    """Run the sets that were asked for, and print their table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS), help=f"which of {', '.join(SETS)} (default: all)")
    parser.add_argument("--isa", help="the most instructions that oneDNN may use: SSE41, AVX, AVX2, AVX512_CORE ...")
    parser.add_argument("--limit", type=int, help="run at most so many cases per set, spread evenly")
    parser.add_argument("--failures", action="store_true", help="print each failed case")
    arguments = parser.parse_args()
    if unknown := set(arguments.sets.split(",")) - set(SETS):
        parser.error(f"there is no set {sorted(unknown)[0]!r}; the sets are: {', '.join(SETS)}")
    wanted = MALLOC_CHECKS | ({"ONEDNN_MAX_CPU_ISA": arguments.isa} if arguments.isa else {})
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        # The checks and oneDNN read the environment when the process starts.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.convolutions", *sys.argv[1:]], os.environ | wanted)

    import torch

    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, oneDNN up to {arguments.isa or 'all'}"
    )
    print("\n| set | pass | cases | failed | how |\n| --- | --- | --- | --- | --- |")
    for name in arguments.sets.split(","):
        cases = list(dict.fromkeys(SETS[name]()))
        if arguments.limit:
            cases = cases[:: max(1, len(cases) // arguments.limit)]
        ended = {(case, which): outcome_of(case, which) for case in cases for which in PASSES}
        report(name, ended)
        if arguments.failures:
            for (case, which), how in ended.items():
                if how != "ok":
                    print(which, how, case)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
