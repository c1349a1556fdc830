"""The space of the FCNet benchmarks (Klein & Hutter 2019, arXiv 1905.04970): an MLP and its recipe together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from genotypes.space import Decision, SearchSpace

_UNITS: Final = ("16", "32", "64", "128", "256", "512")
_ACTIVATIONS: Final = ("relu", "tanh")
_DROPOUTS: Final = ("0.0", "0.3", "0.6")

_DECISIONS: Final = (
    # Klein & Hutter 2019, table 1; in alphabetical order, as the published tables have them.
    Decision("activation_fn_1", _ACTIVATIONS),
    Decision("activation_fn_2", _ACTIVATIONS),
    Decision("batch_size", ("8", "16", "32", "64")),
    Decision("dropout_1", _DROPOUTS),
    Decision("dropout_2", _DROPOUTS),
    Decision("init_lr", ("0.0005", "0.001", "0.005", "0.01", "0.05", "0.1")),
    Decision("lr_schedule", ("cosine", "const")),
    Decision("n_units_1", _UNITS),
    Decision("n_units_2", _UNITS),
)


@dataclass(frozen=True)
class FCNetSpace(SearchSpace):
    """Widths, activations and dropout of two layers, and how they are trained: the 62,208 configurations of FCNet.

    Every combination is valid and one of its own. The default mutation changes one decision.
    """

    name: ClassVar[str] = "fcnet"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The nine decisions, by name."""
        return _DECISIONS
