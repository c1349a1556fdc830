"""Looking back on searches: frames, curves, comparisons, pictures.

Numbers first; they need pandas alone:

Histories as tidy frames: :mod:`analysis.frames`
Curves of a search:       :mod:`analysis.curves`
Strategies compared:      :mod:`analysis.compare`
How far to trust that:    :mod:`analysis.significance`
Over many seeds:          :mod:`analysis.study`
Where one comes from:     :mod:`analysis.lineage`
How a population lives:   :mod:`analysis.living`
What a controller learned: :mod:`analysis.learning`
Tables for other programs: :mod:`analysis.tables`
What a ranking is worth:  :mod:`analysis.fidelity`
Where a cell's parts go:  :mod:`analysis.layout`
How far cells are apart:  :mod:`analysis.distance`
What cells are made of:   :mod:`analysis.operations`
Two pairs of cells:       :mod:`analysis.difference`

Drawing second; these load matplotlib, so their names are taken from the files themselves:

Cells as in the papers:   :mod:`analysis.cells`
Their differences:        :mod:`analysis.changes`
Accuracy against samples: :mod:`analysis.plots`
Means over seeds:         :mod:`analysis.seeds`
Means of the best few:    :mod:`analysis.top`
Rewards and entropy:      :mod:`analysis.controller`
Age and diversity:        :mod:`analysis.population`
Any of these, by name:    :mod:`analysis.kinds`
Regret against trials:    :mod:`analysis.bands`
Accuracy against costs:   :mod:`analysis.front`
Rankings against cost:    :mod:`analysis.tradeoff`
All of it on one page:    :mod:`analysis.report`
"""

from analysis.comparable import warnings_of
from analysis.compare import Comparison, compare, compare_runs, comparison_of, notes_of, outcomes, records
from analysis.curves import band_over_runs, best_so_far, mean_over_runs, moving_mean, top_mean
from analysis.difference import Difference, difference
from analysis.distance import CellDistance, PairDistance, cell_distance, pair_distance
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
from analysis.learning import LEARNING_COLUMNS, learning
from analysis.lineage import LINEAGE, lineage
from analysis.living import LIVING_COLUMNS, living
from analysis.operations import COUNT_COLUMNS, DRIFT_COLUMNS, operation_counts, operation_drift
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
    "Run",
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
