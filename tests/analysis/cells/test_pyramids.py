"""Feature pyramids drawn: rows, columns and wires by numbers, without pixels; and what tells two of them apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.cells.designs import read_pyramid
from analysis.cells.pyramid_difference import compare_pyramids
from analysis.cells.pyramids import (
    PyramidColumn,
    natural_size,
    place_features,
    pyramid_dot,
    pyramids_figure,
    route_wires,
)
from analysis.plots.cells import plot_cells
from analysis.report.page import draw_network
from genotypes.pyramid import Merge, Pyramid
from genotypes.spaces.nasfpn import NASFPNSpace
from genotypes.zoo import CELLS, NAS_FPN

SPACE = NASFPNSpace()


def sample(seed: int) -> Pyramid:
    return SPACE.decode(SPACE.sample(np.random.default_rng(seed)))


def test_levels_are_rows_from_the_finest_up_and_cells_columns_from_the_left() -> None:
    places = place_features(NAS_FPN)
    assert len({x for x, _ in places[:5]}) == 1
    assert [y for _, y in places[:5]] == sorted(y for _, y in places[:5])
    assert [x for x, _ in places[4:]] == sorted({x for x, _ in places[4:]})
    for (_, y), level in zip(places, NAS_FPN.feature_levels, strict=True):
        assert y == places[level - 3][1]
    width, height = natural_size(NAS_FPN)
    assert all(0.3 < x < width - 0.3 and 0.3 < y < height - 0.3 for x, y in places)


def test_each_read_has_a_wire_and_the_gate_is_the_coarser_one() -> None:
    wires = route_wires(NAS_FPN)
    assert len(wires) == 2 * 7 + 2
    assert {(w.source, w.target) for w in wires if w.kind == "extra"} == {(2, 9), (4, 10)}
    assert {(w.source, w.target) for w in wires if w.kind == "gate"} == {(3, 5), (8, 9), (9, 10), (10, 11)}


@pytest.mark.parametrize("seed", range(6))
def test_no_wire_runs_through_another_cell(seed: int) -> None:
    pyramid = sample(seed)
    places = np.array(place_features(pyramid))
    for wire in route_wires(pyramid):
        start, end = places[wire.source], places[wire.target]
        t = np.linspace(0, 1, 200)[:, None]
        across = end - start
        control = (start + end) / 2 + wire.bend * np.array([across[1], -across[0]])  # as matplotlib's arc3
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
        others = np.delete(places, [wire.source, wire.target], axis=0)
        assert np.linalg.norm(curve[:, None] - others, axis=2).min() > 0.17
        assert 0.2 < curve[:, 1].min() <= curve[:, 1].max() < natural_size(pyramid)[1]


def test_figures_grow_with_their_pyramids_and_keep_a_width(tmp_path: Path) -> None:
    one = pyramids_figure([PyramidColumn("a", "", NAS_FPN)])
    four = pyramids_figure([PyramidColumn(str(i), "", sample(i)) for i in range(3)] + [PyramidColumn("b", "", "none")])
    assert four.get_figwidth() == pytest.approx(2 * one.get_figwidth())
    assert four.get_figheight() > 1.8 * one.get_figheight()
    assert pyramids_figure([PyramidColumn("a", "", NAS_FPN)], width=3.5).get_figwidth() == pytest.approx(3.5)
    files = plot_cells([("nas-fpn", "", NAS_FPN)], tmp_path / "p.png", width=2.0)
    assert [file.suffix for file in files] == [".png", ".svg"]
    with pytest.raises(ValueError, match="a picture each"):
        plot_cells([("nas-fpn", "", NAS_FPN), ("nasnet-a", "", CELLS["nasnet-a"])], tmp_path / "q.png")


def test_a_graph_has_a_row_per_level(tmp_path: Path) -> None:
    (file,) = plot_cells([("nas-fpn", "", NAS_FPN)], tmp_path / "p.dot")
    text = file.read_text()
    assert text == pyramid_dot(NAS_FPN)
    assert text.count("->") == 16
    assert text.count("style=dashed") == 2
    assert "{ rank=same; f0; f7; }" in text


def test_a_report_shows_the_pyramid_and_its_table() -> None:
    entry = {"run": "r", "id": 3, "group": "rl", "fitness": 0.2, "genotype": "nasfpn:0"}
    shown = draw_network({**entry, "cell": json.dumps(NAS_FPN.to_json())})
    assert [drawn["name"] for drawn in shown["cells"]] == ["feature pyramid"]
    assert shown["lines"] == list(NAS_FPN.lines())
    assert read_pyramid("{}") is read_pyramid("no json") is read_pyramid(None) is None


def test_a_pyramid_and_its_other_spelling_do_not_differ() -> None:
    merges = list(NAS_FPN.merges)
    merges[1] = Merge(4, "sum", (5, 1))
    found = compare_pyramids(("a", "b"), (NAS_FPN, Pyramid(tuple(merges))))
    assert (found.edits, found.is_same, found.cells) == (0, True, ())
    assert list(found.lines())[-1] == "0 parts of merging cells differ, from A to B; both compute the same"


@pytest.mark.parametrize("seed", range(8))
def test_a_mutant_differs_in_as_many_cells_as_are_marked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = SPACE.sample(rng)
    found = compare_pyramids(("a", "b"), (SPACE.decode(parent), SPACE.decode(SPACE.mutate(parent, rng))))
    assert found.is_same == (found.edits == 0), "the mutants of these seeds have no other spelling of their parents"
    assert found.edits == sum(cell["parts"] for cell in found.to_json()["cells"])
    assert len(found.marks(0)) == len(found.marks(1)) == len(found.cells)


def test_pyramids_of_other_sizes_are_compared_too() -> None:
    larger = Pyramid((Merge(3, "sum", (0, 1)), *_shift(NAS_FPN)))
    found = compare_pyramids(("a", "b"), (NAS_FPN, larger))
    assert found.cells == ((None, 0, 4),)
    assert compare_pyramids(("b", "a"), (larger, NAS_FPN)).cells == ((0, None, 4),)


def _shift(pyramid: Pyramid) -> list[Merge]:
    """The cells as they are with one more cell before them."""
    return [
        Merge(m.level, m.combine, tuple(f + 1 if f >= 5 else f for f in m.inputs))  # type: ignore[arg-type]
        for m in pyramid.merges
    ]


def test_an_attention_of_one_level_is_another_with_its_inputs_swapped() -> None:
    merges = list(NAS_FPN.merges)
    merges[0] = Merge(4, "attention", (1, 3))
    merges[1] = Merge(4, "attention", (1, 5))
    swapped = [*merges[:1], Merge(4, "attention", (5, 1)), *merges[2:]]
    found = compare_pyramids(("a", "b"), (Pyramid(tuple(merges)), Pyramid(tuple(swapped))))
    assert not found.is_same
    assert found.cells == ((1, 1, 2),)
