"""A run that ended, in the hands of a Python session: its trials, its best, its pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evo_nas.run.search import Run as EndedRun
from evo_nas.storage.history import History
from evo_nas.storage.reader import TopTrial
from evo_nas.storage.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run(EndedRun):
    """A run that ended: its absolute ``path``, why it ended (``reason``), and what may be done about it (``advice``).

    Whatever takes a run folder takes this too. All else is read from the folder when it is asked for, so that it holds
    after :func:`evo_nas.resume` too. Jupyter shows a run as a table of its best trials and a drawing of the best.

    Example::

        run = evo_nas.search(strategy="evolution", evaluator="toy", trials=100)
        run.trials.nlargest(3, "fitness")  # a DataFrame
        run.best.genotype
        run.plot("mean")  # a figure of matplotlib
        run.report("report.html")
    """

    @classmethod
    def of(cls, ended: EndedRun) -> Run:
        """Return what a search ended as, for a Python session, which may change its working folder."""
        return cls(ended.path.absolute(), ended.reason, ended.advice)

    @property
    def trials(self) -> pd.DataFrame:
        """Return a row per trial: :func:`evo_nas.load_history` of this run."""
        from analysis.frames import load_history

        return load_history(self.path)

    @property
    def best(self) -> TopTrial | None:
        """Return the trial of the highest fitness, or None while there is none.

        It has ``id``, ``genotype``, ``cell``, ``fitness`` (a fraction in [0, 1]), ``parameters``, ``mult_adds`` and
        ``seconds``.
        """
        with History.read(RunFolder.existing(self.path).history) as history:
            return next(iter(history.top(1)), None)

    def plot(self, kind: str = "curve", *, x: str = "trials", window: int | None = None) -> Figure:
        """Return a picture of the run, which Jupyter shows after ``%matplotlib inline``.

        ``kind``, ``x`` and ``window`` are those of :func:`evo_nas.plot`, which writes files.

        Raises:
            ValueError: as :func:`evo_nas.plot` does.
        """
        from analysis.plots.kinds import draw_kind

        return draw_kind(kind, self.path, x=x, window=window)

    def report(self, output: str | os.PathLike[str] | None = None) -> Path:
        """Return the HTML file that was written: by default ``figures/report.html`` of the run.

        Raises:
            ValueError: if ``output`` does not end in .html.
        """
        from analysis.report.page import write_report

        return write_report(self.path, output)

    def _repr_html_(self) -> str:
        from analysis.report.snippet import report_snippet

        return report_snippet(self.path)
