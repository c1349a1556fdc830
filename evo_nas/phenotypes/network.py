"""Cells stacked into a classifier of small images: the CIFAR-10 network of Zoph et al. 2017, figure 2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evo_nas.phenotypes.cell import CellModule, DropPath, check_vocabulary, output_channels
from evo_nas.phenotypes.ops import SameConv2d
from genotypes.cell import Cell, CellPair
from genotypes.genotype import GenotypeError


class CifarNetwork(nn.Module):
    """Three stacks of N normal cells at F, 2F and 4F filters, a reduction cell before the second and the third.

    A 3x3 convolution of ``stem`` filters, by default 3F, comes first; ReLU, the mean over pixels and a linear layer
    come last. A cell reads the outputs of the two cells before it; a cell whose output nobody reads is not built.
    Takes images of any size from 1 pixel, with ``channels`` 1 (grey) or 3 (colour).

    ``drop_path_keep`` is the probability that a path of the last cell is kept at the end of training, in (0, 1].
    Earlier cells drop less; how far the training has come is told by :meth:`set_drop_path`.

    Weights are drawn from torch's default generator.

    Raises:
        GenotypeError: if a cell names an unknown operation or combination.
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        cells: CellPair,
        *,
        cells_per_stack: int,
        filters: int,
        classes: int,
        channels: int = 3,
        drop_path_keep: float = 1.0,
        stem: int | None = None,
    ) -> None:
        super().__init__()
        stem = 3 * filters if stem is None else stem
        for name, value in (
            ("cells_per_stack", cells_per_stack),
            ("filters", filters),
            ("classes", classes),
            ("stem", stem),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), not {channels}")
        if not 0 < drop_path_keep <= 1:
            raise ValueError(f"drop_path_keep must lie in (0, 1], not {drop_path_keep}")
        for name, cell in (("normal", cells.normal), ("reduction", cells.reduction)):
            try:
                check_vocabulary(cell)
            except GenotypeError as error:
                raise GenotypeError(f"{name} cell: {error}") from None

        def stack(width: int) -> list[tuple[Cell, int, int]]:
            return [(cells.normal, width, 1)] * cells_per_stack

        layout = [  # (cell, filters, stride)
            *stack(filters),
            (cells.reduction, 2 * filters, 2),
            *stack(2 * filters),
            (cells.reduction, 4 * filters, 2),
            *stack(4 * filters),
        ]
        self.channels, self.drop_path_keep = channels, drop_path_keep
        self.stem = nn.Sequential(SameConv2d(channels, stem, (3, 3), (1, 1)), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        current, previous, previous_is_larger = stem, None, False
        for (cell, width, stride), read in zip(layout, _is_read([cell for cell, _, _ in layout]), strict=True):
            self.cells.append(
                CellModule(
                    cell,
                    current=current,
                    previous=previous,
                    previous_is_larger=previous_is_larger,
                    filters=width,
                    stride=stride,
                )
                if read
                else UnreadCell()
            )
            current, previous, previous_is_larger = output_channels(cell, width), current, stride == 2
        self.classifier = nn.Linear(current, classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, (n, channels, h, w), to logits, (n, classes)."""
        current, previous = self.stem(images), None  # (n, stem, h, w)
        for cell in self.cells:  # F becomes 2F and then 4F, while h and w are halved and halved again
            current, previous = cell(current, previous), current
        features = torch.relu(current).mean((2, 3))  # (n, c)
        logits: Tensor = self.classifier(features)  # (n, classes)
        return logits

    def set_drop_path(self, progress: float) -> None:
        """Set how much is dropped after a share of the training, a fraction in [0, 1]; a new network drops nothing.

        ScheduledDropPath (Zoph et al. 2017, appendix), as released: the probability to drop rises linearly over
        training, and linearly with the depth of the cell, so that the last cell reaches 1 - drop_path_keep.

        Raises:
            ValueError: if the progress lies outside [0, 1].
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is a fraction in [0, 1], not {progress}")
        for index, cell in enumerate(self.cells):
            depth = (index + 1) / len(self.cells)
            for module in cell.modules():
                if isinstance(module, DropPath):
                    module.keep = 1 - progress * depth * (1 - self.drop_path_keep)


class UnreadCell(nn.Module):
    """Stands in the place of a cell whose output no later cell reads."""

    def forward(self, current: Tensor, previous: Tensor | None) -> Tensor:
        """Hand on the input, so that the cells after it keep their places."""
        return current


def _is_read(layout: Sequence[Cell]) -> list[bool]:
    """Tell for each cell whether its output reaches the classifier."""
    read = [False] * (len(layout) - 1) + [True]
    for index in reversed(range(len(layout))):
        if read[index]:
            for state in layout[index].live_states() & {0, 1}:
                if index - 1 - state >= 0:
                    read[index - 1 - state] = True
    return read


def _initialize(module: nn.Module) -> None:
    """Draw the weights of one layer: a normal distribution whose variance is 2 / fan-out, as in the released code.

    The classifier takes 1 / fan-in instead: by its fan-out, ten classes and hundreds of features, the first logits
    would be in the tens, and the first steps spent on shrinking them.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=math.sqrt(1 / module.in_features))
        nn.init.zeros_(module.bias)
