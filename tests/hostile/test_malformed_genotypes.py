"""Malformed genotypes and cells, by hand and by chance: one line on stderr, exit code 2, and nothing else happens."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch  # noqa: F401  # here, so that what it takes does not count against the first command

from evo_nas.cli import main
from evo_nas.commands.cell_sources import LARGEST, CellSource, find_cells
from evo_nas.errors import UsageError
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.spaces.blocks import BlockSpace
from genotypes.zoo import CELLS

Capture = pytest.CaptureFixture[str]

SIZE = ("--cells-per-stack", "1", "--filters", "4")
"""With a size, what is not malformed is counted, and ends with 0."""

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ended(*words: str) -> int:
    """Run a command and give its exit code, however it ends."""
    try:
        return main(words)
    except SystemExit as end:  # argparse's way
        return int(str(end.code))


def is_one_line(text: str) -> bool:
    """Return whether a message is one line that a terminal only shows, and somebody may still want to read."""
    return text.isprintable() and 10 < len(text) < 1500


def refused(capsys: Capture, *words: str, says: str = "") -> None:
    """Run a command that must end with exit code 2 and one line that says why."""
    code = ended(*words)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("evo_nas: ")
    assert err.endswith("\n")
    assert is_one_line(err[:-1]), err
    assert "Traceback" not in err
    assert says in err


# By hand: files ----------------------------------------------------------------------------------------------------

GENOTYPE: dict[str, Any] = {"space": "nasnet(blocks=1)", "choices": [0, 1, 10, 0, 0, 1, 0, 4, 5, 1]}
BLOCK: dict[str, Any] = {"left": [0, "sep_conv_3x3"], "right": [1, "identity"], "combine": "add"}
CELL: dict[str, Any] = {"blocks": [BLOCK, {"left": [2, "identity"], "right": [0, "identity"]}], "output": [3]}
PAIR: dict[str, Any] = {"normal": CELL, "reduction": CELL}

_LEFT_OUT = object()


def text_of(record: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in record.items() if value is not _LEFT_OUT})


def genotype(**changes: Any) -> str:
    return text_of(GENOTYPE | changes)


def choice(value: Any) -> str:
    """Put something in the place of the first choice."""
    return genotype(choices=[value, *GENOTYPE["choices"][1:]])


def space(spelling: Any) -> str:
    return genotype(space=spelling)


def pair(**changes: Any) -> str:
    return text_of(PAIR | changes)


def cell(**changes: Any) -> str:
    """Change the normal cell."""
    record = {name: value for name, value in (CELL | changes).items() if value is not _LEFT_OUT}
    return pair(normal=record)


def block(**changes: Any) -> str:
    """Change the first block of the normal cell."""
    record = {name: value for name, value in (BLOCK | changes).items() if value is not _LEFT_OUT}
    return cell(blocks=[record, CELL["blocks"][1]])


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


ESCAPE = "\x1b[31mred\x1b[0m"

FILES: dict[str, tuple[str | bytes, str]] = {
    # What is no JSON, or none that has one meaning.
    "empty": ("", "cannot read"),
    "blank": (" \n\t\n", "cannot read"),
    "cut short": (genotype()[:-9], "cannot read"),
    "two documents": (genotype() + genotype(), "Extra data"),
    "trailing comma": (genotype()[:-1] + ",}", "cannot read"),
    "single quotes": (str(GENOTYPE), "Expecting property name enclosed in double quotes"),
    "comment": ("// mine\n" + genotype(), "cannot read"),
    "TOML": ("space = 'nasnet'\nchoices = [1]\n", "cannot read"),
    "UTF-16": (genotype().encode("utf-16"), "it holds zero bytes, as UTF-16 does"),
    "latin-1": (
        space("nasn\xe9t").replace("\\u00e9", "\xe9").encode("latin-1"),
        "the byte 0xe9, which is no UTF-8",
    ),
    "NUL bytes": (b"\0" * 4096, "cannot read"),
    "NUL byte inside": (genotype().replace("nasnet", "nas\0net"), "it holds zero bytes"),
    "line break in a text": (genotype().replace("nasnet", "nas\nnet"), "Invalid control character"),
    "escape sequences around": (ESCAPE + genotype(), "cannot read"),
    "pickle": (pickle.dumps(GENOTYPE), "cannot read"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "cannot read"),
    "genotype text": ("nasnet(blocks=1):0.1.10.0.0.1.0.4.5.1", "cannot read"),
    "deep lists": (nested(100_000), "recursion"),
    "deep objects": ('{"normal":' * 100_000, "recursion"),
    "deep inside": (pair(normal=0).replace("0", nested(100_000), 1), "recursion"),
    "too large": (" " * LARGEST + genotype(), f"more than {LARGEST:,} bytes"),
    "key twice": (genotype()[:-1] + ', "choices": []}', "the key 'choices' stands twice"),
    "key twice, deep down": (
        block().replace('"combine"', '"left": [0, "identity"], "combine"', 1),
        "'left' stands twice",
    ),
    "NaN": (choice(float("nan")), "NaN is no JSON"),
    "infinity": (choice(float("inf")), "Infinity is no JSON"),
    "negative infinity": (choice(float("-inf")), "-Infinity is no JSON"),
    "integer of 5,000 digits": (choice(7).replace("[7", "[" + "7" * 5000), "cannot read"),
    # JSON of another shape.
    "null": ("null", "a cell pair in JSON is"),
    "true": ("true", "a cell pair in JSON is"),
    "number": ("3", "a cell pair in JSON is"),
    "string": ('"nasnet:0.1"', "a cell pair in JSON is"),
    "string that a terminal would obey": (json.dumps(ESCAPE + "\n"), "a cell pair in JSON is"),
    "empty list": ("[]", "a cell pair in JSON is"),
    "empty object": ("{}", "a cell pair in JSON is"),
    "list of genotypes": (f"[{genotype()}]", "a cell pair in JSON is"),
    "one cell alone": (text_of(CELL), "a cell pair in JSON is"),
    "half of each": (text_of({"space": "nasnet", "normal": CELL}), "a cell pair in JSON is"),
    # Genotypes: fields.
    "choices missing": (genotype(choices=_LEFT_OUT), "a cell pair in JSON is"),
    "space missing": (genotype(space=_LEFT_OUT), "a genotype in JSON is"),
    "one field more": (genotype(fitness=0.9), "a genotype in JSON is"),
    "field that a terminal would obey": (genotype(**{ESCAPE: 1}), "a genotype in JSON is"),
    "space is null": (space(None), '"space" must be a string'),
    "space is a number": (space(5), '"space" must be a string'),
    "space is a list": (space(["nasnet"]), '"space" must be a string'),
    "choices are null": (genotype(choices=None), '"choices" a list'),
    "choices are a text": (genotype(choices="0.1.2"), '"choices" a list'),
    "choices are an object": (genotype(choices={"0": 1}), '"choices" a list'),
    "choices are empty": (genotype(choices=[]), "has 10 choices, not 0"),
    "one choice too few": (genotype(choices=GENOTYPE["choices"][1:]), "has 10 choices, not 9"),
    "one choice too many": (genotype(choices=[*GENOTYPE["choices"], 0]), "has 10 choices, not 11"),
    "100,000 choices": (genotype(choices=[0] * 100_000), "has 10 choices, not 100000"),
    # Genotypes: one choice.
    "choice negative": (choice(-1), "choice 0 must be an integer of at least 0, not -1"),
    "choice very negative": (choice(-(10**4000)), "choice 0 must be an integer"),
    "choice a float": (choice(0.5), "choice 0 must be an integer of at least 0, not 0.5"),
    "choice a whole float": (choice(1.0), "choice 0 must be an integer of at least 0, not 1.0"),
    "choice beyond all floats": (
        choice(7).replace("[7", "[1e400"),
        "choice 0 must be an integer of at least 0, not inf",
    ),
    "choice true": (choice(True), "choice 0 must be an integer of at least 0, not True"),
    "choice null": (choice(None), "choice 0 must be an integer of at least 0, not None"),
    "choice a text": (choice("1"), "choice 0 must be an integer of at least 0, not '1'"),
    "choice a text that a terminal would obey": (choice(ESCAPE + "\r\n"), "choice 0 must be an integer"),
    "choice a long text": (choice("x" * 100_000), "choice 0 must be an integer"),
    "choice a list": (choice([0]), "choice 0 must be an integer"),
    "choice deep": (choice(7).replace("[7", "[" + nested(500)), "choice 0 must be an integer"),
    "choice out of range": (choice(2), "choice 0 (normal/block0/hidden_1) is 2, but its options are 0 to 1"),
    "choice of 64 bits": (choice(2**63), "but its options are 0 to 1"),
    "choice of 4,000 digits": (choice(10**3999), "choice 0"),
    "operation out of range": (genotype(choices=[0, 1, 13, 0, 0, 1, 0, 4, 5, 1]), "its options are 0 to 12"),
    # Genotypes: spaces.
    "space empty": (space(""), "needs the name of its space"),
    "space unknown": (space("nosuch"), "there is no space 'nosuch'"),
    "space in capitals": (space("NASNet"), "there is no space 'NASNet'"),
    "space with blanks around": (space(" nasnet "), "there is no space"),
    "space with a line break": (space("nasnet\n"), "there is no space"),
    "space that a terminal would obey": (space(ESCAPE), "there is no space"),
    "space that turns the text around": (space("\u202enasnet"), "there is no space"),
    "space with a lone surrogate": (space("\ud800"), "there is no space"),
    "space of half a million letters": (space("x" * 500_000), "there is no space"),
    "space of a plug-in": (space("evil_plugin:Space"), "there is no space 'evil_plugin:Space'"),
    "space of a plug-in with options": (space("evil_plugin:Space(blocks=1)"), "there is no space 'evil_plugin:Space'"),
    "space of our own by its module": (space("genotypes.spaces.nasnet:NASNetSpace(blocks=1)"), "there is no space"),
    "space of the standard library": (space("os:system"), "there is no space 'os:system'"),
    "space of a path": (space("../evil_plugin"), "there is no space"),
    "blocks beyond all": (space("nasnet(blocks=1000000000)"), "blocks must be from 1 to 20, not 1000000000"),
    "blocks of 18 digits": (space(f"nasnet(blocks={10**18})"), "blocks must be from 1 to 20"),
    "blocks of 300 digits": (space(f"nasnet(blocks={10**300})"), "blocks cannot be"),
    "blocks none": (space("nasnet(blocks=0)"), "blocks must be from 1 to 20, not 0"),
    "blocks negative": (space("nasnet(blocks=-1)"), "blocks must be from 1 to 20, not -1"),
    "blocks a float": (space("nasnet(blocks=1.0)"), "blocks cannot be '1.0'"),
    "blocks in another script": (space("nasnet(blocks=١)"), "blocks cannot be"),
    "blocks without a number": (space("nasnet(blocks=)"), "an option is NAME=VALUE"),
    "blocks named twice": (space("nasnet(blocks=2,blocks=1)"), "names the option blocks twice"),
    "blocks named 50,000 times": (space(f"nasnet({'blocks=1,' * 50_000})"), "names the option blocks twice"),
    "option unknown": (space("nasnet(depth=3)"), "has no option 'depth'; its options are: blocks, ops, combines"),
    "option of Python": (space("nasnet(__class__=1)"), "has no option '__class__'"),
    "bracket open": (space("nasnet(blocks=1"), "is no space"),
    "bracket in bracket": (space("nasnet(blocks=(1))"), "is no space"),
    "brackets alone": (space("(" * 10_000), "is no space"),
    "operation of a space unknown": (space("nasnet(ops=sep_conv_3x4)"), "unknown 'sep_conv_3x4' in ops"),
    "operation of a space that a terminal would obey": (space(f"nasnet(ops={ESCAPE})"), "in ops"),
    "operation of a space twice": (space("nasnet(ops=identity+identity)"), "none twice"),
    "operations of a space none": (space("nasnet(ops=+)"), "must name at least one"),
    "200,000 operations of a space": (space(f"nasnet(ops={'+'.join(map(str, range(90_000)))})"), "unknown '0' in ops"),
    "combination of a space unknown": (space("nasnet(combines=multiply)"), "unknown 'multiply' in combines"),
    "space without cells": (
        genotype(space="bits", choices=[0] * 100),
        "the space bits does not describe a pair of cells",
    ),
    "space without cells, spelled over two lines": (
        genotype(space="bits(length=\n10)", choices=[0] * 10),
        "the space bits(length=10) does not describe a pair of cells",
    ),
    "space without cells, very long": (space("bits(length=1000000000)"), "length must be from 1 to 10000"),
    # Cells.
    "reduction cell missing": (pair(reduction=_LEFT_OUT), "a cell pair in JSON is"),
    "third cell": (pair(upsampling=CELL), "a cell pair in JSON is"),
    "cell null": (pair(reduction=None), "reduction cell: a cell in JSON is"),
    "cell a list": (pair(normal=[CELL]), "normal cell: a cell in JSON is"),
    "cell deep": (pair(normal=0).replace("0", nested(500), 1), "normal cell: a cell in JSON is"),
    "cell with one field more": (cell(name="mine"), "normal cell: a cell in JSON is"),
    "stacking unknown": (pair(stacking="resnet"), "there is no stacking 'resnet'"),
    "stacking null": (pair(stacking=None), '"stacking" must be a name'),
    "stacking a list": (pair(stacking=["nasnet"]), '"stacking" must be a name'),
    "stacking that a terminal would obey": (pair(stacking=ESCAPE), "there is no stacking"),
    "blocks missing": (cell(blocks=_LEFT_OUT), "a cell in JSON is"),
    "blocks empty": (cell(blocks=[]), "normal cell: a cell needs at least one block"),
    "blocks an object": (cell(blocks={"0": BLOCK}), '"blocks" must be a list of blocks'),
    "blocks a number": (cell(blocks=10**9), '"blocks" must be a list of blocks'),
    "10,000 blocks": (
        cell(blocks=[BLOCK] * 10_000, output=[2]),
        "more than the 10,000 operations of the largest network",
    ),
    "block a text": (cell(blocks=["add"]), "block 0 must be"),
    "block null": (cell(blocks=[BLOCK, None]), "block 1 must be"),
    "block without a side": (block(right=_LEFT_OUT), "block 0 must be"),
    "block with three sides": (block(middle=[0, "identity"]), "block 0 must be"),
    "edge empty": (block(left=[]), "block 0 must be"),
    "edge of three": (block(left=[0, "identity", "add"]), "block 0 must be"),
    "edge an object": (block(left={"state": 0, "op": "identity"}), "block 0 must be"),
    "edge a text": (block(left="0i"), "block 0 must be"),
    "edge the other way round": (block(left=["identity", 0]), "a hidden state is an integer of at least 0"),
    "state negative": (block(left=[-1, "identity"]), "a hidden state is an integer of at least 0, not -1"),
    "state a float": (block(left=[0.0, "identity"]), "a hidden state is an integer of at least 0, not 0.0"),
    "state false": (block(left=[False, "identity"]), "a hidden state is an integer of at least 0, not False"),
    "state null": (block(left=[None, "identity"]), "a hidden state is an integer of at least 0, not None"),
    "state beyond all": (block(left=[10**18, "identity"]), "block 0 reads hidden state"),
    "state of 4,000 digits": (block(left=[10**3999, "identity"]), "block 0 reads hidden state"),
    "block that reads itself": (
        block(left=[2, "identity"]),
        "block 0 reads hidden state 2, but only the states 0 to 1",
    ),
    "block that reads a later one": (block(left=[3, "identity"]), "block 0 reads hidden state 3"),
    "two blocks in a circle": (
        cell(blocks=[BLOCK | {"left": [3, "identity"]}, BLOCK | {"left": [2, "identity"]}]),
        "block 0 reads hidden state 3",
    ),
    "operation null": (block(left=[0, None]), "an operation is a word such as 'sep_conv_3x3', not None"),
    "operation a number": (block(left=[0, 3]), "an operation is a word"),
    "operation empty": (block(left=[0, ""]), "an operation is a word"),
    "operation of two words": (block(left=[0, "sep conv"]), "an operation is a word"),
    "operation with a line break": (block(left=[0, "identity\n"]), "an operation is a word"),
    "operation that a terminal would obey": (block(left=[0, ESCAPE]), "an operation is a word"),
    "operation with a lone surrogate": (block(left=[0, "\udcff"]), "an operation is a word"),
    "operation that is code": (block(left=[0, "__import__('os')"]), "an operation is a word"),
    "operation with an accent": (block(left=[0, "idéntity"]), "an operation is a word"),
    "operation unknown": (block(left=[0, "sep_conv_3x4"]), "names the operation 'sep_conv_3x4'; known: "),
    "operation unknown and long": (block(left=[0, "x" * 100_000]), "block 0 names the operation"),
    "combination null": (block(combine=None), "a combination is a word such as 'add'"),
    "combination a list": (block(combine=["add"]), "a combination is a word such as 'add'"),
    "combination empty": (block(combine=""), "a combination is a word such as 'add'"),
    "combination unknown": (block(combine="multiply"), "names the combination 'multiply'; known: "),
    "output empty": (cell(output=[]), "the output of a cell needs at least one hidden state"),
    "output null": (cell(output=None), '"output" must be a list of hidden states, not None'),
    "output a number": (cell(output=3), '"output" must be a list of hidden states, not 3'),
    "output negative": (cell(output=[-1]), "the output names hidden state -1, but the cell has 0 to 3"),
    "output beyond": (cell(output=[3, 4]), "the output names hidden state 4, but the cell has 0 to 3"),
    "output a float": (cell(output=[3.0]), "the output names hidden state 3.0"),
    "output true": (cell(output=[True]), "the output names hidden state True"),
    "output a text": (cell(output=["3"]), "the output names hidden state 3"),
    "output twice": (cell(output=[3, 3]), "the output must ascend without repeats"),
    "output descending": (cell(output=[3, 2]), "the output must ascend without repeats"),
    "output in a list": (cell(output=[[3]]), "the output names hidden state"),
}

UNBUILDABLE = {name for name, (_, says) in FILES.items() if "known: " in says or "names the operation" in says}
UNBUILDABLE |= {"10,000 blocks"}
"""Cells that can be written down and drawn, and only never be built."""


def test_there_are_as_many_as_were_promised() -> None:
    assert len(FILES) + len(TEXTS) + len(PLACES) >= 60


@pytest.mark.parametrize("record", [GENOTYPE, PAIR, PAIR | {"stacking": "darts"}], ids=["genotype", "pair", "darts"])
def test_what_the_malformed_ones_are_made_of_is_counted(
    record: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "sound.json"
    path.write_text(json.dumps(record))
    assert main(["count", str(path), *SIZE]) == 0
    out, err = capsys.readouterr()
    assert "parameters" in out
    assert err == ""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a mark when it is imported, where Python finds it; gives the mark."""
    mark = tmp_path / "imported"
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evil_plugin.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Space: pass\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "evil_plugin", raising=False)
    return mark


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_file_is_refused_in_one_line(name: str, trap: Path, tmp_path: Path, capsys: Capture) -> None:
    content, says = FILES[name]
    path = tmp_path / "cells.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    refused(capsys, "count", str(path), *SIZE, says=says)
    assert not trap.exists()


