"""The size space of NATS-Bench (Dong et al. 2021); its topology space is ``nasbench201``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from genotypes.genotype import Genotype, GenotypeError, shorten
from genotypes.space import Decision, SearchSpace

CHANNELS: Final = tuple(str(channels) for channels in range(8, 65, 8))
"""Numbers of channels that a layer may have: 8, 16, ... 64 (Dong et al. 2021, section 3.1)."""

_LAYERS: Final = 5
_ARCHITECTURE: Final = re.compile(r"[0-9]+(?::[0-9]+)*")


@dataclass(frozen=True)
class NATSBenchSizeSpace(SearchSpace):
    """The number of channels of each of five layers: the 32,768 sizes of NATS-Bench.

    Decision ``layer0`` is the first number of the benchmark's architecture string, as in ``64:64:64:64:64``.
    """

    name: ClassVar[str] = "natsbench-size"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per layer, ``layer0`` to ``layer4``."""
        return _DECISIONS

    def architecture(self, genotype: Genotype) -> str:
        """Write the genotype as the benchmark's architecture string; :meth:`parse` reads it back.

        Raises:
            GenotypeError: if this space does not contain the genotype.
        """
        self.check(genotype)
        return ":".join([CHANNELS[choice] for choice in genotype.choices])

    def parse(self, text: str) -> Genotype:
        """Read a genotype from its text form or from an architecture string."""
        text = text.strip()
        if not _ARCHITECTURE.fullmatch(text):
            return super().parse(text)
        layers = text.split(":")
        if len(layers) != _LAYERS:
            raise GenotypeError(f"{shorten(text)!r} names {len(layers)} layers, not {_LAYERS}, as in 64:64:64:64:64")
        for layer, channels in enumerate(layers):
            if channels not in CHANNELS:
                raise GenotypeError(
                    f"layer{layer} of {shorten(text)!r} has {shorten(channels)} channels, but the choices are "
                    f"{', '.join(CHANNELS)}"
                )
        return Genotype(self.spelling, tuple(CHANNELS.index(channels) for channels in layers))

    def decode(self, genotype: Genotype) -> dict[str, Any]:
        """Return the architecture string, then the channels of each layer: ``{"architecture": ..., "layer0": ...}``."""
        return {"architecture": self.architecture(genotype), **super().decode(genotype)}

    def key(self, genotype: Genotype) -> str:
        """Return the architecture string."""
        return self.architecture(genotype)


_DECISIONS: Final = tuple(Decision(f"layer{layer}", CHANNELS) for layer in range(_LAYERS))
