"""The configuration: whatever can be configured comes back from TOML as it went."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evo_nas.config import FLAGS, Hardware, RunConfig, SearchConfig, from_environment, read_setting, read_toml
from evo_nas.errors import UsageError
from evo_nas.evaluators.catalogue import EVALUATORS
from genotypes.registry import Registry, option_types
from strategies.catalogue import STRATEGIES

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
options = st.dictionaries(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True), texts | numbers | st.lists(texts, max_size=4), max_size=4
)


@pytest.mark.slow
@given(options, options, options, st.integers(0, 2**63 - 1), st.none() | texts.filter(bool))
def test_a_configuration_survives_toml(
    space: dict[str, object], strategy: dict[str, object], evaluator: dict[str, object], seed: int, data: str | None
) -> None:
    hardware = Hardware(data_dir=None if data is None else Path(data), workers=3)
    config = RunConfig(SearchConfig(seed=seed, max_parameters=7), space, strategy, evaluator, hardware)
    assert RunConfig.from_tables(tomllib.loads(config.to_toml())) == config


def test_a_configuration_written_on_another_system_reads_the_same(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_bytes(b"\xef\xbb\xbf[run]\r\nseed = 7\r\n")
    assert read_toml(file) == {"run": {"seed": 7}}
    file.write_text("[run]\n", "utf-16")
    with pytest.raises(UsageError, match=r"my.toml: it holds zero bytes, as UTF-16 does .*: save it as UTF-8$"):
        read_toml(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evaluator.epochs=5", ("evaluator", "epochs", 5)),
        ("evaluator.learning_rate = 0.1", ("evaluator", "learning_rate", 0.1)),
        ("evaluator.flip=false", ("evaluator", "flip", False)),
        ("space.ops=identity,conv_1x1", ("space", "ops", "identity,conv_1x1")),
        ('space.ops=["identity"]', ("space", "ops", ["identity"])),
        ("evaluator.dataset=digits", ("evaluator", "dataset", "digits")),
        ("evaluator.note=a=b", ("evaluator", "note", "a=b")),
    ],
)
def test_a_setting_is_toml_where_it_can_be(text: str, expected: tuple[str, str, object]) -> None:
    assert read_setting(text) == expected


@pytest.mark.parametrize("text", ["", "epochs=5", "evaluator.epochs", ".epochs=5", "evaluator.=5", "=5"])
def test_a_setting_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--set takes TABLE\.FIELD=VALUE"):
        read_setting(text)


def test_every_option_of_a_table_has_a_flag() -> None:
    assert list(FLAGS["run"]) == [field.name for field in fields(SearchConfig)]
    assert list(FLAGS["hardware"]) == [field.name for field in fields(Hardware)]


@pytest.mark.parametrize(("table", "catalogue"), [("strategy", STRATEGIES), ("evaluator", EVALUATORS)])
def test_a_flag_of_a_part_is_an_option_of_one(table: str, catalogue: Registry[Any]) -> None:
    known = {option for name in catalogue for option in option_types(catalogue.find(name))}
    assert sorted(FLAGS[table].keys() - known) == []


def test_a_variable_that_has_another_name_now_is_refused() -> None:
    with pytest.raises(UsageError, match="EVO_NAS_STOPPING is now EVO_NAS_EARLY_STOPPING"):
        from_environment({"EVO_NAS_STOPPING": "median"})
    assert from_environment({"EVO_NAS_STOPPING": "", "EVO_NAS_EARLY_STOPPING": "median"}) == {
        "evaluator": {"early_stopping": "median"}
    }


def test_options_may_be_numbers_of_any_library() -> None:
    options = {"a": np.float32(0.5), "b": np.int64(3), "c": (np.str_("x"), "y"), "d": torch.tensor(2)}
    options |= {"e": np.float64("inf")}
    read = tomllib.loads(RunConfig(strategy=options).to_toml())["strategy"]
    assert read == {"a": 0.5, "b": 3, "c": ["x", "y"], "d": 2, "e": float("inf")}
    with pytest.raises(UsageError, match=r"cannot be written to run\.toml: object is no kind of JSON"):
        RunConfig(strategy={"a": object()}).to_toml()
