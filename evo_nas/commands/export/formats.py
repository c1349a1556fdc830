"""Export formats: cells, widths and networks as files that other programs read."""

from __future__ import annotations

import hashlib
import json
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from evo_nas.commands.cell_sources import CellSource, of_text
from evo_nas.commands.count import read_edge_size, read_size, refuse_cell_size
from evo_nas.commands.export.calibration import Calibration
from evo_nas.commands.export.card import PICTURE, Origin, draw_picture, write_card
from evo_nas.commands.export.graphs import require_onnx, write_graph, write_program
from evo_nas.commands.export.modules import write_python
from evo_nas.commands.export.quantized import open_calibration, quantize, require_quantizer
from evo_nas.commands.export.timm_folder import CARD, CONFIG, spell_usage, write_folder
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import (
    Blueprint,
    CellBlueprint,
    ChainBlueprint,
    DetectorBlueprint,
    EdgeBlueprint,
    WidthsBlueprint,
    difference,
    load_whole,
    save_network,
)
from evo_nas.phenotypes.named import spell_chain
from evo_nas.phenotypes.onnx.graph import OPSET
from evo_nas.phenotypes.plan import plan_network
from evo_nas.phenotypes.tensors import load_tensors
from evo_nas.system.atomic import replace_whole, require_writable
from evo_nas.system.terminal import gigabytes
from genotypes.cell import CellPair
from genotypes.chain import Chain
from genotypes.edge_cell import EdgeCell
from genotypes.genotype import Genotype, shorten
from genotypes.pyramid import Pyramid
from genotypes.widths import Widths

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMATS: Final[dict[str, tuple[str, str]]] = {
    "json": (".json", "the genotype, or the pair of cells where there is none; widths, chains"),
    "cells": (".cells.json", "the pair of cells, as JSON"),
    "dot": (".dot", "the cells or the feature pyramid in DOT, for Graphviz"),
    "module": (".py", "the network as one Python file that needs torch, and what a network of widths comes from"),
    "safetensors": (".safetensors", "the weights, without an auxiliary classifier"),
    "torch": (".pt2", "the network with its weights, by torch.export"),
    "onnx": (".onnx", f"the network with its weights, opset {OPSET}; needs the extra onnx"),
    "onnx-int8": (
        ".int8.onnx",
        "a classifier in whole numbers of 8 bits, calibrated with images; needs the extra onnx",
    ),
    "timm": ("_timm", "a folder that timm loads: module, weights, config.json and model card"),
    "card": (".md", "the model card, with a picture of the cells beside it"),
}
"""Name, as ``--format`` takes it -> how its file's name ends, and what is in it."""

Draw = Callable[[CellPair | EdgeCell | Chain | Pyramid], str]
"""Writes cells, a cell of edges or a feature pyramid in DOT."""

_LARGEST_ONNX: Final = 2**31
"""Bytes that a message of protobuf holds, of which an ONNX file is one."""

_ONNX: Final = {"onnx", "onnx-int8"}
_NEED_WEIGHTS: Final = {"safetensors", "torch", "timm", "card", *_ONNX}
_FOLDERS: Final = {"timm"}
_NEED_SIZE: Final = {"module", *_NEED_WEIGHTS}


@dataclass(frozen=True)
class Size:
    """The size of a network on the command line; ``None`` is a default, or what the weights' own file says."""

    size: str | None = None
    cells_per_stack: int | None = None
    filters: int | None = None
    macro: str | None = None
    stem: int | None = None
    image: int | None = None
    channels: int | None = None
    classes: int | None = None

    def of_cells(self) -> dict[str, Any]:
        """Return what says the size of cells alone, by the names of the flags."""
        return {name: getattr(self, name) for name in ("size", "cells_per_stack", "filters", "macro", "stem")}


@dataclass(frozen=True)
class Subject:
    """The object of an export: cells or widths with their name and, if it is known, a whole network and its weights.

    ``weights`` is the file that these come from.
    """

    source: CellSource
    blueprint: Blueprint | None = None
    tensors: Mapping[str, Tensor] | None = None
    weights: Path | None = None

    @property
    def name(self) -> str:
        """A name for files that Python can import: letters, digits and underscores."""
        label = self.source.label
        if label == self.source.genotype:  # too long for a name
            label = f"{label.partition(':')[0].partition('(')[0]}_{hashlib.sha256(label.encode()).hexdigest()[:8]}"
        name = re.sub(r"[^A-Za-z0-9]+", "_", label)[:80].strip("_")
        return name if name.isidentifier() and not keyword.iskeyword(name) else f"cell_{name}".rstrip("_")


