"""Supernets of detectors: a path computes what its detector computes alone, and its backbone is a classifier's too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evo_nas.phenotypes.detector import PRIOR, Detector
from evo_nas.phenotypes.named import spell_chain
from evo_nas.phenotypes.shared.chains import TRUNK
from evo_nas.phenotypes.shared.supernet import Supernet, sharing_of
from genotypes.catalogue import build_space

SIZE: dict[str, Any] = {"classes": 3, "canvas": 64, "channels": 1, "width": 8, "depth": 1, "finest_stride": 4}
SMALL = "detnas(stages=1+2+1,widths=8+12+16,stem=4,last=16)"


def supernet_of(spelling: str, neck: str = "fpn") -> Supernet:
    torch.manual_seed(3)
    return Supernet(build_space(spelling), detects=True, neck=neck, **SIZE)


def images(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, 64, 64, generator=torch.Generator().manual_seed(5)).double()


@pytest.mark.parametrize(
    ("spelling", "neck"), [(SMALL, "fpn"), ("detnas(stages=1+1+2+1,widths=8+12+16+20,stem=4,shuffle=1)", "none")]
)
def test_a_path_computes_what_its_detector_computes_with_the_same_weights(spelling: str, neck: str) -> None:
    supernet, rng = supernet_of(spelling, neck).double(), np.random.default_rng(1)
    for _ in range(3):
        genotype = supernet.space.sample(rng)
        alone = Detector(spell_chain(supernet.space.decode(genotype)), neck, **SIZE).double()
        alone.load_state_dict(supernet.extract(genotype))
        path = supernet.path(genotype)
        with torch.no_grad():
            for ours, theirs in zip(path(images()), alone(images()), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
            for ours, theirs in zip(path.eval()(images()), alone.eval()(images()), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
        torch.testing.assert_close(path.anchors, alone.anchors, rtol=0, atol=0)
    assert not list(supernet.buffers())


def test_a_supernet_of_detectors_is_drawn_as_detectors_are() -> None:
    supernet = supernet_of(SMALL)
    state = supernet.extract(supernet.space.sample(np.random.default_rng(0)))
    assert torch.sigmoid(state["head.classify.predict.bias"]).mean().item() == pytest.approx(PRIOR)
    assert state["head.locate.predict.bias"].abs().max() == 0
    assert state["head.locate.predict.weight"].std() < 1e-4
    assert state["head.classify.convolutions.0.weight"].std().item() == pytest.approx(0.01, rel=0.1)
    stem = state["backbone.trunk.stem.0.weight"]  # (4, 1, 3, 3): as in He et al. 2015, by fan-in
    assert stem.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.4)


def test_it_adopts_the_backbones_of_a_supernet_of_classifiers_and_nothing_else() -> None:
    space = build_space(SMALL)
    torch.manual_seed(4)
    classifiers = Supernet(space, classes=5, channels=1, image_size=32, stem_stride=2)
    detectors = supernet_of(SMALL)
    before = {name: weight.clone() for name, weight in detectors.weights_by_name().items()}
    taken = detectors.adopt(classifiers.weights_by_name(), TRUNK)
    trunk = {name for name in before if name.startswith(TRUNK)}
    assert taken == len(trunk) < len(before)
    for name, weight in detectors.weights_by_name().items():
        expected = classifiers.weights_by_name()[name] if name in trunk else before[name]
        torch.testing.assert_close(weight, expected, rtol=0, atol=0)


def test_the_weights_of_another_supernet_are_refused() -> None:
    detectors = supernet_of(SMALL)
    wider = Supernet(build_space(SMALL.replace("16,", "20,", 1)), classes=5, channels=1, image_size=32)
    with pytest.raises(ValueError, match="the weights are of another supernet: trunk/3/shuffle_3x3/"):
        detectors.adopt(wider.weights_by_name(), TRUNK)
    cells = Supernet(build_space("nasbench201"), cells_per_stack=1, filters=4, classes=3, channels=2, image_size=8)
    with pytest.raises(ValueError, match="none has a name of this one's"):
        detectors.adopt(cells.weights_by_name(), TRUNK)


def test_a_space_of_other_things_has_no_supernet_of_detectors() -> None:
    with pytest.raises(ValueError, match="a supernet of detectors is known for Chain; the space darts describes"):
        sharing_of(build_space("darts"), detects=True)
