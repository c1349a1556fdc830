"""The command ``data``: fetch, split or check an image set, of labelled images or of images with boxes."""

from __future__ import annotations

import argparse
from pathlib import Path

from evo_nas.commands.base import Parser, fraction, whole
from evo_nas.errors import DataError, UsageError
from genotypes.genotype import printable


def add_arguments(parser: Parser) -> None:
    """Add the actions and their flags."""
    actions = parser.add_subparsers(title="commands", metavar="ACTION", required=True, parser_class=Parser)
    texts = {
        _fetch: "download an image set, or unpack it from an archive",
        _split: "make an image folder with train and test parts of one that has class folders alone",
        _check: "verify an image set completely",
    }
    for action, text in texts.items():
        name = action.__name__.removeprefix("_")
        command = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(action=action)
        command.add_argument(
            "--data-dir",
            metavar="DIR",
            type=Path,
            help=f"where {'it lies' if action is _check else 'to put it'} (default: EVO_NAS_DATA, or the cache)",
        )
        if action is _split:
            command.add_argument(
                "--images",
                metavar="FOLDER",
                type=Path,
                required=True,
                help="holds <class>/*.jpg, and stays as it is",
            )
            command.add_argument(
                "--test", metavar="SHARE", type=fraction, default=0.2, help="of each class, to test with (default: 0.2)"
            )
            command.add_argument("--seed", metavar="N", type=whole(2**32 - 1, least=0), default=0, help="(default: 0)")
            continue
        command.add_argument(
            "--dataset",
            metavar="NAME",
            default="cifar10",
            help="cifar10 (default), cifar100, digits, folder; with boxes: voc, coco, scenes, plates"
            + ("; hf:NAME of the Hugging Face hub" if action is _fetch else ""),
        )
        if action is _fetch:
            command.add_argument("--archive", metavar="FILE", type=Path, help="unpack this file instead of downloading")


def run(arguments: argparse.Namespace) -> None:
    """Fetch, split or check.

    Raises:
        UsageError: if no data set has the name.
    """
    from evo_nas.data.boxes.catalogue import BOX_SETS
    from evo_nas.data.sources.catalogue import DATA_SETS
    from evo_nas.data.sources.hub import PREFIX

    if arguments.action is _split:
        _split(arguments)
        return
    if arguments.action is _fetch and arguments.dataset.startswith(PREFIX):
        _fetch_from_hub(arguments)
        return
    if arguments.dataset not in (*DATA_SETS, *BOX_SETS):
        names = f"{', '.join(DATA_SETS)}, and with boxes {', '.join(BOX_SETS)}; to be fetched, {PREFIX}NAME"
        raise UsageError(f"there is no data set {arguments.dataset!r}; the data sets are: {names}")
    arguments.action(arguments)


def _fetch(arguments: argparse.Namespace) -> None:
    from evo_nas.data.boxes.catalogue import BOX_SETS
    from evo_nas.data.sources.fetch import fetch, fetch_set

    if arguments.dataset in BOX_SETS:
        print(fetch_set(BOX_SETS[arguments.dataset], arguments.data_dir, arguments.archive))
    else:
        print(fetch(arguments.dataset, arguments.data_dir, arguments.archive))


def _fetch_from_hub(arguments: argparse.Namespace) -> None:
    """Fetch a set of the Hugging Face hub as an image folder."""
    from evo_nas.data.sources.fetch import fetch_set
    from evo_nas.data.sources.hub import describe_hub_set

    if arguments.archive is not None:
        raise UsageError(f"--archive is unpacked in place of a download: leave it or {arguments.dataset} out")
    print(fetch_set(describe_hub_set(arguments.dataset), arguments.data_dir))


def _split(arguments: argparse.Namespace) -> None:
    from evo_nas.data.sources.parting import split_folder

    print(printable(split_folder(arguments.images, arguments.data_dir, arguments.test, arguments.seed)))


def _check(arguments: argparse.Namespace) -> None:
    from evo_nas.data.boxes.catalogue import BOX_SETS
    from evo_nas.data.boxes.check import check_boxes
    from evo_nas.data.sources.check import check

    examine = check_boxes if arguments.dataset in BOX_SETS else check
    report = examine(arguments.dataset, arguments.data_dir)
    print("\n".join(map(printable, report.lines)))
    if not report.sound:
        raise DataError("; ".join(report.faults))