def parse_formats(words: Sequence[str]) -> list[str]:
    """Read the names of formats, with commas or one by one, each once.

    Raises:
        UsageError: if there is none, or no such format.
    """
    names = list(dict.fromkeys(name.strip() for word in words for name in word.split(",")))
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"there is no format {shorten(name)!r}; there are: {', '.join(FORMATS)}")
    if not names:
        raise UsageError(f"name what to write with --format: {', '.join(FORMATS)}, with commas between")
    return names


def subject_of(
    source: CellSource | None, weights: Path | None, size: Size, formats: Sequence[str], network: str | None = None
) -> Subject:
    """Find what is exported: the network in a file of weights, or the cells of ``source`` at a size, or its widths.

    ``network`` is a user's own one that the weights may be of.

    Raises:
        UsageError: if the cells are not named, or named twice and different; or a size is missing or impossible.
        DataError: if the weights cannot be read, or are those of another network.
    """
    if weights is None and "onnx-int8" in formats:
        raise UsageError("onnx-int8 is for trained networks: name their weights with --weights")
    blueprint, tensors = (None, None) if weights is None else load_whole(weights, network)
    if blueprint is not None and weights is not None:
        _agree(blueprint, source, size, weights)
        source = CellSource(blueprint.design, shorten(weights.stem, 255), None if source is None else source.genotype)
    if source is None:
        raise UsageError(
            "name cells: a run, a genotype or a JSON file, --cell NAME, or --weights FILE with a network of evo_nas"
        )
    if "cells" in formats or ("dot" in formats and not isinstance(source.design, EdgeCell | Chain | Pyramid)):
        _ = source.cells  # or it says that there are none
    if weights is None and not _NEED_SIZE & set(formats):
        return Subject(source)
    if blueprint is None and isinstance(source.design, Pyramid | str):
        raise UsageError(
            f"{shorten(source.label)} is the neck of a detector, whose size is that of its training: train it, and "
            "name its weights with --weights"
        )
    found = None
    try:
        if blueprint is None:
            blueprint = _blueprint(source, size)
            found = difference(blueprint, tensors or {})
        elif size.image is not None:
            blueprint = replace(blueprint, image=size.image)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if tensors is not None:
        if found is not None:
            raise DataError(f"{weights} holds the weights of another network: {found}")
        tensors = blueprint.strip(tensors)
    return Subject(source, blueprint, tensors, weights)


def _agree(blueprint: Blueprint, source: CellSource | None, size: Size, weights: Path) -> None:
    """Check that what is said beside a file of weights is what its own blueprint says."""
    own_design: object = blueprint.design
    if isinstance(blueprint, DetectorBlueprint) and source is not None and isinstance(source.design, Chain):
        own_design = source.design if blueprint.backbone == spell_chain(source.design) else blueprint.backbone
    if source is not None and source.design != own_design:
        kinds = {WidthsBlueprint: "widths", ChainBlueprint: "blocks"}
        what = kinds.get(type(blueprint), "cells")
        raise UsageError(f"the weights in {weights} are of other {what} than {shorten(source.label)}: leave that out")
    own = {"channels": blueprint.channels, "classes": len(blueprint.classes)}
    asked: dict[str, Any] = {name: getattr(size, name) for name in own}
    if isinstance(blueprint, CellBlueprint):
        sizes = {name: getattr(blueprint, name) for name in ("macro", "cells_per_stack", "filters", "stem")}
        own |= {**sizes, "stem": plan_network(blueprint.cells, **sizes).stem}
        asked |= {name: getattr(size, name) for name in sizes}
        if size.size is not None:
            try:
                asked |= read_size(CellSource(blueprint.cells, ""), size.size, size.cells_per_stack, size.filters)
            except ValueError as error:
                raise UsageError(str(error)) from error
    elif isinstance(blueprint, EdgeBlueprint):
        sizes = {name: getattr(blueprint, name) for name in ("cells_per_stack", "filters")}
        own |= sizes
        asked |= {name: getattr(size, name) for name in sizes}
        given = {name: value for name, value in size.of_cells().items() if name not in sizes}
        read_edge_size(CellSource(blueprint.design, shorten(weights.stem, 255)), **sizes, **given)
    elif isinstance(blueprint, DetectorBlueprint):
        if given_flags := [name for name, value in {**size.of_cells(), "image-size": size.image}.items() if value]:
            flag = given_flags[0].replace("_", "-")
            raise UsageError(f"{weights} holds a detector, whose size is its own: leave --{flag} out")
    else:
        refuse_cell_size(CellSource(blueprint.design, shorten(weights.stem, 255)), **size.of_cells())
    for name, value in asked.items():
        if value is not None and value != own[name]:
            flag = "--cells-per-stack" if name == "cells_per_stack" else f"--{name}"
            raise UsageError(f"the weights in {weights} are of a network with {flag} {own[name]}, not {value}")


