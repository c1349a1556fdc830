import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo_nas.data.boxes import json_stream
from evo_nas.data.boxes.json_stream import read_lists
from evo_nas.errors import DataError

WANTED = frozenset({"a", "b"})
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(values, max_size=4), st.lists(values, max_size=4), values, st.sampled_from([None, 1]), st.integers(1, 7)
)
def test_it_reads_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory, a: list[Any], b: list[Any], other: Any, indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(
        json.dumps({"other": other, "a": a, "c": [other], "b": b}, indent=indent, ensure_ascii=False), "utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(read_lists(path, WANTED)) == [("a", each) for each in a] + [("b", each) for each in b]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: '{' is missing"),
        (b"[]", "'{' is missing"),
        (b'{"a": [1, 2', "',' is missing|Expecting"),
        (b'{"a": [1, 2]} 3', "more after its end"),
        (b'{"a": [1], "a": [2]}', "'a' comes a second time"),
        (b'{"a": 3}', "'a' is no list"),
        (b'{"a":\n[1,\n\n nonsense nonsense nonsense]}', "line 4: Expecting value"),
        (b'{"a": [NaN]}', "NaN is no number of JSON"),
        (b'{"a": [' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": [' + b"9" * 10_000 + b"]}", "Exceeds the limit"),
        ('{"a": [1]}'.encode("utf-16"), "zero bytes|no UTF-8"),
        (b'{"a": ["\xff"]}', "no UTF-8"),
        (b'{3: 4}', "a key is no text"),
    ],
)  # fmt: skip
def test_damage_is_said_in_a_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_lists(tmp_path / "x.json", WANTED))
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'} ")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": [1]}')
    assert list(read_lists(tmp_path / "x.json", WANTED)) == [("a", 1)]


def test_an_endless_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LARGEST_ELEMENT", 2**20)
    (tmp_path / "x.json").write_text('{"a": ["' + "x" * 2**22 + '"]}')
    with pytest.raises(DataError, match="an element has more than 1,048,576 characters"):
        list(read_lists(tmp_path / "x.json", WANTED))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path, element = tmp_path / "x.json", json.dumps({"segmentation": "x" * 5_000})
    with path.open("w") as file:
        file.write('{"a": [' + ",".join([element] * 4_000) + "]}")  # 20 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_lists(path, WANTED)) == 4_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
