"""Catalogues: names, plug-ins, and options read from text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genotypes.catalogue import SPACES
from genotypes.registry import OptionError, build_with_options, options_of


@dataclass
class Options:
    """One option of every type that there is."""

    whole: int = 1
    number: float = 0.5
    flag: bool = False
    word: str = "a"
    words: tuple[str, ...] = ("a",)
    place: Path = Path()
    perhaps: int | None = None


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("whole", "5", 5),
        ("whole", -3, -3),
        ("number", "1e-3", 0.001),
        ("number", 2, 2.0),
        ("flag", "true", True),
        ("flag", False, False),
        ("word", "b", "b"),
        ("words", "a, b+c", ("a", "b", "c")),
        ("words", ["a", "b"], ("a", "b")),
        ("place", "x/y", Path("x/y")),
        ("whole", np.int64(5), 5),
        ("whole", np.float64(5), 5),
        ("whole", torch.tensor(5), 5),
        ("number", np.float32(0.5), 0.5),
        ("number", torch.tensor(2), 2.0),
        ("flag", np.True_, True),
        ("flag", torch.tensor(False), False),
        ("word", np.str_("b"), "b"),
        ("words", [np.str_("b")], ("b",)),
        ("perhaps", np.int8(7), 7),
        ("perhaps", "7", 7),
        ("perhaps", "none", None),
        ("perhaps", None, None),
    ],
)
def test_options_are_read_as_the_types_of_the_fields(name: str, given: object, value: object) -> None:
    found = options_of(build_with_options(Options, "it", {name: given}))[name]
    assert (found, type(found)) == (value, type(value))
    if name == "words":
        assert {*map(type, found)} == {str}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("whole", "5.0", "it: whole cannot be '5.0'; write a whole number"),
        ("whole", True, "write a whole number"),
        ("whole", 5.0, "write a whole number"),
        ("whole", np.float64(5.5), "write a whole number"),
        ("whole", 2**63, "write a whole number"),
        ("whole", "9" * 19, "write a whole number"),
        ("whole", "9" * 400, "write a whole number"),
        ("number", np.True_, "write a number"),
        ("number", np.array([1.0, 2.0]), "write a number"),
        ("number", "x", "write a number"),
        ("number", True, "write a number"),
        ("number", {"a": 1}, "write a number"),
        ("flag", "yes", "write true or false"),
        ("flag", 1, "write true or false"),
        ("word", 5, "expected str"),
        ("words", [1], "write a list of words"),
        ("words", {"a": 1}, "write a list of words"),
        ("perhaps", "x", "write a whole number"),
        ("colour", 1, "it has no option 'colour'; its options are: whole, number"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(name: str, given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        build_with_options(Options, "it", {name: given})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ImportError|has no attribute|AttributeError"),
        ("Space = 3", "is no space: it must subclass SearchSpace"),
        ("class Space: pass", "is no space: it must subclass SearchSpace"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_plug_in_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    name = f"plugin_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionError, match=message) as caught:
        SPACES.build(f"{name}:Space", {})
    assert "\n" not in str(caught.value)
