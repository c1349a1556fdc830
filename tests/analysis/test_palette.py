from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.palette import MARKERS, STRATEGY_COLOURS, looks, mix, strategy_colours, strategy_markers
from strategies.catalogue import STRATEGIES

# Machado et al. 2009, severity 1: what is seen without cones for red, green or blue, in linear light.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    values = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ light.clip(0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_every_strategy_of_the_catalogue_has_a_colour_and_a_marker_of_its_own() -> None:
    assert set(STRATEGY_COLOURS) >= set(STRATEGIES)
    assert len(set(STRATEGY_COLOURS.values())) == len(STRATEGY_COLOURS)
    markers = strategy_markers(STRATEGY_COLOURS)
    assert len(set(markers.values())) == len(markers)
    assert "o" not in MARKERS, "that is a single trial"


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colour_blind_tell_our_strategies_apart(kind: str) -> None:
    seen = {name: lab(np.array(BLINDNESS[kind]) @ linear(colour)) for name, colour in STRATEGY_COLOURS.items()}
    nearest = min((np.linalg.norm(seen[a] - seen[b]), a, b) for a, b in combinations(seen, 2))
    assert nearest[0] > 15, nearest


def test_a_strategy_has_one_look_whatever_stands_beside_it() -> None:
    assert strategy_colours(["random", "evolution"])["random"] == strategy_colours(["random"])["random"]
    alone = strategy_colours(["mine:Own"])["mine:Own"]
    assert strategy_colours(["mine:Own", "rl", "random"])["mine:Own"] == alone
    several = strategy_colours(["random", "mine", "yours", "evolution"])
    assert len(set(several.values())) == 4
    assert len(set(strategy_markers(["a", "b", "c", "d", *STRATEGY_COLOURS]).values())) == 14


def test_more_strangers_than_colours_share_them() -> None:
    names = [f"mine:S{i}" for i in range(9)]
    assert set(strategy_colours(names)) == set(strategy_markers(names)) == set(names)


def test_settings_of_a_strategy_share_colour_and_marker_and_differ_in_dashes() -> None:
    styles = looks({"evolution(sample=2)": "evolution", "evolution(sample=5)": "evolution", "rl": "rl"})
    first, second, other = styles.values()
    assert first.colour == STRATEGY_COLOURS["evolution"]
    assert (first.marker, other.dashes) == (second.marker, first.dashes)
    assert first.dashes != second.dashes
    assert len({first.colour, second.colour, other.colour}) == 3


def test_however_many_settings_no_two_look_alike() -> None:
    found = looks({f"random(a={i})": "random" for i in range(20)})
    assert len({(look.colour, str(look.dashes), look.marker) for look in found.values()}) == 20


def test_colours_are_mixed_by_shares() -> None:
    assert mix("#000000", "#ffffff", 0.0) == "#000000"
    assert mix("#000000", "#ffffff", 1.0) == "#ffffff"
    assert mix("#204060", "#406080", 0.5) == "#305070"
