"""Looking back on searches: frames, curves, comparisons, pictures.

Numbers first; they need pandas alone:

Histories as tidy frames: :mod:`analysis.frames`
Curves of a search:       :mod:`analysis.curves`
Strategies compared:      :mod:`analysis.comparison.compare`
How far to trust that:    :mod:`analysis.comparison.significance`
Where one comes from:     :mod:`analysis.lineage`
How a population lives:   :mod:`analysis.diversity`
What a controller learned: :mod:`analysis.learning`
Tables for other programs: :mod:`analysis.tables`
Where a cell's parts go:  :mod:`analysis.cells.layout`
How far cells are apart:  :mod:`analysis.cells.distance`
What cells are made of:   :mod:`analysis.cells.drift`
Two pairs of cells:       :mod:`analysis.cells.difference`

Drawing second; these load matplotlib, so their names are taken from the files themselves:

Cells as in the papers:   :mod:`analysis.cells.drawing`
Their differences:        :mod:`analysis.plots.cells`
Accuracy against samples: :mod:`analysis.plots.curves`
Means and regret over seeds: :mod:`analysis.plots.seed_bands`
Means of the best few:    :mod:`analysis.plots.top_k`
Rewards and entropy:      :mod:`analysis.plots.controller`
Age and diversity:        :mod:`analysis.plots.population`
Widths of a network:      :mod:`analysis.plots.widths`
Any of these, by name:    :mod:`analysis.plots.kinds`
Accuracy against costs:   :mod:`analysis.plots.front`
All of it on one page:    :mod:`analysis.report`
"""

from analysis.cells.difference import Difference, difference
from analysis.cells.distance import CellDistance, PairDistance, cell_distance, pair_distance
from analysis.cells.drift import COUNT_COLUMNS, DRIFT_COLUMNS, operation_counts, operation_drift
from analysis.comparison.compare import Comparison, compare, comparison_of, notes_of, outcomes, records
from analysis.comparison.fairness import warnings_of
from analysis.curves import band_over_runs, best_so_far, moving_mean, top_mean
from analysis.diversity import LIVING_COLUMNS, living
from analysis.frames import (
    COLUMNS,
    HistoryError,
    RunRecord,
    find_runs,
    load_curves,
    load_history,
    load_metrics,
    load_notes,
    load_rungs,
)
from analysis.learning import LEARNING_COLUMNS, learning
from analysis.lineage import LINEAGE, lineage
from analysis.plots.compare_report import compare_runs, compare_study

__all__ = [
    "COLUMNS",
    "COUNT_COLUMNS",
    "DRIFT_COLUMNS",
    "LEARNING_COLUMNS",
    "LINEAGE",
    "LIVING_COLUMNS",
    "CellDistance",
    "Comparison",
    "Difference",
    "HistoryError",
    "PairDistance",
    "RunRecord",
    "band_over_runs",
    "best_so_far",
    "cell_distance",
    "compare",
    "compare_runs",
    "compare_study",
    "comparison_of",
    "difference",
    "find_runs",
    "learning",
    "lineage",
    "living",
    "load_curves",
    "load_history",
    "load_metrics",
    "load_notes",
    "load_rungs",
    "moving_mean",
    "notes_of",
    "operation_counts",
    "operation_drift",
    "outcomes",
    "pair_distance",
    "records",
    "top_mean",
    "warnings_of",
]
