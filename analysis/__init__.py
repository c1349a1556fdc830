"""Looking back on searches: frames, curves, comparisons, pictures.

Numbers first; they need pandas alone:

Histories as tidy frames: :mod:`analysis.frames`
Curves of a search:       :mod:`analysis.curves`
Strategies compared:      :mod:`analysis.comparison.compare`
How far to trust that:    :mod:`analysis.comparison.significance`
Over many seeds:          :mod:`analysis.comparison.regret`
Where one comes from:     :mod:`analysis.lineage`
How a population lives:   :mod:`analysis.diversity`
What a controller learned: :mod:`analysis.learning`
Tables for other programs: :mod:`analysis.tables`
What a ranking is worth:  :mod:`analysis.fidelity`
Where a cell's parts go:  :mod:`analysis.cells.layout`
How far cells are apart:  :mod:`analysis.cells.distance`
What cells are made of:   :mod:`analysis.cells.drift`
Two pairs of cells:       :mod:`analysis.cells.difference`

Drawing second; these load matplotlib, so their names are taken from the files themselves:

Cells as in the papers:   :mod:`analysis.cells.drawing`
Their differences:        :mod:`analysis.plots.cells`
Accuracy against samples: :mod:`analysis.plots.curves`
Means over seeds:         :mod:`analysis.plots.seed_bands`
Means of the best few:    :mod:`analysis.plots.top_k`
Rewards and entropy:      :mod:`analysis.plots.controller`
Age and diversity:        :mod:`analysis.plots.population`
Any of these, by name:    :mod:`analysis.plots.kinds`
Regret against trials:    :mod:`analysis.plots.regret`
Accuracy against costs:   :mod:`analysis.plots.front`
All of it on one page:    :mod:`analysis.report`
"""

from analysis.cells.difference import Difference, difference
from analysis.cells.distance import CellDistance, PairDistance, cell_distance, pair_distance
from analysis.cells.drift import COUNT_COLUMNS, DRIFT_COLUMNS, operation_counts, operation_drift
from analysis.comparison.compare import Comparison, compare, comparison_of, notes_of, outcomes, records
from analysis.comparison.fairness import warnings_of
from analysis.comparison.regret import STUDY_TABLE, StrategyCurves, StudyCurves, load_study, study_table
from analysis.curves import band_over_runs, best_so_far, mean_over_runs, moving_mean, top_mean
from analysis.diversity import LIVING_COLUMNS, living
from analysis.fidelity import FIDELITY_TABLE, fidelity_table
from analysis.frames import (
    COLUMNS,
    HistoryError,
    RunRecord,
    find_runs,
    load_curves,
    load_history,
    load_metrics,
    load_notes,
)
from analysis.learning import LEARNING_COLUMNS, learning
from analysis.lineage import LINEAGE, lineage
from analysis.plots.compare_report import compare_runs
from analysis.plots.study_report import StudyReport, report_study

__all__ = [
    "COLUMNS",
    "COUNT_COLUMNS",
    "DRIFT_COLUMNS",
    "FIDELITY_TABLE",
    "LEARNING_COLUMNS",
    "LINEAGE",
    "LIVING_COLUMNS",
    "STUDY_TABLE",
    "CellDistance",
    "Comparison",
    "Difference",
    "HistoryError",
    "PairDistance",
    "RunRecord",
    "StrategyCurves",
    "StudyCurves",
    "StudyReport",
    "band_over_runs",
    "best_so_far",
    "cell_distance",
    "compare",
    "compare_runs",
    "comparison_of",
    "difference",
    "fidelity_table",
    "find_runs",
    "learning",
    "lineage",
    "living",
    "load_curves",
    "load_history",
    "load_metrics",
    "load_notes",
    "load_study",
    "mean_over_runs",
    "moving_mean",
    "notes_of",
    "operation_counts",
    "operation_drift",
    "outcomes",
    "pair_distance",
    "records",
    "report_study",
    "study_table",
    "top_mean",
    "warnings_of",
]
