from pathlib import Path

import pytest

from evo_nas.system.names import describe_missing, look_of, spell_apart

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("one", "other"), [(NFC, NFD), ("cat", "cat "), ("cat", "c\u200bat"), ("cat", "\ufeffcat")])
def test_names_that_look_alike_have_one_look(one: str, other: str) -> None:
    assert look_of(one) == look_of(other)
    assert spell_apart([one, "dog", other]) == [ascii(one), "dog", ascii(other)]


@pytest.mark.parametrize(("one", "other"), [("cat", "Cat"), ("cafe", NFC), ("a b", "ab")])
def test_names_that_look_different_have_two(one: str, other: str) -> None:
    assert look_of(one) != look_of(other)


def test_a_missing_path_is_described_by_what_looks_like_it(tmp_path: Path) -> None:
    (tmp_path / NFD).mkdir()
    assert describe_missing("folder", tmp_path / NFC / "deeper") == (
        rf"there is no folder {tmp_path}/{NFC}/deeper: {tmp_path} holds 'cafe\u0301', which only looks like 'caf\xe9'; "
        "rename it"
    )
    assert describe_missing("folder", tmp_path / "dog") == f"there is no folder {tmp_path}/dog"
    (tmp_path / "cat").touch()
    assert describe_missing("folder", tmp_path / "cat") == f"{tmp_path}/cat is no folder"
    (tmp_path / "cow").symlink_to("/nowhere")
    assert describe_missing("folder", tmp_path / "cow").endswith("cow is a link to /nowhere, which is not there")
