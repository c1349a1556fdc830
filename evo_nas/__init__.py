"""evo_nas: neural architecture search that a researcher can trust and an engineer can run.

``evo_nas.search(strategy="evolution", dataset="digits", trials=100)`` runs a search;
``analysis.load_history`` turns the run into a DataFrame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evo_nas.system.version import __version__

if TYPE_CHECKING:
    from evo_nas.run import Run, search

__all__ = ["Run", "__version__", "search"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that ``python -m evo_nas --help`` stays instant."""
    if name in ("Run", "search"):
        from evo_nas import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