@pytest.mark.parametrize("name", [name for name in FILES if name not in UNBUILDABLE][::8])
def test_a_malformed_file_is_not_exported(name: str, tmp_path: Path, capsys: Capture) -> None:
    content, says = FILES[name]
    path = tmp_path / "cells.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    refused(capsys, "export", str(path), "--format", "json", "-o", "out", says=says)
    assert os.listdir() == ["cells.json"]  # noqa: PTH208


@pytest.mark.parametrize("name", [*list(FILES)[::12], *sorted(UNBUILDABLE)])
def test_a_malformed_file_is_not_trained(name: str, tmp_path: Path, capsys: Capture) -> None:
    content, says = FILES[name]
    path = tmp_path / "cells.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    words = ("--preset", "cpu", "--dataset", "digits", "--image-size", "8", *SIZE, "--train-dir", "out")
    refused(capsys, "train", str(path), *words, says=says)
    assert os.listdir() == ["cells.json"]  # noqa: PTH208


@pytest.mark.parametrize("depth", [*range(10, 900, 89), *range(900, 1000)])
def test_no_depth_is_too_deep_to_be_refused(depth: int, tmp_path: Path) -> None:
    # What can just be read may be too deep to be quoted, and what can be quoted too deep to be read.
    path = tmp_path / "cells.json"
    path.write_text(nested(depth))
    with pytest.raises(UsageError) as caught:
        find_cells(str(path), None)
    assert is_one_line(str(caught.value))