def _blueprint(source: CellSource, size: Size) -> Blueprint:
    """Make the blueprint of a network that has not been trained: its classes are numbers.

    Raises:
        UsageError: if the size is not given, or given twice, or it is one of cells and the network is not.
        ValueError: if no network has it.
    """
    is_large = size.macro == "imagenet" or isinstance(source.design, Chain)
    channels = size.channels or 3
    images: dict[str, Any] = {
        "classes": tuple(map(str, range(size.classes or (1000 if is_large else 10)))),
        "channels": channels,
        "image": size.image or (224 if is_large else 32),
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
    }
    if isinstance(source.design, Widths | Chain):
        refuse_cell_size(source, **size.of_cells())
    if isinstance(source.design, Chain):
        return ChainBlueprint(source.design, **images)
    if isinstance(source.design, Widths):
        return WidthsBlueprint(source.design, **images)
    if isinstance(source.design, EdgeCell):
        images |= read_edge_size(source, **size.of_cells())
        return EdgeBlueprint(source.design, **images)
    images |= read_size(source, size.size, size.cells_per_stack, size.filters)
    return CellBlueprint(source.cells, macro=size.macro or "cifar", stem=size.stem, **images)


def targets(output: Path, subject: Subject, formats: Sequence[str], *, force: bool) -> dict[str, Path]:
    """Return which file each format is written to: ``output`` itself if it has the suffix of the only format.

    Raises:
        UsageError: if a file is there already and not to be overwritten, or ``output`` is a file of another kind.
    """
    endings = {suffix for suffix, _ in FORMATS.values()}
    if output.suffix in endings and not output.is_dir():
        (suffix, _), *others = (FORMATS[name] for name in formats)
        if others or not suffix.endswith(output.suffix):
            raise UsageError(f"-o names one file, {output}, but what is written is {', '.join(formats)}: name a folder")
        files = {formats[0]: output}
    elif output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: name a folder with -o, or a file that ends in {FORMATS[formats[0]][0]}")
    else:
        files = {name: output / f"{subject.name}{FORMATS[name][0]}" for name in formats}
    for name, path in files.items():
        if path.is_dir() and name not in _FOLDERS:
            raise UsageError(f"{path} is a folder: name another place with -o")
        taken = next(filter(Path.exists, [path, *([_picture_of(path)] if name == "card" else [])]), None)
        if taken is not None and not force:
            raise UsageError(f"{taken} is there already: overwrite it with --force, or name another place with -o")
    return files


def export(
    subject: Subject,
    files: Mapping[str, Path],
    draw: Draw,
    *,
    seed: int = 0,
    fold: bool = True,
    calibration: Calibration = Calibration(),  # noqa: B008  # it is frozen
) -> list[str]:
    """Write each format to its file, and return what was measured; a file is written whole, and none if a format fails.

    ``draw`` writes a design in DOT. Where weights are needed and there are none, they are random, of ``seed``. ``fold``
    makes batch norms part of the convolutions before them in an ONNX file. ``calibration`` is for ``onnx-int8``.

    Raises:
        UsageError: if a package is missing, no images are named to calibrate with, or a file cannot be written.
        DataError: if images are missing or damaged.
    """
    images = None
    if _ONNX & files.keys():
        assert subject.blueprint is not None, "a size was asked for"
        require_onnx(subject.blueprint)
        if "onnx-int8" in files:
            require_quantizer(subject.blueprint)
            images = open_calibration(subject.blueprint, calibration)
    with _explain_refusal():
        for name, path in files.items():
            require_writable(path / CONFIG if name in _FOLDERS else path)
    network = None
    if _NEED_WEIGHTS & files.keys():
        network = _network(subject, seed)
        size = sum(tensor.nbytes for tensor in network.state_dict().values())
        if _ONNX & files.keys() and size >= _LARGEST_ONNX:
            raise UsageError(f"{gigabytes(size)} of weights do not fit into an ONNX file, which holds less than 2.1 GB")
    contents: dict[Path, bytes] = {}
    notes: list[str] = []
    for name, path in files.items():
        if name in ("timm", "card"):
            contents |= _content_with_card(name, path, subject, network)
            continue
        content = _content(name, subject, network, draw, fold=fold)
        if name == "onnx-int8":
            assert subject.blueprint is not None, "a size was asked for"
            assert images is not None, "they were opened"
            content, quality = quantize(content, subject.blueprint, images, calibration.threads)
            notes += quality.lines()
        contents[path] = content
    _write(contents)
    return notes


