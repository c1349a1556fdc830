"""Looking back on searches: frames, curves, comparisons, pictures.

Numbers first; they need pandas alone:

Histories as tidy frames: :mod:`analysis.frames`
Curves of a search:       :mod:`analysis.curves`
Strategies compared:      :mod:`analysis.compare`
Over many seeds:          :mod:`analysis.study`
What a ranking is worth:  :mod:`analysis.fidelity`
Where a cell's parts go:  :mod:`analysis.layout`

Drawing second; these load matplotlib, so their names are taken from the files themselves:

Cells as in the papers:   :mod:`analysis.cells`
Accuracy against samples: :mod:`analysis.plots`
Regret against trials:    :mod:`analysis.bands`
Accuracy against costs:   :mod:`analysis.front`
Rankings against cost:    :mod:`analysis.tradeoff`
"""

from analysis.compare import Comparison, compare, compare_runs, notes_of, records, warnings_of
from analysis.curves import best_so_far, mean_over_runs, moving_mean
from analysis.fidelity import FIDELITY_TABLE, fidelity_table
from analysis.frames import (
    COLUMNS,
    HistoryError,
    Run,
    find_runs,
    load_curves,
    load_history,
    load_metrics,
    load_notes,
)
from analysis.study import (
    STUDY_TABLE,
    StrategyCurves,
    StudyCurves,
    StudyReport,
    load_study,
    report_study,
    study_table,
)

__all__ = [
    "COLUMNS",
    "FIDELITY_TABLE",
    "STUDY_TABLE",
    "Comparison",
    "HistoryError",
    "Run",
    "StrategyCurves",
    "StudyCurves",
    "StudyReport",
    "best_so_far",
    "compare",
    "compare_runs",
    "fidelity_table",
    "find_runs",
    "load_curves",
    "load_history",
    "load_metrics",
    "load_notes",
    "load_study",
    "mean_over_runs",
    "moving_mean",
    "notes_of",
    "records",
    "report_study",
    "study_table",
    "warnings_of",
]
