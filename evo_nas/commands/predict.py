"""The command ``predict``: the classes that a trained network sees in image files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import Parser, add_json, add_output, add_weights, refuse_unread, translate_errors, whole
from genotypes.genotype import printable, shorten

if TYPE_CHECKING:
    import numpy as np

    from evo_nas.training.prediction import Prediction

LARGEST_GRID: Final = 64
"""Images of a picture: of more, each would be too small to be looked at."""

_SIDE: Final = 256
"""Pixels of the longer side of an image in the picture."""

EPILOG = """\
examples:
  python -m evo_nas predict runs/train-A/best.safetensors cat.jpg photos/
  python -m evo_nas predict runs/train-A/best.safetensors photos/ --top 1 -o photos.png
  python -m evo_nas predict small.safetensors photos/ --json > photos.json

Images are resized and normalised as in the training. One that cannot be read does not stop the others; the exit code is
then 4."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_weights(parser)
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="+", help="image files, or folders of them")
    parser.add_argument("--top", metavar="K", type=whole(10**6), default=3, help="classes per image (default: 3)")
    add_output(parser, f"picture to write, of the first {LARGEST_GRID} images")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the classes of each image, and draw them."""
    from analysis.plots.files import picture_files
    from evo_nas.data.sources.layout import find_images
    from evo_nas.system.resources import usable_cores
    from evo_nas.training.prediction import load_classifier, predict

    output: Path | None = arguments.output
    if output is not None:
        with translate_errors():
            picture_files(output)  # before anything is computed
    images = find_images(arguments.images)
    blueprint, tensors = load_classifier(arguments.weights, arguments.network)
    predictions = predict(
        *(blueprint, tensors, images),
        top=arguments.top,
        device=arguments.device,
        threads=arguments.threads or usable_cores(),
    )
    files = [] if output is None else _draw(predictions, output)
    if arguments.json:
        told = {"weights": str(arguments.weights), "images": list(map(_tell, predictions))}
        print(json.dumps(told | {"pictures": list(map(str, files))}, indent=2))
    else:
        print("\n".join([*_write_table(predictions), *(f"picture: {file}" for file in files)]))
    refuse_unread([each.fault for each in predictions if each.fault is not None], len(images))


def _tell(prediction: Prediction) -> dict[str, Any]:
    """Return the JSON form of what was seen in an image."""
    if prediction.fault is not None:
        return {"image": str(prediction.image), "fault": prediction.fault}
    classes = [{"class": name, "probability": share} for name, share in prediction.classes]
    return {"image": str(prediction.image), "classes": classes}


def _write_table(predictions: Sequence[Prediction]) -> Iterator[str]:
    """Yield a row per image: its file, and its classes with their probabilities in per cents."""
    seen = [prediction for prediction in predictions if prediction.fault is None]
    if not seen:
        return
    names = [printable(prediction.image) for prediction in seen]
    rows = [[(shorten(name, 30), f"{100 * share:.1f} %") for name, share in each.classes] for each in seen]
    first = max(map(len, ("image", *names)))
    widths = [max(len(row[place][0]) for row in rows) for place in range(len(rows[0]))]
    heading = [f"{place:<{width + 9}}" for place, width in enumerate(widths, start=1)]
    yield "  ".join([f"{'image':<{first}}", *heading]).rstrip()
    for name, row in zip(names, rows, strict=True):
        cells = [f"{label:<{width}}  {share:>7}" for (label, share), width in zip(row, widths, strict=True)]
        yield "  ".join([f"{name:<{first}}", *cells])


def _draw(predictions: Sequence[Prediction], output: Path) -> list[Path]:
    """Draw the first images that can be read with the classes seen in them, and return the files written."""
    from analysis.plots.files import save
    from analysis.plots.predictions import draw_predictions

    seen = list(islice((each for each in predictions if each.fault is None), LARGEST_GRID))
    if not seen:
        return []
    captions = [[f"{shorten(name, 20)}: {100 * share:.0f} %" for name, share in each.classes[:3]] for each in seen]
    figure = draw_predictions(
        [_thumbnail(each.image) for each in seen], captions, [shorten(each.image.name, 20) for each in seen]
    )
    with translate_errors():
        return save(figure, output)


def _thumbnail(path: Path) -> np.ndarray:
    """Return a picture in colours, uint8 of shape (h, w, 3), its longer side at most 256 pixels."""
    import numpy as np
    from PIL import Image

    from evo_nas.data.sources.base import open_picture, pixels

    with open_picture(path) as file:
        image = Image.fromarray(pixels(file, None, 3))
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image)