def has_random_weights(subject: Subject, formats: Sequence[str]) -> bool:
    """Return whether weights are asked for that nobody has trained."""
    return subject.tensors is None and bool(_NEED_WEIGHTS & set(formats))


def _network(subject: Subject, seed: int) -> nn.Module:
    """Build the network, ready for prediction."""
    import torch

    assert subject.blueprint is not None, "a size was asked for"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = subject.blueprint.network()
    if subject.tensors is not None:
        load_tensors(network, subject.tensors)
    return network.eval()


def _content(name: str, subject: Subject, network: nn.Module | None, draw: Draw, *, fold: bool) -> bytes:
    """Make the content of one file."""
    source, blueprint = subject.source, subject.blueprint
    if name == "dot":
        return draw(source.design if isinstance(source.design, EdgeCell | Chain | Pyramid) else source.cells).encode()
    if name in ("json", "cells"):
        design = source.design if name == "json" else source.cells
        record = {"neck": design} if isinstance(design, str) else design.to_json()
        if name == "json" and _is_readable(source):
            record = Genotype.parse(source.genotype or "").to_json()
        return (json.dumps(record, indent=2) + "\n").encode()
    assert blueprint is not None, "a size was asked for"
    if name == "module":
        return write_python(blueprint, source.genotype).encode()
    assert network is not None, "weights were asked for"
    if name == "safetensors":
        return _spell_weights(blueprint, network)
    if name == "torch":
        return write_program(network, blueprint)
    return write_graph(network, blueprint, fold=fold or name == "onnx-int8")


def _content_with_card(name: str, path: Path, subject: Subject, network: nn.Module | None) -> dict[Path, bytes]:
    """Make the files of a folder for timm, or of a card alone, with the picture that the card shows."""
    blueprint, genotype = subject.blueprint, subject.source.genotype
    assert blueprint is not None, "a size was asked for"
    assert network is not None, "weights were asked for"
    contents, usage, card, library = {}, "", path, None
    picture = _picture_of(path)
    if name == "timm":
        files = write_folder(blueprint, path.name, _spell_weights(blueprint, network), genotype)
        contents = {path / file: content for file, content in files.items()}
        card, picture, usage, library = path / CARD, path / PICTURE, spell_usage(path.name), "timm"
    if (drawn := draw_picture(blueprint)) is not None:
        contents[picture] = drawn
    text = write_card(
        subject.name,
        blueprint,
        network,
        Origin.of(subject.weights, blueprint),
        genotype=genotype,
        is_trained=subject.tensors is not None,
        picture=None if drawn is None else picture.name,
        usage=usage,
        library=library,
    )
    return contents | {card: text.encode("utf-8", "backslashreplace")}


def _picture_of(card: Path) -> Path:
    """Return the file of the picture beside a card."""
    return card.with_name(f"{card.stem}-{PICTURE}")


def _spell_weights(blueprint: Blueprint, network: nn.Module) -> bytes:
    """Return the content of a safetensors file of a network."""
    with TemporaryDirectory() as folder:
        save_network(file := Path(folder) / "network", blueprint, network.state_dict())
        return file.read_bytes()


def _is_readable(source: CellSource) -> bool:
    """Return whether the genotype means these cells to whoever reads it: that of a plug-in space does not."""
    try:
        return source.genotype is not None and of_text(source.genotype).design == source.design
    except UsageError:
        return False


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, and put them there once all are complete."""
    with _explain_refusal(), ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replace_whole(path)).write_bytes(content)


@contextmanager
def _explain_refusal() -> Iterator[None]:
    """Turn the refusal to write a file into one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}; name another place with -o") from error
