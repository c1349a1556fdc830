"""Genotypes: text and JSON, and what is refused there."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genotypes.catalogue import build_space
from genotypes.genotype import Genotype, GenotypeError


def test_a_genotype_is_hashable_and_comparable() -> None:
    a, b = Genotype("nasnet", (0, 1)), Genotype("nasnet", (0, 2))
    assert len({a, b, Genotype("nasnet", (0, 1))}) == 2
    assert a < b


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no genotype"),
        ("nasnet", "no genotype"),
        ("nasnet:", "choice 0"),
        ("nasnet:1..2", "choice 1"),
        ("nasnet:1.-2", "choice 1"),
        ("nasnet:1.2e3", "choice 1"),
        ("nasnet:١.2", "choice 0"),  # digits of another script
        ("nasnet:" + "9" * 5000, "choice 0"),
        (":1.2", "needs the name of its space"),
        ("nasnet:1.2\n3", "choice 1"),
    ],
)
def test_text_that_is_no_genotype_is_refused_in_one_short_line(text: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message) as caught:
        Genotype.parse(text)
    assert len(str(caught.value)) < 250


def parsed(text: str) -> Genotype | str:
    try:
        return Genotype.parse(text)
    except GenotypeError as error:
        return str(error)


FIELDS = st.integers(0, 300).map(str) | st.sampled_from(
    ["00", "007", "9" * 9, "9" * 10, "", "-1", "+1", " 1", "1_0", "١", "x"]
)


@given(space=st.sampled_from(["nasnet", "", "a:b", " "]), fields=st.lists(FIELDS, max_size=6))
@example(space="nasnet", fields=["0", "255", "256"])
def test_numbers_that_are_looked_up_are_those_that_are_read(space: str, fields: list[str]) -> None:
    text = f"{space}:{'.'.join(fields)}"
    looked_up = parsed(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genotypes.genotype._NUMBERS", {})
        assert parsed(text) == looked_up


@given(st.lists(st.integers(0), max_size=6))
def test_text_is_the_choices_between_dots(choices: list[int]) -> None:
    assert str(Genotype("nasnet", tuple(choices))) == "nasnet:" + ".".join(map(str, choices))


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {},
        {"space": "nasnet"},
        {"space": 3, "choices": []},
        {"space": "nasnet", "choices": "01"},
        {"space": "nasnet", "choices": [0, 1.0]},
        {"space": "nasnet", "choices": [True]},
        {"space": "nasnet", "choices": [-1]},
        {"space": "nasnet", "choices": [0], "more": 1},
    ],
)
def test_json_that_is_no_genotype_is_refused(record: object) -> None:
    with pytest.raises(GenotypeError):
        Genotype.from_json(record)


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("nosuch", "there is no space 'nosuch'; there are: nasnet"),
        ("nasnet(", "is no space"),
        ("nasnet(block=3)", "no option 'block'; its options are: blocks, ops, combines"),
        ("nasnet(blocks=x)", "blocks cannot be 'x'"),
        ("nasnet(blocks=0)", "blocks must be from 1 to 20"),
        ("nasnet(blocks=1000000000)", "blocks must be from 1 to 20"),
        ("nasnet(blocks)", "an option is NAME=VALUE, not 'blocks'"),
        ("nasnet(blocks=)", "an option is NAME=VALUE, not 'blocks='"),
        ("nasnet(,)", "an option is NAME=VALUE, not ''"),
        ("nasnet(blocks=2,blocks=2)", "names the option blocks twice"),
        ("nasnet(ops=sep3)", "unknown 'sep3' in ops"),
        ("nasnet(ops=identity+identity)", "none twice"),
        ("nasnet(combines=multiply)", "unknown 'multiply' in combines"),
        ("os:system", "there is no space 'os:system'"),
    ],
)
def test_a_spelling_that_means_no_space_is_refused(spelling: str, message: str) -> None:
    with pytest.raises(GenotypeError, match=message):
        build_space(spelling)
