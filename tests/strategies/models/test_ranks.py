from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from strategies.models.ranks import rank_values


@pytest.mark.parametrize("values", [[], [3.0], [0.2, 0.1, 0.2, 0.2, 0.9], [1.0] * 4, [-1.0, np.inf, 0.0, np.inf]])
def test_ranks_are_those_of_scipy(values: list[float]) -> None:
    assert rank_values(values).tolist() == rankdata(values).tolist()
