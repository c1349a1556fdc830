"""The evaluator that blends scores of a network before its training with the loss after a short one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.proxy.presets import PRESETS
from evo_nas.evaluators.scores.evaluator import ScoresEvaluator, build_live_network
from evo_nas.phenotypes.kinds import kind_of
from genotypes.cell import CellPair
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype
from genotypes.individual import Cost
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

_TRAINED = ("validation_loss", "train_loss", "train_seconds", "validation_seconds")


class CommonTraining(ProxyEvaluator):
    """The proxy training with common random numbers: what differs between candidates is the network alone.

    All take the same images in the same order. Layers of one name and shape begin with the same weights, in networks
    of cells and of edges; in others as many as torch's generator gives alike. Edges that no signal passes are left out.
    """

    def build(self, genotype: Genotype, device: torch.device) -> nn.Module:
        """Build the network, with weights by the seed and the place of a layer."""
        import torch

        from evo_nas.phenotypes.network import draw_by_place

        network = build_live_network(self.space, genotype, image_size=self.integer("image_size"), **self.size())
        if kind_of(self.space) in (CellPair, EdgeCell):
            draw_by_place(network, torch.initial_seed())
        return network.to(device).to(memory_format=torch.channels_last)


@dataclass
class BlendEvaluator(ScoresEvaluator):
    """Score each candidate, train it shortly, and let scores and loss find its place among a yardstick of networks.

    The terms of the fitness are the ``measures``, each of weight 1, and the loss on the validation images after the
    training of ``preset``, a name of :data:`evo_nas.evaluators.proxy.presets.PRESETS`, of the weight ``loss_weight``:
    the geometric mean of places in (0, 1]. ``epochs`` and ``train_images`` override those of the preset. All trainings
    have common random numbers, so that the fitness depends on the genotype and ``seed`` alone. A training that
    diverges takes the worst place. The accuracy becomes the metric ``accuracy``, and steers nothing.

    The networks of the yardstick are trained too, before the first trial. The other options are those of
    :class:`evo_nas.evaluators.scores.evaluator.ScoresEvaluator`.

    Raises:
        ValueError: if a name is unknown or a number out of range.
    """

    name: ClassVar[str] = "blend"

    preset: str = "blend"
    epochs: int | None = None
    train_images: int | None = None
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, loss_weight="(0, inf)")
        self._training = CommonTraining(
            dataset=self.dataset, preset=self.preset, epochs=self.epochs, train_images=self.train_images
        )

    @property
    def terms(self) -> Mapping[str, float]:
        """The metrics whose places make the fitness, each with its weight."""
        return {**super().terms, "validation_loss": self.loss_weight}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the scores, and accuracy, losses and times of the training."""
        return (*super().metrics, "accuracy", *_TRAINED)

    def bind(self, space: SearchSpace, placement: Placement | None = None) -> None:
        """Take space and placement.

        Raises:
            ValueError: if what the space describes has no network, or the device is not there.
        """
        super().bind(space, placement)
        self._training.channels = self.channels
        self._training.bind(space, replace(self.placement, keep_weights=False))
        self.epochs, self.train_images = self._training.epochs, self._training.train_images

    def prepare(self, directory: Path) -> None:
        """Find the images, and check that they can be split.

        Raises:
            DataError: if images are missing, damaged, or all alike.
            UsageError: if there are fewer images than are to be held out, or a batch takes more than are left.
        """
        super().prepare(directory)
        self._training.prepare(directory)

    def _key(self) -> dict[str, Any]:
        names = {field.name for field in fields(PRESETS[self.preset].recipe)} | {"image_size", "cells_per_stack"}
        names |= {"filters", "train_images", "validation_images", "split_seed"}
        trained = {name: getattr(self._training, name) for name in sorted(names) if hasattr(self._training, name)}
        return {**super()._key(), "training": trained}

    def _score(self, genotype: Genotype) -> tuple[Cost, dict[str, float]]:
        cost, scores = super()._score(genotype)
        # A job of one id and seed for all candidates: the trainings have the same random numbers.
        trained = self._training.evaluate(Job(1, genotype, self.seed or 0))
        if trained.fitness is not None:
            scores["accuracy"] = trained.fitness
            scores |= {name: trained.metrics[name] for name in _TRAINED}
        return cost, scores
