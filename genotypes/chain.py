"""A chain of blocks, one per place, in stages of one width each: what DetNAS and single path one-shot search.

Chen et al. 2019, "DetNAS", section 3; Guo et al. 2019, "Single Path One-Shot Neural Architecture Search", section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

from genotypes.genotype import GenotypeError, shorten
from genotypes.ranges import check_range

BLOCKS: Final = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "xception_3x3")
"""The blocks of a place: a unit of ShuffleNetV2 with a depthwise kernel of that size, or one with three of 3x3.

In the order of the released code (megvii-model/DetNAS): a published gene names them 0 to 3.
"""

LARGEST_CHAIN: Final = 200
"""Places of a chain, at most; the largest published one has 40."""

LARGEST_CHANNELS: Final = 100_000

SHUFFLES: Final = (1, 2)
"""How a place of stride 1 divides its channels; see :class:`ChainSize`."""


@dataclass(frozen=True)
class Place:
    """A place of a chain: channels that come in and go out, and the stride of its block.

    ``index`` counts from 0 over all stages, ``stage`` from 0.
    """

    index: int
    stage: int
    inputs: int
    outputs: int
    stride: int


@dataclass(frozen=True)
class ChainSize:
    """All of a chain but its blocks; the defaults are the small network of both papers.

    ``stages`` are the places per stage, ``widths`` the channels of each stage. The first place of a stage has stride 2;
    it passes on what comes in and adds what is missing, so that widths grow. A block has half of a width in the middle
    and, at stride 1, works on half of the channels; so widths are even. ``stem`` are the channels of the first
    convolution, ``stem_stride`` is its stride, 1 for small images. ``last`` are the channels of the 1x1 convolution
    before the classifier.

    ``shuffle`` says which half of the channels passes a place of stride 1 untouched, as the released code numbers it
    (megvii-model/DetNAS): 1 interleaves both halves, then passes the first half; 2 passes the even channels. Weights
    that were trained with one are wrong with the other. ``bias`` gives a bias to the stem, to the last convolution and
    to the classifier, as DetNAS has and single path one-shot has not.

    Raises:
        ValueError: if there is no stage, not one width per stage, or a number is out of range.
    """

    stages: tuple[int, ...] = (4, 4, 8, 4)
    widths: tuple[int, ...] = (64, 160, 320, 640)
    stem: int = 16
    stem_stride: int = 2
    last: int = 1024
    shuffle: int = 2
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("stages", "widths"):
            numbers = tuple(getattr(self, name))
            if any(type(number) is not int for number in numbers):
                raise ValueError(f"{name} must be whole numbers, not {shorten(repr(numbers))}")
            object.__setattr__(self, name, numbers)
        if not self.stages or min(self.stages) < 1 or sum(self.stages) > LARGEST_CHAIN:
            raise ValueError(
                f"stages must have a place each, and {LARGEST_CHAIN} together at most, not "
                f"{shorten('+'.join(map(str, self.stages)))}"
            )
        for name in ("stem", "stem_stride", "last", "shuffle"):
            if type(value := getattr(self, name)) is not int:
                raise ValueError(f"{name} must be a whole number, not {shorten(repr(value))}")
        for name in ("stem", "last"):
            check_range(name, getattr(self, name), f"[1, {LARGEST_CHANNELS}]")
        for name in ("stem_stride", "shuffle"):
            if getattr(self, name) not in (1, 2):
                raise ValueError(f"{name} must be 1 or 2, not {getattr(self, name)}")
        if type(self.bias) is not bool:
            raise ValueError(f"bias must be true or false, not {shorten(repr(self.bias))}")
        self._check_widths()

    def _check_widths(self) -> None:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths must name one per stage, so {len(self.stages)}, not {len(self.widths)}")
        before = self.stem
        for width in self.widths:
            if width <= before or width % 2 or width > LARGEST_CHANNELS:
                raise ValueError(
                    f"widths must be even and grow from the stem's {self.stem}, to {LARGEST_CHANNELS} at most; {width} "
                    f"comes after {before}"
                )
            before = width

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places in their order."""
        found: list[Place] = []
        inputs = self.stem
        for stage, (count, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            for first in (True, *(False,) * (count - 1)):
                found.append(Place(len(found), stage, inputs, width, 2 if first else 1))
                inputs = width
        return tuple(found)

    @property
    def stride(self) -> int:
        """Pixels of the image per pixel of the last features, along a side."""
        return self.stem_stride << len(self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, every field by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class Chain:
    """A block for each place of a chain: names of :data:`BLOCKS`, in the order of the places.

    Raises:
        GenotypeError: if there is not one block per place, or one is unknown.
    """

    blocks: tuple[str, ...]
    size: ChainSize = ChainSize()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.blocks) != len(self.size.places):
            raise GenotypeError(f"this chain has {len(self.size.places)} places, not {len(self.blocks)}")
        for place, block in zip(self.size.places, self.blocks, strict=True):
            if block not in BLOCKS:
                raise GenotypeError(
                    f"place {place.index} has the unknown block {shorten(repr(block))}; known: {', '.join(BLOCKS)}"
                )

    @classmethod
    def of_gene(cls, gene: str, size: ChainSize | None = None) -> Chain:
        """Read a gene as the papers print it: the numbers of the blocks, ``2 1 2 0 | 2 1 1 2 | ...``; bars are free.

        Raises:
            GenotypeError: if a number is none of a block, or there is not one per place.
        """
        words = gene.replace("|", " ").split()
        numbers = {str(number): name for number, name in enumerate(BLOCKS)}
        if unknown := next((word for word in words if word not in numbers), None):
            raise GenotypeError(f"a gene has numbers from 0 to {len(BLOCKS) - 1}, not {shorten(unknown)!r}")
        return cls(tuple(numbers[word] for word in words), size or ChainSize())

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The blocks of each stage."""
        found, blocks = [], list(self.blocks)
        for count in self.size.stages:
            found.append(tuple(blocks[:count]))
            del blocks[:count]
        return tuple(found)

    @property
    def gene(self) -> str:
        """The numbers of the blocks, as the papers print them; :meth:`of_gene` reads them back."""
        return " | ".join(" ".join(str(BLOCKS.index(block)) for block in stage) for stage in self.stages)

    def lines(self) -> Iterator[str]:
        """Write a table for a terminal: a line per stage, with its width, its stride and its blocks."""
        stride = self.size.stem_stride
        yield f"{'stage':>5}  {'width':>6}  {'stride':>6}  blocks"
        yield f"{'stem':>5}  {self.size.stem:>6}  {stride:>6}  conv_3x3"
        for stage, (width, blocks) in enumerate(zip(self.size.widths, self.stages, strict=True), start=1):
            stride *= 2
            yield f"{stage:>5}  {width:>6}  {stride:>6}  {' '.join(blocks)}"
        yield f"gene: {self.gene}"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the blocks of each stage as ``chain``, then the fields of the size."""
        size = self.size.to_json()
        del size["stages"]  # the lists of blocks say it
        return {"chain": [list(stage) for stage in self.stages], **size}

    @classmethod
    def from_json(cls, record: object) -> Chain:
        """Read the JSON form; of the size what is left out has its default.

        Raises:
            GenotypeError: if the record has another shape, or such a chain cannot exist.
        """
        names = {field.name for field in fields(ChainSize)} - {"stages"} | {"chain"}
        stages = record.get("chain") if isinstance(record, Mapping) and set(record) <= names else None
        if not isinstance(stages, list) or not all(isinstance(stage, list) for stage in stages):
            raise GenotypeError(
                f'a chain in JSON is {{"chain": [[blocks of stage 1], ...], "widths": [...], ...}}, not '
                f"{shorten(record)}"
            )
        assert isinstance(record, Mapping)
        told = {name: value for name, value in record.items() if name != "chain"}
        if not isinstance(told.get("widths", []), Sequence) or isinstance(told.get("widths"), str):
            raise GenotypeError(f'"widths" of a chain must be a list, not {shorten(told["widths"])}')
        try:
            size = ChainSize(stages=tuple(map(len, stages)), **told)
        except ValueError as error:
            raise GenotypeError(f"no chain has this size: {error}") from error
        return cls(tuple(block for stage in stages for block in stage), size)
