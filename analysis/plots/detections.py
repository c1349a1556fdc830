"""An image with the objects that a detector found in it: boxes, classes, scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from analysis.palette import INK, class_colours, ink_on

SMALLEST: Final = 900
"""Pixels of the longer side of a drawn image at least: a smaller one is enlarged, so that labels have room."""

LARGEST: Final = 2000
"""Pixels of the longer side of a drawn image at most."""

_DPI: Final = 200
"""Those of :func:`analysis.plots.files.save`."""

_CROWDED: Final = 0.3
"""Share of a label that others may cover before it is left out."""


def draw_detections(
    picture: NDArray[Any],
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    scores: Sequence[float],
    classes: Sequence[str],
    truth: Sequence[Sequence[float]] = (),
) -> Figure:
    """Return a picture, uint8 of shape (h, w, 3), with a box per object in the colour of its class, and a label.

    A label is class and score. ``boxes`` are (x1, y1, x2, y2) in pixels of the picture, the likeliest first; ``labels``
    are indices of ``classes``. A label stands at the corner of its box where it covers no other one; where none is free
    it is the score alone, and if that has no room either there is none. Boxes of ``truth`` are dashed and white.

    Raises:
        ValueError: if there are not as many labels and scores as boxes.
    """
    if not len(boxes) == len(labels) == len(scores):
        raise ValueError(f"{len(boxes)} boxes need as many labels and scores, not {len(labels)} and {len(scores)}")
    height, width = picture.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, SMALLEST), LARGEST) / longer
    unit = scale * longer / SMALLEST * 72 / _DPI  # points of a pixel, larger in larger pictures
    figure = Figure(figsize=(max(1, width * scale) / _DPI, max(1, height * scale) / _DPI), dpi=_DPI)
    renderer: RendererAgg = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    room = Bbox(figure.bbox.get_points())
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest" if scale > 4 else "antialiased")
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_aspect("auto")
    ax.set_axis_off()
    colours = class_colours(len(classes))
    for box in truth:
        edge = _frame(box, "#ffffff", 1.2 * unit, linestyle=(0, (4, 3)))
        edge.set_path_effects([withStroke(linewidth=2.2 * unit, foreground=INK, alpha=0.7)])
        ax.add_patch(edge)
    for box, label in zip(reversed(boxes), reversed(labels), strict=True):
        edge = _frame(box, colours[label], 2 * unit)
        edge.set_path_effects([withStroke(linewidth=3.2 * unit, foreground="#ffffff", alpha=0.6)])
        ax.add_patch(edge)
    taken: list[Bbox] = []
    for box, label, score in zip(boxes, labels, scores, strict=True):
        colour = colours[label]
        text = ax.text(
            *(0, 0, ""),
            fontsize=14 * unit,
            color=ink_on(colour),
            va="bottom",
            parse_math=False,
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5 * unit},
        )
        corner = ax.transData.transform([(box[0], box[3]), (box[2], box[1])])
        grounds = [_measure(text, word, renderer) for word in (f"{classes[label]} {score:.2f}", f"{score:.2f}")]
        if (found := _find_place(Bbox(corner), grounds, taken, room)) is None:
            text.remove()
            continue
        word, place = found
        _move(text, word, place, renderer)
        taken.append(place)
    return figure


def _frame(box: Sequence[float], colour: str, line: float, **style: Any) -> Rectangle:
    x1, y1, x2, y2 = box
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=line, **style)


def _measure(text: Text, word: str, renderer: RendererAgg) -> tuple[str, Bbox]:
    """Return a word with the ground of a label that says it, in pixels of the figure."""
    text.set_text(word)
    text.update_bbox_position_size(renderer)
    ground = text.get_bbox_patch()
    assert ground is not None, "labels have one"
    return word, ground.get_window_extent()


def _find_place(
    box: Bbox, grounds: Sequence[tuple[str, Bbox]], taken: Sequence[Bbox], room: Bbox
) -> tuple[str, Bbox] | None:
    """Return the first word, with a place at its box, that covers no label in ``taken``; ``None`` if all cover much.

    Where every place covers some label a little, it is the one that covers least.
    """
    best: tuple[float, str, Bbox] | None = None
    for word, ground in grounds:
        for place in _corners(box, ground.width, ground.height, room):
            covered = sum(_share(place, other) for other in taken)
            if covered == 0:
                return word, place
            if best is None or covered < best[0]:
                best = covered, word, place
    return None if best is None or best[0] > _CROWDED else best[1:]


def _move(text: Text, word: str, place: Bbox, renderer: RendererAgg) -> None:
    """Say a word, with its ground at a place."""
    _, ground = _measure(text, word, renderer)
    transform = text.get_transform()
    x, y = transform.transform(text.get_position())
    text.set_position(tuple(transform.inverted().transform((x + place.x0 - ground.x0, y + place.y0 - ground.y0))))


def _corners(box: Bbox, width: float, height: float, room: Bbox) -> Iterator[Bbox]:
    """Yield the places of a label of this size at a box, the best first, moved into the picture."""
    left, right = box.x0, box.x1 - width
    for x, y in (
        *((left, box.y1), (right, box.y1)),  # above
        *((left, box.y1 - height), (right, box.y1 - height)),  # inside, at the top
        *((left, box.y0 - height), (right, box.y0 - height)),  # below
        *((left, box.y0), (right, box.y0)),  # inside, at the bottom
    ):
        x = min(max(x, room.x0), max(room.x0, room.x1 - width))
        y = min(max(y, room.y0), max(room.y0, room.y1 - height))
        yield Bbox.from_bounds(x, y, width, height)


def _share(place: Bbox, other: Bbox) -> float:
    """Return which share of a place another one covers."""
    common = Bbox.intersection(place, other)
    return 0.0 if common is None else common.width * common.height / (place.width * place.height)
