"""The latency of candidates as they are deployed: which spaces have one, and who measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evo_nas.errors import DataError
from evo_nas.evaluators.deployment import METRICS, Deployment, measure_deployment, require_runtime, write_model
from evo_nas.evaluators.devices.client import Device
from evo_nas.phenotypes.kinds import brings_network, build_network, kind_of
from evo_nas.phenotypes.plan import MACROS
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, shorten
from genotypes.space import SearchSpace


@dataclass(frozen=True)
class Deployed:
    """Candidates of a space at their final size, as ``deployment`` uses them; ``macro`` is for pairs of cells."""

    space: SearchSpace
    deployment: Deployment
    macro: str
    size: Mapping[str, int]

    def refuse(self) -> None:
        """Raise if networks of the space cannot be timed as they are deployed.

        Raises:
            ValueError: naming what is missing, or what they are not.
        """
        if brings_network(self.space):
            raise ValueError(
                f"the space {self.space.name} brings networks of its own, for which no ort_latency is known"
            )
        if self.macro not in MACROS:
            raise ValueError(f"deploy_macro must be one of {', '.join(MACROS)}, not {shorten(self.macro)!r}")
        if self.macro != "cifar" and kind_of(self.space) is not CellPair:
            raise ValueError(f"the networks of {self.space.name} have no macro-architecture {self.macro}")
        require_runtime(self.space.decode(self.space.sample(np.random.default_rng(0))))

    def measure(self, genotype: Genotype, *, workers: int) -> dict[str, float]:
        """Time a candidate on this machine, as :func:`measure_deployment` does."""
        return measure_deployment(self._build(genotype), self.deployment, workers=workers)

    def measure_at(self, url: str, device: str, genotype: Genotype) -> dict[str, float]:
        """Time a candidate on the machine of an agent, which described itself as ``device``.

        Raises:
            DataError: if it cannot be measured there, or the machine is another one.
        """
        content = write_model(self._build(genotype), self.deployment)
        timing = Device(url).measure(content, self.deployment.settings)
        if timing.device != device:
            raise DataError(f"the device {url} is now {timing.device}, and this part of the run began with {device}")
        return dict(zip(METRICS, (timing.latency, timing.spread, float(timing.is_noisy)), strict=True))

    def _build(self, genotype: Genotype) -> Any:
        """Build a network; the training's random numbers are left as they are."""
        import torch

        size: dict[str, Any] = dict(self.size)
        if kind_of(self.space) is CellPair:
            size["macro"] = self.macro
        shape = {"channels": self.deployment.channels, "image_size": self.deployment.image_size}
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return build_network(self.space, genotype, **shape, **size)
