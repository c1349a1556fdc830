"""Values of other libraries: what is taken where its value is fine, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError
from genotypes.individual import Evaluation, Outcome, Proposal
from genotypes.plain import LONGEST_TEXT, readable, real, whole

SPACE = build_space("nasnet(blocks=1)")
WHOLE = [
    *(kind(3) for kind in (int, np.int8, np.uint64, np.int64, np.float32, np.float64)),
    *(np.array(3), np.array([3]), torch.tensor(3), torch.tensor([3.0]), pd.Series([3])[0], pd.Series([3.0])[0]),
]
NO_WHOLE = [3.0, True, np.True_, torch.tensor(True), "3", b"3", None, 3.5, np.float64(3.5), np.float32("nan"), pd.NA]
NO_WHOLE += [np.array([1, 2]), torch.tensor([1, 2]), [3], pd.Timestamp(0), 3j, Decimal(3)]
REAL = [0.5, np.float16(0.5), np.float64(0.5), torch.tensor(0.5), torch.tensor([0.5], dtype=torch.bfloat16)]
REAL += [np.array(0.5), np.array([[0.5]]), pd.Series([0.5])[0], pd.Series([0.5]), Decimal("0.5")]
NO_REAL = ["0.5", b"0.5", None, pd.NA, 1j, np.array([0.5, 0.5]), torch.tensor([]), 10**400, object()]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_of_any_library_is_an_int(value: Any) -> None:
    assert (whole(value), type(whole(value))) == (3, int)
    assert Genotype("nasnet", (0, value)).choices == (0, 3)
    assert type(Genotype("nasnet", (0, value)).choices[1]) is int
    assert type(Proposal(Genotype("nasnet", (0,)), parent=value).parent) is int


@pytest.mark.parametrize("value", NO_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="no whole number"):
        whole(value)
    with pytest.raises(GenotypeError, match="choice 1 must be an integer of at least 0"):
        Genotype("nasnet", (0, value))
    if value is not None:
        with pytest.raises(ValueError, match="the parent of a proposal is an id, got"):
            Proposal(Genotype("nasnet", (0,)), parent=value)


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_a_number_of_any_library_is_a_float(value: Any) -> None:
    assert (real(value), type(real(value))) == (0.5, float)
    evaluation = Evaluation(Outcome.OK, value, value, value, (value,), {"loss": value})
    assert evaluation == Evaluation(Outcome.OK, 0.5, 0.5, 0.5, (0.5,), {"loss": 0.5})
    assert Proposal(Genotype("nasnet", (0,)), memo=(value,)).memo == (0.5,)


@pytest.mark.parametrize("value", NO_REAL, ids=lambda value: repr(value)[:20])
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="no number"):
        real(value)
    if value is not None:
        with pytest.raises(ValueError, match="fitness must be a number, got"):
            Evaluation(Outcome.OK, value)
    with pytest.raises(ValueError, match="a learning curve must be a number, got"):
        Evaluation(Outcome.OK, 0.5, curve=(value,))
    with pytest.raises(ValueError, match="metric 'loss' must be a number, got"):
        Evaluation(Outcome.OK, 0.5, metrics={"loss": value})
    with pytest.raises(ValueError, match="the memo must be a number, got"):
        Proposal(Genotype("nasnet", (0,)), memo=(value,))


def test_choices_come_as_arrays_too() -> None:
    choices = [0] * len(SPACE.decisions)
    for given in (np.array(choices), torch.tensor(choices), pd.Series(choices)):
        assert SPACE.genotype(given) == SPACE.genotype(choices)  # type: ignore[arg-type]


def test_a_text_becomes_what_utf8_can_hold() -> None:
    assert readable("ä\0\n") == "ä\0\n"
    assert readable("a\udcffb") == r"a\udcffb"
    assert readable(Exception("x")) == "x"
    end = readable("a" * LONGEST_TEXT + "the end")
    assert len(end) == LONGEST_TEXT
    assert end.startswith("... a")
    assert end.endswith("the end")
    assert Evaluation.failed(Outcome.ERROR, "\udcff").error == r"\udcff"
