"""The command ``detect``: the objects that a trained detector finds, drawn and written down; or its precision."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.base import (
    Parser,
    add_json,
    add_weights,
    fraction,
    refuse_unread,
    translate_errors,
    whole,
)
from evo_nas.errors import UsageError
from genotypes.genotype import printable, shorten

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from evo_nas.phenotypes.blueprint import DetectorBlueprint
    from evo_nas.training.finding import Finding
    from evo_nas.training.judging import Judgement

DETECTIONS: Final = "detections.json"
"""The file in the folder that is written to, by which it is known again."""

EPILOG = """\
examples:
  python -m evo_nas detect runs/train-A/best.safetensors street.jpg photos/ -o found
  python -m evo_nas detect runs/train-A/best.safetensors photos/ --score 0.5 --most 20 --pictures 0
  python -m evo_nas detect runs/train-A/last.safetensors --dataset voc --data-dir DATA --part test -o found

The folder gets a PNG per image and detections.json, a list of results as COCO has it: boxes are x, y, width and height
in pixels of the image; ids of images and categories count from 1. With --dataset the objects that are there are dashed,
and the average precision and the precision-recall curve of each class are measured (all scores count, not --score)."""


def add_arguments(parser: Parser) -> None:
    """Add the flags."""
    add_weights(parser)
    parser.add_argument("images", metavar="IMAGES", type=Path, nargs="*", help="image files, or folders of them")
    parser.add_argument(
        *("-o", "--output"), metavar="DIR", type=Path, default=Path("detections"), help="folder (default: detections)"
    )
    parser.add_argument("--score", metavar="S", type=fraction, default=0.3, help="objects above this score (0.3)")
    parser.add_argument("--most", metavar="K", type=whole(10**4), default=100, help="objects per image at most (100)")
    parser.add_argument("--pictures", metavar="N", type=whole(10**9, 0), help="draw the first N images (default: all)")
    parser.add_argument("--dataset", metavar="NAME", help="measure on voc, coco, plates or scenes, instead of IMAGES")
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="of --dataset: where it lies")
    parser.add_argument("--part", metavar="PART", help="of --dataset: train, val or test (default)")
    parser.add_argument(
        "--seed", metavar="K", type=whole(2**62, 0), help="of --dataset: of held out images, scenes (0)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Find objects, draw and write them, and print how many there are.

    Raises:
        UsageError: if flags contradict each other, or the folder is no place for what is written.
        DataError: if an image cannot be read; the others are done.
    """
    from evo_nas.data.sources.layout import find_images
    from evo_nas.system.atomic import make_folder, write_whole
    from evo_nas.system.resources import usable_cores
    from evo_nas.training.finding import find_objects, load_detector

    _refuse_contradictions(arguments)
    folder: Path = arguments.output
    images = find_images(arguments.images)
    _check_folder(folder, images)
    blueprint, tensors = load_detector(arguments.weights, arguments.network)
    limits = {"score": arguments.score, "most": arguments.most}
    place = {"device": arguments.device, "threads": arguments.threads or usable_cores()}
    judgement = None
    if arguments.dataset is None:
        findings = find_objects(blueprint, tensors, images, **limits, **place)
    else:
        judgement = _judge(arguments, blueprint, tensors, place)
        findings = list(judgement.findings(**limits))
    seen = [each for each in findings if each.fault is None]
    with translate_errors():
        make_folder(folder)
        entries = ",".join(f"\n{json.dumps(each)}" for each in list_results(seen))
        write_whole(folder / DETECTIONS, f"[{entries}\n]\n")
        pictures = _draw(seen[: arguments.pictures], blueprint.classes, folder, judgement)
        measured = [] if judgement is None else list(_write_precision(judgement, folder, arguments.part or "test"))
    if arguments.json:
        told: dict[str, Any] = {"weights": str(arguments.weights), "folder": str(folder)}
        told |= {} if judgement is None else {"precision": dict(judgement.precision.averages)}
        print(json.dumps(told | {"images": list(_tell(findings, pictures))}, indent=2))
    else:
        lines = [*_write_table(seen), *measured, f"detections: {folder / DETECTIONS}"]
        print("\n".join([*lines, *([f"pictures: {len(pictures)} in {folder}"] if pictures else [])]))
    refuse_unread([each.fault for each in findings if each.fault is not None], len(findings))


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    """Raise unless there are images, or a data set and what belongs to it.

    Raises:
        UsageError: with the mend.
    """
    if arguments.dataset is None:
        if not arguments.images:
            raise UsageError("name images or folders of them, or a set with boxes to measure on with --dataset NAME")
        if flags := [name for name in ("data_dir", "part", "seed") if getattr(arguments, name) is not None]:
            raise UsageError(f"--{flags[0].replace('_', '-')} is of --dataset NAME: add that, or leave it out")
    elif arguments.images:
        raise UsageError("name either images or --dataset NAME, whose images are looked at")
    if arguments.part not in (None, "train", "val", "test"):
        raise UsageError(f"there is no part {shorten(arguments.part)!r}; the parts are: train, val, test")


