"""A toy whose fitness is an average precision: a plug-in for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evo_nas.evaluators.toy import ToyEvaluator
from genotypes.measure import Measure


@dataclass
class Precise(ToyEvaluator):
    """Names its measure."""

    name: ClassVar[str] = "precise"

    @property
    def measure(self) -> Measure:
        """The box AP."""
        return Measure("AP", "validation box AP")