# By hand: texts ----------------------------------------------------------------------------------------------------

TEXTS: dict[str, tuple[str, str]] = {
    "empty": ("", "is no genotype"),
    "a word": ("nasnet", "is no genotype"),
    "colon alone": (":", "choice 0"),
    "without choices": ("nasnet:", "choice 0 of 'nasnet:' is '', not a whole number"),
    "without a space": (":0.1", "needs the name of its space"),
    "dots alone": ("nasnet:....", "choice 0"),
    "choice negative": ("nasnet(blocks=1):0.-1.10.0.0.1.0.4.5.1", "choice 1"),
    "choice with a sign": ("nasnet(blocks=1):0.+1.10.0.0.1.0.4.5.1", "choice 1"),
    "choice a float": ("nasnet(blocks=1):0.1e0.10.0.0.1.0.4.5.1", "choice 1"),
    "choice NaN": ("nasnet(blocks=1):nan.1.10.0.0.1.0.4.5.1", "choice 0"),
    "choice with an underscore": ("nasnet(blocks=1):0.1.1_0.0.0.1.0.4.5.1", "choice 2"),
    "choice with a blank": ("nasnet(blocks=1):0. 1.10.0.0.1.0.4.5.1", "choice 1"),
    "choice with a line break": ("nasnet(blocks=1):0.1\n.10.0.0.1.0.4.5.1", "choice 1"),
    "choice in another script": ("nasnet(blocks=1):٠.1.10.0.0.1.0.4.5.1", "choice 0"),
    "choice as an exponent": ("nasnet(blocks=1):0.1².10.0.0.1.0.4.5.1", "choice 1"),
    "choice of 5,000 digits": ("nasnet(blocks=1):" + "1" * 5000, "choice 0"),
    "choice that a terminal would obey": (f"nasnet(blocks=1):{ESCAPE}", "choice 0"),
    "choice out of range": ("nasnet(blocks=1):0.2.10.0.0.1.0.4.5.1", "its options are 0 to 1: 0, 1"),
    "choices too few": ("nasnet(blocks=1):0.1", "has 10 choices, not 2"),
    "100,000 choices": ("nasnet(blocks=1):" + "0." * 50_000 + "0", "has 10 choices, not 50001"),
    "commas for dots": ("nasnet(blocks=1):0,1,10,0,0,1,0,4,5,1", "choice 0"),
    "semicolon for the colon": ("nasnet(blocks=1);0.1.10.0.0.1.0.4.5.1", "is no genotype"),
    "space unknown": ("nosuch:0.1", "there is no space 'nosuch'"),
    "space that a terminal would obey": (f"{ESCAPE}:0.1", "there is no space"),
    "space of a plug-in": ("evil_plugin:Space:0.1", "there is no space 'evil_plugin:Space'"),
    "space of a web page": ("https://example.org/cells", "choice 0"),
    "blocks beyond all": ("nasnet(blocks=1000000000):0.1", "blocks must be from 1 to 20"),
    "bracket open": ("nasnet(blocks=1:0.1", "is no space"),
    "space without cells": ("natsbench-size:0.0.0.0.0", "does not describe a pair of cells"),
    "space without cells, over two lines": ("bits(length=\n2):0.1", "the space bits(length=2) does not describe"),
    "half of an architecture string": (
        "|nor_conv_3x3~0|+|skip_connect~0|none~1|",
        "is no architecture of NAS-Bench-201",
    ),
    "JSON": (json.dumps(GENOTYPE), "choice 0"),
    "NUL byte": ("nas\0net", "there is no run or file"),
    "lone surrogate": ("nasnet\udcff", "there is no run or file"),
    "very long": ("x" * 100_000, "there is no run or file"),
    "path that is not there": ("runs/nowhere", "there is no run or file runs/nowhere"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_malformed_text_is_refused_in_one_line(name: str, trap: Path, capsys: Capture) -> None:
    text, says = TEXTS[name]
    refused(capsys, "count", text, *SIZE, says=says)
    assert not trap.exists()


def test_a_text_may_spell_its_space_as_it_likes_and_is_called_by_its_own_name() -> None:
    source = find_cells(" nasnet(\n combines = add+concat , blocks=1 ):0.1.10.0.0.1.0.4.5.1\n", None)
    assert source.label == source.genotype == "nasnet(blocks=1):0.1.10.0.0.1.0.4.5.1"


# By hand: places ---------------------------------------------------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bad(path: Path) -> None:
    path.write_text("{")


def nothing(_: Path) -> None:
    pass


PLACES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "nothing": ("cells.json", nothing, "cannot read cells.json: No such file or directory"),
    "folder": ("cells.json", folder, "cannot read cells.json: it is no file"),
    "pipe": ("cells.json", pipe, "cannot read cells.json: it is no file"),
    "link to itself": ("cells.json", link_to_itself, "cannot read cells.json: Too many levels of symbolic links"),
    "link to nowhere": ("cells.json", link_to_nowhere, "cannot read cells.json: No such file or directory"),
    "device without an end": ("cells.json", endless, "cannot read cells.json: it is no file"),
    "pipe without a suffix": ("cells", pipe, "there is no run or file cells"),
    "file without a suffix": ("cells", bad, "cannot read cells: "),
    "below a file": ("/dev/null/cells.json", nothing, "cannot read /dev/null/cells.json: Not a directory"),
    "NUL byte in the name": ("a\0b.json", nothing, r"cannot read 'a\x00b.json': embedded null byte"),
    "name too long": ("x" * 300 + ".json", nothing, "File name too long"),
    "line break in the name": ("a\nevo_nas: b.json", bad, r"cannot read 'a\nevo_nas: b.json'"),
    "line break in the name of nothing": ("a\nb.json", nothing, r"cannot read 'a\nb.json'"),
    "escape sequence in the name": (f"{ESCAPE}.json", bad, r"cannot read '\x1b[31mred\x1b[0m.json'"),
    "text turned around in the name": ("a\u202enosj.b.json", bad, r"cannot read 'a\u202enosj.b.json'"),
    "name in no encoding": ("\udcff.json", bad, r"cannot read '\udcff.json'"),
}


@pytest.mark.parametrize("name", PLACES)
def test_an_odd_place_is_refused_in_one_line(name: str, capsys: Capture) -> None:
    place, make, says = PLACES[name]
    make(Path(place))
    refused(capsys, "count", place, *SIZE, says=says)


@pytest.mark.parametrize("name", ["a\nb", ESCAPE, "\udcff", "a\u202eb"])
def test_cells_of_a_file_with_an_odd_name_are_called_by_what_can_be_printed(name: str) -> None:
    path = Path(f"{name}.json")
    path.write_text(json.dumps(PAIR))
    assert find_cells(str(path), None).label == repr(name)


# By chance ---------------------------------------------------------------------------------------------------------

FUZZED = 5_000
THROUGH_MAIN = 10
"""Every so manieth is also given to the command line: to parse its arguments takes longer than to read most cells.

And of those that stay sound only the first :data:`COUNTED`: to count a network takes a hundred times as long."""
COUNTED = 4

SPACES = ("nasnet(blocks=1)", "nasnet(blocks=2,combines=add)", "amoebanet(blocks=2)", "pnas(blocks=2)")


def seeds_of_fuzzing() -> list[str]:
    """Genotypes and cells that are sound, as JSON."""
    rng = np.random.default_rng(0)
    genotypes = [build_space(spelling).sample(rng) for spelling in SPACES]
    records = [genotype.to_json() for genotype in genotypes] + [GENOTYPE, PAIR]
    records += [CELLS[name].to_json() for name in ("nasnet-a", "pnasnet-5")]
    return [json.dumps(record) for record in records]


TOKENS = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1b[31m", b"\n", b" ", b"-", b"+", b".", b":", b",", b'"', b"\\"),
    *(b"{", b"}", b"[", b"]", b"(", b")", b"null", b"true", b"NaN", b"1e999", b"-0", b"0.0", b"9" * 30, b"\\ud800"),
    *(b"[" * 2000, b"blocks=", b"blocks=99999", b"evil_plugin:Space", b'"choices": ', "٣".encode(), b"0", b"1", b"2"),
)


def fuzzed_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage a file as disks, editors and attackers do: one to four times."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        till = min(len(data), at + rng.randint(1, 12))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            data[at:till] = b""
        elif kind == 4:
            data[at:till] = rng.choice(TOKENS)
        elif kind == 5:
            data[at:at] = data[at:till]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


ODD = (
    *(None, True, False, -1, 0, 1, 2, 1.0, 0.5, 1e308, float("nan"), float("inf"), 2**63, -(2**63), 10**300),
    *("", "0", "add", "identity", "sep_conv_3x3", ESCAPE, "\n", "\ud800", "nasnet", "os:system", "nasnet(blocks=1)"),
    *([], {}, [0], [0, "identity"], [[[[]]]], {"blocks": []}, {"left": [0, "identity"]}, "x" * 500),
)
KEYS = ("space", "choices", "normal", "reduction", "stacking", "blocks", "output", "left", "right", "combine", "more")


def fuzzed_json(text: str, rng: random.Random) -> str:
    """Change the structure of a record: one to three times a value, a key, an order or a nesting."""
    record = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        holders: list[tuple[Any, Any]] = []

        def collect(value: Any, holders: list[tuple[Any, Any]] = holders) -> None:
            keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            for key in keys:
                holders.append((value, key))
                collect(value[key])

        collect(record)
        if not holders:
            break
        holder, key = rng.choice(holders)
        kind = rng.randrange(8)
        if kind <= 2:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif kind == 3:
            del holder[key]
        elif kind == 4 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        elif kind == 4:
            holder[rng.choice(KEYS)] = holder.pop(key)
        elif kind == 5 and isinstance(holder, list):
            rng.shuffle(holder)
        elif kind == 5:
            holder[rng.choice(KEYS)] = copy.deepcopy(rng.choice(ODD))
        elif kind == 6:
            holder[key] = [holder[key]]
        else:
            # A copy: JSON knows no value that holds itself.
            other, place = rng.choice(holders)
            holder[key] = copy.deepcopy(other[place])
    return json.dumps(record)


def fuzzed_text(text: str, rng: random.Random) -> str:
    """Damage the text form of a genotype, as typing and copying do."""
    content = fuzzed_bytes(text.encode(), rng)
    return content.decode("utf-8", "surrogateescape").replace("\0", "0" if rng.random() < 0.5 else "\0")


def strictly_read(content: bytes) -> Any:
    """Read JSON as sources.py promises to: each key once, no constants that are no JSON."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in items}) == len(items), "a key stands twice"
        return dict(items)

    def constant(name: str) -> NoReturn:
        raise AssertionError(name)

    return json.loads(content.decode("utf-8", "strict"), object_pairs_hook=pairs, parse_constant=constant)


def spelled(record: Any) -> str:
    """Spell JSON so that 1, 1.0 and true are three things."""
    return json.dumps(record, sort_keys=True)


def text_read(text: str) -> dict[str, Any]:
    """Read the text form, in other words than genotype.py does."""
    spelling, _, choices = text.strip().rpartition(":")
    assert set(choices) <= set("0123456789.")
    return {"space": spelling, "choices": [int(field) for field in choices.split(".")]}


def assert_nothing_was_made_up(source: CellSource, record: Any) -> None:
    """Whatever was accepted says the same when it is written back: nothing was clipped, rounded, ignored or guessed."""
    if "choices" not in record:
        whole = {"stacking": "nasnet", **record}
        for name in ("normal", "reduction"):
            blocks = [{"combine": "add", **block} for block in record[name]["blocks"]]
            read = {block[side][0] for block in blocks for side in ("left", "right")}
            unread = [state for state in range(2, len(blocks) + 2) if state not in read]
            whole[name] = {"output": unread, **record[name], "blocks": blocks}
        assert spelled(whole) == spelled({"stacking": "nasnet", **source.cells.to_json()})
        return
    named = build_space(record["space"])
    assert isinstance(named, BlockSpace)
    assert record.keys() == {"space", "choices"}
    assert spelled(record["choices"]) == spelled(encoded(source.cells, named))
    assert source.genotype == f"{named.spelling}:{'.'.join(map(str, record['choices']))}"


def encoded(cells: CellPair, named: BlockSpace) -> list[int]:
    """Return which choices describe these cells: the other way round than the space decodes them."""
    choices = []
    for one in (cells.normal, cells.reduction)[: len(named.cells)]:
        for block in one.blocks:
            choices += [block.left.source, block.right.source]
            choices += [named.ops.index(block.left.op), named.ops.index(block.right.op)]
            choices += [named.combines.index(block.combine)] if "combine" in named.steps else []
    return choices


def fuzz(given: str, content: bytes, is_text: bool) -> bool:
    """Read what was fuzzed; say whether it is sound, which it is only if it comes back as it went."""
    try:
        source = find_cells(given, None)
    except UsageError as error:
        said = str(error)
    else:
        assert_nothing_was_made_up(source, text_read(given) if is_text else strictly_read(content))
        assert source.label.isprintable()
        return True
    assert is_one_line(said), said
    return False


def through_main(given: str, is_sound: bool, capsys: Capture) -> None:
    """Give what was fuzzed to the command line."""
    if given.startswith("-"):  # a flag, as argparse sees it
        return
    code = ended("count", given, *SIZE)
    out, err = capsys.readouterr()
    if code == 0:  # what can be read can still name an operation that there is not
        assert is_sound
        assert err == ""
        assert out.count("\n") == 2
        return
    assert (code, out) == (2, "")
    assert err.startswith("evo_nas: ")
    assert err.endswith("\n")
    assert is_one_line(err[:-1]), err


@pytest.mark.parametrize("way", ["bytes", "structure", "text"])
def test_thousands_of_fuzzed_ones_are_sound_or_refused_in_one_line(
    way: str, trap: Path, tmp_path: Path, capsys: Capture
) -> None:
    rng = random.Random(f"evo_nas {way}")
    number = {"bytes": FUZZED * 4 // 10, "structure": FUZZED * 4 // 10, "text": FUZZED * 2 // 10}[way]
    records = seeds_of_fuzzing()
    texts = [str(build_space(spelling).sample(np.random.default_rng(1))) for spelling in SPACES]
    path = tmp_path / "fuzzed.json"
    sound, counted = 0, 0
    for index in range(number):
        given, content = str(path), b""
        if way == "text":
            given = fuzzed_text(rng.choice(texts), rng)
            if given.endswith(".json") or os.path.lexists(given.replace("\0", "")):
                continue
        elif way == "bytes":
            content = fuzzed_bytes(rng.choice(records).encode(), rng)
        else:
            content = fuzzed_json(rng.choice(records), rng).encode()
        if way != "text":
            path.write_bytes(content)
        is_sound = fuzz(given, content, way == "text")
        sound += is_sound
        if index % THROUGH_MAIN == 0 and not (is_sound and counted == COUNTED):
            counted += is_sound
            through_main(given, is_sound, capsys)
    assert not trap.exists()
    # It can fail: there are enough of both kinds.
    assert counted == COUNTED
    assert number / 100 < sound < number / 2, (sound, number)


def test_what_fuzzing_begins_with_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "sound.json"
    for record in seeds_of_fuzzing():
        path.write_text(record)
        assert fuzz(str(path), record.encode(), False)
    for spelling in SPACES:
        assert fuzz(str(build_space(spelling).sample(np.random.default_rng(1))), b"", True)