def _check_folder(folder: Path, images: Sequence[Path]) -> None:
    """Raise if the folder has files that are not of this command, or holds images that are to be looked at.

    Raises:
        UsageError: with the mend.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder with -o")
    if folder.is_dir() and not (folder / DETECTIONS).is_file() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty, and holds no {DETECTIONS}: name another folder with -o")
    own = folder.resolve()
    if inside := next((image for image in images if own in image.resolve().parents), None):
        raise UsageError(f"{inside} lies in {folder}, where pictures are written: name another folder with -o")


def _judge(
    arguments: argparse.Namespace, blueprint: DetectorBlueprint, tensors: Mapping[str, Tensor], place: Mapping[str, Any]
) -> Judgement:
    from evo_nas.training.judging import judge_detector

    wanted: dict[str, Any] = {"part": arguments.part or "test", "seed": arguments.seed or 0, **place}
    return judge_detector(blueprint, tensors, arguments.dataset, arguments.data_dir, **wanted)


def list_results(findings: Iterable[Finding]) -> Iterator[dict[str, Any]]:
    """Yield an entry per object, as COCO's results have it, with the names of image and category beside their ids.

    Ids count from 1: of images as they come, of categories in the order of the detector's classes. ``bbox`` is x, y,
    width and height in pixels of the image, to a hundredth.
    """
    for number, finding in enumerate(findings, 1):
        for each in finding.objects:
            yield {
                "image_id": number,
                "file_name": str(finding.image),
                "category_id": each.label + 1,
                "category_name": each.name,
                "bbox": _spell_box(each.box),
                "score": round(each.score, 5),
            }


def _spell_box(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]


def _tell(findings: Iterable[Finding], pictures: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the JSON form of each image with its objects, and its picture if it was drawn."""
    drawn = iter(pictures)
    for each in findings:
        if each.fault is not None:
            yield {"image": str(each.image), "fault": each.fault}
            continue
        objects = [
            {"class": one.name, "score": round(one.score, 5), "bbox": _spell_box(one.box)} for one in each.objects
        ]
        picture = next(drawn, None)
        yield {
            "image": str(each.image),
            "width": each.size[0],
            "height": each.size[1],
            "objects": objects,
            **({} if picture is None else {"picture": str(picture)}),
        }


def _write_table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a row per image and one for all: how many objects there are, and how many of each class."""
    if not findings:
        return
    rows = [(printable(each.image), Counter((one.label, one.name) for one in each.objects)) for each in findings]
    if len(rows) > 1:
        rows.append((f"all {len(rows):,} images", sum((row[1] for row in rows), Counter())))
    first = max(len("image"), *(len(name) for name, _ in rows))
    yield f"{'image':<{first}}  objects  classes"
    for name, counts in rows:
        by_class = ", ".join(f"{shorten(label, 30)} {n:,}" for (_, label), n in sorted(counts.items()))
        yield f"{name:<{first}}  {counts.total():>7,}  {by_class}".rstrip()


def _write_precision(judgement: Judgement, folder: Path, part: str) -> Iterator[str]:
    """Write the precision and its curves as a training does, and yield what is printed of it."""
    from evo_nas.commands.precision_lines import draw_precision_file, spell_share
    from evo_nas.system.atomic import write_whole

    precision = judgement.precision
    write_whole(folder / "precision.json", json.dumps({"classes": judgement.classes, **precision.to_json()}) + "\n")
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
    averages = ", ".join(f"{word} {spell_share(precision.averages[name])}" for name, word in names.items())
    yield f"{len(judgement.images):,} images: {averages}"
    yield from draw_precision_file(folder / "precision.json", part)


def _draw(findings: Sequence[Finding], classes: Sequence[str], folder: Path, judgement: Judgement | None) -> list[Path]:
    """Draw the objects of each image, and return the files."""
    from analysis.plots.detections import draw_detections
    from analysis.plots.files import save

    files = []
    names = name_pictures([each.image for each in findings])
    for row, (finding, name) in enumerate(zip(findings, names, strict=True)):
        picture = _read_picture(finding, row, judgement)
        boxes, labels = [one.box for one in finding.objects], [one.label for one in finding.objects]
        scores = [one.score for one in finding.objects]
        truth = () if judgement is None else judgement.truth(row).tolist()
        figure = draw_detections(picture, boxes, labels, scores, [shorten(each, 20) for each in classes], truth)
        files += save(figure, folder / name, twin=False)
    return files


def name_pictures(images: Iterable[Path]) -> list[str]:
    """Return the name of the picture of each image: its own as PNG, with a number where that is taken."""
    taken: set[str] = set()
    names = []
    for image in images:
        stem, number = image.stem, 1
        name = f"{stem}.png"
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}.png"
        taken.add(name.casefold())
        names.append(name)
    return names


def _read_picture(finding: Finding, row: int, judgement: Judgement | None) -> np.ndarray:
    """Return an image in colours, uint8 of shape (h, w, 3)."""
    import numpy as np

    from evo_nas.data.sources.base import open_picture, pixels

    if judgement is not None and judgement.files is None:
        canvas = judgement.images.subset(np.array([row])).read_canvases()[0]
        return np.broadcast_to(canvas, (*canvas.shape[:2], 3))
    with open_picture(finding.image) as file:
        return pixels(file, None, 3)
