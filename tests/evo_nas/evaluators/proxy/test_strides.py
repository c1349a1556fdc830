"""Images and strides: chains of blocks get images in which their last features have a pixel."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from evo_nas.evaluators.base import Placement
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.evaluators.proxy.strides import find_stride
from evo_nas.evaluators.supernet.evaluator import SupernetEvaluator
from genotypes.catalogue import build_space


@pytest.mark.parametrize(
    ("spelling", "side"),
    [("detnas", 32), ("detnas(stem_stride=1)", 16), ("detnas(stages=1+1,stem_stride=1)", 8), ("nasbench201", 8)],
)
@pytest.mark.parametrize("kind", [ProxyEvaluator, SupernetEvaluator])
def test_the_images_of_a_preset_are_at_least_the_stride(kind: type[ProxyEvaluator], spelling: str, side: int) -> None:
    evaluator = kind(dataset="digits")
    evaluator.bind(build_space(spelling), Placement(device="cpu"))
    assert evaluator.image_size == side


@pytest.mark.parametrize(("side", "warns"), [(8, True), (32, False)])
def test_smaller_ones_that_were_asked_for_are_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, side: int, warns: bool
) -> None:
    evaluator = ProxyEvaluator(dataset="digits", image_size=side)
    evaluator.bind(build_space("detnas"), Placement(device="cpu"))
    with caplog.at_level(logging.WARNING):
        evaluator.prepare(tmp_path)
    assert evaluator.image_size == side
    assert ("images of 8 pixels a side are smaller than the stride of 32" in caplog.text) == warns


def test_only_chains_have_a_stride_that_is_known() -> None:
    assert [find_stride(space) for space in (None, build_space("darts"), build_space("bits"))] == [1, 1, 1]
