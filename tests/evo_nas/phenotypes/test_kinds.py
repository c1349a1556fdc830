"""Networks are found by the kind of what a space describes."""

from __future__ import annotations

import numpy as np
import pytest

from evo_nas.phenotypes.kinds import build_network, has_network
from genotypes.catalogue import build_space
from genotypes.genotype import GenotypeError


def test_a_kind_without_a_builder_has_no_network() -> None:
    space = build_space("bits")
    assert not has_network(space)
    with pytest.raises(GenotypeError, match="no network is known for a dict, which the space bits describes"):
        build_network(space, space.sample(np.random.default_rng(0)), image_size=8)
