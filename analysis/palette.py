"""The look of strategies and classes in every picture: a colour each; markers, shades and dashes of strategies.

The colours are those of Okabe and Ito (2008), safe for the colour-blind; markers and dashes tell apart what a grey
print or a very narrow line does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

INK: Final = "#22272e"
"""Colour of text."""

FAINT: Final = "#6b737d"
"""Colour of notes beside the point."""

GRID: Final = "#e3e6ea"
"""Colour of grid lines."""

STRATEGY_COLOURS: Final[dict[str, str]] = {
    "random": "#5a5a5a",
    "evolution": "#d55e00",
    "rl": "#0072b2",
    "pnas": "#009e73",
    "local": "#56b4e9",
    "guided": "#cc79a7",
    "optuna": "#a8c773",
    "morphnet": "#e69f00",
    "multiplier": "#8b5a2b",
    "genetic": "#9030f0",
    "nevergrad": "#1e0096",
    "hyperopt": "#691e1e",
}
"""The colours of our own strategies, the same in every picture."""

MARKERS: Final = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "H", "8")
"""Markers of strategies: first those of our own in the order of their colours; none is the disc of a single trial."""

_OTHER_COLOURS: Final = ("#000000", "#6a51a3", "#882255", "#44aa99")
_SETTINGS: Final[tuple[tuple[Any, str, float], ...]] = (
    ("-", INK, 0.0),
    ((0, (5, 1.6)), INK, 0.5),
    ((0, (1.4, 1.3)), "#ffffff", 0.4),
    ((0, (6, 1.5, 1.4, 1.5)), INK, 0.75),
)
"""Dashes, and what the colour of the strategy is mixed with, how much: for its settings in the order listed."""

_CLASS_COLOURS: Final = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#6a51a3", "#8b5a2b", "#882255", "#44aa99"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """The look of one curve: its colour, its style of line and its marker, as matplotlib takes them."""

    colour: str
    dashes: Any
    marker: str


def strategy_colours(strategies: Iterable[str]) -> dict[str, str]:
    """Return the colour of each strategy; one that is not ours gets a colour by its name, or the next free one."""
    own, others = _places(strategies)
    colours = tuple(STRATEGY_COLOURS.values())
    found = {name: colours[place] for name, place in own.items()}
    return found | {name: _OTHER_COLOURS[place % len(_OTHER_COLOURS)] for name, place in others.items()}


def strategy_markers(strategies: Iterable[str]) -> dict[str, str]:
    """Return each strategy its marker, as :func:`strategy_colours` gives its colour."""
    own, others = _places(strategies)
    left = MARKERS[len(STRATEGY_COLOURS) :]
    found = {name: MARKERS[place] for name, place in own.items()}
    return found | {name: left[place % len(left)] for name, place in others.items()}


def looks(strategies: Mapping[str, str]) -> dict[str, Style]:
    """Return each curve its look, by label; the argument says of which strategy it is.

    Curves of one strategy have its colour and marker, and differ in shade and dashes, in the order listed; where those
    come to an end, they begin again with the next marker.
    """
    colours, markers = strategy_colours(strategies.values()), strategy_markers(strategies.values())
    met: dict[str, int] = {}
    found = {}
    for label, name in strategies.items():
        again, setting = divmod(met.get(name, 0), len(_SETTINGS))
        dashes, other, share = _SETTINGS[setting]
        met[name] = met.get(name, 0) + 1
        marker = MARKERS[(MARKERS.index(markers[name]) + again) % len(MARKERS)]
        found[label] = Style(mix(colours[name], other, share), dashes, marker)
    return found


def class_colours(count: int) -> list[str]:
    """Return a colour per class, by ascending label; from the eleventh on they come again, darker, then lighter."""
    found = []
    for label in range(count):
        again, place = divmod(label, len(_CLASS_COLOURS))
        ground = (INK, "#ffffff")[again % 2 == 0]
        found.append(mix(_CLASS_COLOURS[place], ground, 0.45 if again else 0.0))
    return found


def ink_on(colour: str) -> str:
    """Return the colour of text, dark or white, that is read best on a ground ``#rrggbb``, by its luminance."""
    red, green, blue = bytes.fromhex(colour[1:])
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def mix(colour: str, other: str, share: float) -> str:
    """Mix a colour ``#rrggbb`` with a share in [0, 1] of another."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round((1 - share) * a + share * b) for a, b in pairs).hex()


def _places(strategies: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Number our own strategies as listed, and others so that a name has the same number almost everywhere."""
    ours = list(STRATEGY_COLOURS)
    names = sorted(set(strategies))
    others: dict[str, int] = {}
    room = len(_OTHER_COLOURS)
    for name in names:
        if name not in STRATEGY_COLOURS:
            first = crc32(name.encode()) % room
            free = [place % room for place in range(first, first + room) if place % room not in others.values()]
            others[name] = free[0] if free else first
    return {name: ours.index(name) for name in names if name in STRATEGY_COLOURS}, others
