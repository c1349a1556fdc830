"""evo_nas: neural architecture search that a researcher can trust and an engineer can run.

Everything that a notebook needs::

    run = evo_nas.search(strategy="evolution", dataset="digits", trials=100)  # or resume("runs/a", trials=200)
    trials = evo_nas.load_history(run)  # a DataFrame; load_metrics(run) has what else was measured
    evo_nas.plot("mean", run)
    evo_nas.compare([run, "runs/other"])
    evo_nas.study("random,evolution", dataset="digits", trials=50, seeds=5)
    evo_nas.evaluate(run.best.genotype, dataset="digits", seed=1)
    evo_nas.train(run, preset="cpu")
    evo_nas.predict("runs/train-A/best.safetensors", "photos")  # or detect, with the weights of a detector
    evo_nas.export(run, format="json")

In a loop of one's own, without a run folder: ``evo_nas.AskTell(space, strategy)``.
"""

import sys

from evo_nas.system.early import OLDEST, end_in_one_line, is_own_command, refuse_old_python

if sys.version_info < OLDEST:
    refuse_old_python()
if is_own_command():
    end_in_one_line()

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.system.shadows import HiddenPackageError, refuse_shadows
from evo_nas.system.version import __version__

if TYPE_CHECKING:
    from analysis.frames import load_history, load_metrics
    from analysis.plots.compare_report import compare_runs as compare
    from analysis.plots.kinds import plot_kind as plot
    from evo_nas.api.ask_tell import AskTell
    from evo_nas.api.networks import detect, export, predict, train
    from evo_nas.api.runs import Run
    from evo_nas.api.searches import resume, search
    from evo_nas.api.studies import evaluate, study

__all__ = [
    "AskTell",
    "HiddenPackageError",
    "Run",
    "__version__",
    "compare",
    "detect",
    "evaluate",
    "export",
    "load_history",
    "load_metrics",
    "plot",
    "predict",
    "resume",
    "search",
    "study",
    "train",
]

_HOMES = {
    "AskTell": ("evo_nas.api.ask_tell", "AskTell"),
    "Run": ("evo_nas.api.runs", "Run"),
    "compare": ("analysis.plots.compare_report", "compare_runs"),
    "detect": ("evo_nas.api.networks", "detect"),
    "evaluate": ("evo_nas.api.studies", "evaluate"),
    "export": ("evo_nas.api.networks", "export"),
    "load_history": ("analysis.frames", "load_history"),
    "load_metrics": ("analysis.frames", "load_metrics"),
    "plot": ("analysis.plots.kinds", "plot_kind"),
    "predict": ("evo_nas.api.networks", "predict"),
    "resume": ("evo_nas.api.searches", "resume"),
    "search": ("evo_nas.api.searches", "search"),
    "study": ("evo_nas.api.studies", "study"),
    "train": ("evo_nas.api.networks", "train"),
}

if not is_own_command():
    refuse_shadows(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that ``python -m evo_nas --help`` stays instant."""
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
