import ast
import os
from pathlib import Path

import pytest

from evo_nas.system.text import decode_text, read_text

ROOT = Path(__file__).parents[3]
READERS = {
    # What the kernel writes, and files of our own.
    "evo_nas/system/resources.py",
    "evo_nas/phenotypes/fast/kernels/builds.py",
    "analysis/report/templates.py",
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_text_of_any_system_reads_the_same(mark: bytes, end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(mark + end.join([b"a = 1", "b = 'ä'".encode(), b""]))
    assert read_text(path) == "a = 1\nb = 'ä'\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_utf_16_is_refused_with_its_mend(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"UTF-16 .*: save it as UTF-8"):
        decode_text("a = 1\n".encode(encoding))


def test_another_code_page_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 2 holds the byte 0xe4, which is no UTF-8: save it as UTF-8"):
        decode_text("a = 1\nb = 'ä'\n".encode("cp1252"))


def test_a_log_is_read_as_far_as_it_can_be() -> None:
    assert decode_text(b"one\n\0\0\xff\ntwo\n", errors="replace").split("\n")[::2] == ["one", "two"]


def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "zeros"):
        with pytest.raises(ValueError, match="it is no file"):
            read_text(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "gone")


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("12345")
    assert read_text(tmp_path / "large", 5) == "12345"
    with pytest.raises(ValueError, match="it has more than 4 bytes"):
        read_text(tmp_path / "large", 4)


def test_text_is_read_in_this_way_alone() -> None:
    found = set()
    for package in ("evo_nas", "analysis", "strategies", "genotypes"):
        for path in (ROOT / package).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
            named = [ast.unparse(call.func) for call in calls]
            if any(name.endswith(".read_text") or name == "tomllib.load" for name in named):
                found.add(str(path.relative_to(ROOT)))
    assert found == READERS
