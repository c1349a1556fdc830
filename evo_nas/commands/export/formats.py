"""Export formats: cells and networks as files that other programs read."""

from __future__ import annotations

import hashlib
import importlib.util
import io
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
from evo_nas.commands.count import read_size
from evo_nas.errors import DataError, UsageError
from evo_nas.phenotypes.blueprint import Blueprint, difference, load_whole, save_network
from evo_nas.phenotypes.plan import plan_network
from evo_nas.system.atomic import replace_whole, require_writable
from evo_nas.system.terminal import gigabytes
from genotypes.cell import CellPair
from genotypes.genotype import Genotype, shorten

if TYPE_CHECKING:
    from torch import Tensor

    from evo_nas.phenotypes.network import CellNetwork

OPSET: Final = 18
"""The version of ONNX's operators that a file asks for: the one that torch translates to, without a conversion."""

FORMATS: Final[dict[str, tuple[str, str]]] = {
    "json": (".json", "the genotype, or the pair of cells where there is none"),
    "cells": (".cells.json", "the pair of cells, as JSON"),
    "dot": (".dot", "both cells in DOT, for Graphviz"),
    "module": (".py", "the network as one Python file that needs torch alone"),
    "safetensors": (".safetensors", "the weights, without an auxiliary classifier"),
    "torch": (".pt2", "the network with its weights, by torch.export"),
    "onnx": (".onnx", f"the network with its weights, opset {OPSET}; needs the extra onnx"),
}
"""Name, as ``--format`` takes it -> how its file's name ends, and what is in it."""

_LARGEST_ONNX: Final = 2**31
"""Bytes that a message of protobuf holds, of which an ONNX file is one."""

_NEED_SIZE: Final = {"module", "safetensors", "torch", "onnx"}
_NEED_WEIGHTS: Final = {"safetensors", "torch", "onnx"}


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


@dataclass(frozen=True)
class Subject:
    """The object of an export: cells with their name and, if it is known, a whole network and its weights."""

    source: CellSource
    blueprint: Blueprint | None = None
    tensors: Mapping[str, Tensor] | None = None

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


def subject_of(source: CellSource | None, weights: Path | None, size: Size, formats: Sequence[str]) -> Subject:
    """Find what is exported: the network in a file of weights, or the cells of ``source`` at a size.

    Raises:
        UsageError: if the cells are not named, or named twice and different; or a size is missing or impossible.
        DataError: if the weights cannot be read, or are those of another network.
    """
    blueprint, tensors = (None, None) if weights is None else load_whole(weights)
    if blueprint is not None and weights is not None:
        _agree(blueprint, source, size, weights)
        source = CellSource(blueprint.cells, shorten(weights.stem, 255), None if source is None else source.genotype)
    if source is None:
        raise UsageError(
            "name cells: a run, a genotype or a JSON file, --cell NAME, or --weights FILE with a network of evo_nas"
        )
    if weights is None and not _NEED_SIZE & set(formats):
        return Subject(source)
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
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("auxiliary.")}
    return Subject(source, blueprint, tensors)


def _agree(blueprint: Blueprint, source: CellSource | None, size: Size, weights: Path) -> None:
    """Check that what is said beside a file of weights is what its own blueprint says."""
    if source is not None and source.cells != blueprint.cells:
        raise UsageError(f"the weights in {weights} are of other cells than {shorten(source.label)}: leave that out")
    own = {name: getattr(blueprint, name) for name in ("macro", "cells_per_stack", "filters", "stem")}
    own["stem"] = plan_network(blueprint.cells, **own).stem
    own |= {"channels": blueprint.channels, "classes": len(blueprint.classes)}
    asked = {name: getattr(size, name) for name in own}
    if size.size is not None:
        try:
            asked |= read_size(CellSource(blueprint.cells, ""), size.size, size.cells_per_stack, size.filters)
        except ValueError as error:
            raise UsageError(str(error)) from error
    for name, value in asked.items():
        if value is not None and value != own[name]:
            flag = "--cells-per-stack" if name == "cells_per_stack" else f"--{name}"
            raise UsageError(f"the weights in {weights} are of a network with {flag} {own[name]}, not {value}")


def _blueprint(source: CellSource, size: Size) -> Blueprint:
    """Make the blueprint of a network that has not been trained: its classes are numbers.

    Raises:
        UsageError: if the size is not given, or given twice.
        ValueError: if no network has it.
    """
    macro = size.macro or "cifar"
    is_large = macro == "imagenet"
    channels = size.channels or 3
    classes = size.classes or (1000 if is_large else 10)
    counts = read_size(source, size.size, size.cells_per_stack, size.filters)
    return Blueprint(
        source.cells,
        counts["cells_per_stack"],
        counts["filters"],
        classes=tuple(map(str, range(classes))),
        macro=macro,
        stem=size.stem,
        channels=channels,
        image=size.image or (224 if is_large else 32),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )


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
    for path in files.values():
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name another place with -o")
        if path.exists() and not force:
            raise UsageError(f"{path} is there already: overwrite it with --force, or name another place with -o")
    return files


def export(subject: Subject, files: Mapping[str, Path], draw: Callable[[CellPair], str], *, seed: int = 0) -> None:
    """Write each format to its file; every file is written whole or not at all, and none if a format fails.

    ``draw`` writes cells in DOT. Where weights are needed and there are none, they are random, of ``seed``.

    Raises:
        UsageError: if a package is missing, or a file cannot be written.
    """
    if "onnx" in files:
        _check_onnx()
    with _explain_refusal():
        for path in files.values():
            require_writable(path)
    network = None
    if _NEED_WEIGHTS & files.keys():
        network = _network(subject, seed)
        size = sum(tensor.nbytes for tensor in network.state_dict().values())
        if "onnx" in files and size >= _LARGEST_ONNX:
            raise UsageError(f"{gigabytes(size)} of weights do not fit into an ONNX file, which holds less than 2.1 GB")
    contents = {path: _content(name, subject, network, draw) for name, path in files.items()}
    _write(contents)


def has_random_weights(subject: Subject, formats: Sequence[str]) -> bool:
    """Return whether weights are asked for that nobody has trained."""
    return subject.tensors is None and bool(_NEED_WEIGHTS & set(formats))


def _network(subject: Subject, seed: int) -> CellNetwork:
    """Build the network, ready for prediction."""
    import torch

    assert subject.blueprint is not None, "a size was asked for"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = subject.blueprint.network()
    if subject.tensors is not None:
        network.load_state_dict(dict(subject.tensors))
    return network.eval()


def _content(name: str, subject: Subject, network: CellNetwork | None, draw: Callable[[CellPair], str]) -> bytes:
    """Make the content of one file."""
    source, blueprint = subject.source, subject.blueprint
    if name == "dot":
        return draw(source.cells).encode()
    if name in ("json", "cells"):
        record = source.cells.to_json()
        if name == "json" and _is_readable(source):
            record = Genotype.parse(source.genotype or "").to_json()
        return (json.dumps(record, indent=2) + "\n").encode()
    assert blueprint is not None, "a size was asked for"
    if name == "module":
        from evo_nas.commands.export.standalone import standalone

        return standalone(blueprint, source.genotype).encode()
    assert network is not None, "weights were asked for"
    if name == "safetensors":
        with TemporaryDirectory() as folder:
            save_network(file := Path(folder) / "network", blueprint, network.state_dict())
            return file.read_bytes()
    return _torch(network, blueprint) if name == "torch" else _onnx(network, blueprint)


def _is_readable(source: CellSource) -> bool:
    """Return whether the genotype means these cells to whoever reads it: that of a plug-in space does not."""
    try:
        return source.genotype is not None and of_text(source.genotype).cells == source.cells
    except UsageError:
        return False


def _example(blueprint: Blueprint) -> tuple[tuple[Tensor], tuple[dict[int, Any]]]:
    """Make images to trace a network with, and say that any number of them will do."""
    import torch

    images = torch.zeros(2, blueprint.channels, blueprint.image, blueprint.image)
    return (images,), ({0: torch.export.Dim("batch")},)


def _about(blueprint: Blueprint) -> dict[str, str]:
    """Return what a user of the network needs to know, each entry as JSON."""
    told = {"classes": blueprint.classes, "mean": blueprint.mean, "std": blueprint.std, "image": blueprint.image}
    return {name: json.dumps(value) for name, value in told.items()}


def _torch(network: CellNetwork, blueprint: Blueprint) -> bytes:
    import torch

    images, dynamic = _example(blueprint)
    program = torch.export.export(network, images, dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of our code, with the folders of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=_about(blueprint))
    return file.getvalue()


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"ONNX needs {' and '.join(missing)}: python -m pip install 'evo_nas[onnx]'")


def _onnx(network: CellNetwork, blueprint: Blueprint) -> bytes:
    import torch

    images, dynamic = _example(blueprint)
    with torch.no_grad():  # nobody trains it: strided 1x1 convolutions stay what they are
        program = torch.onnx.export(
            network,
            images,
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    assert program is not None, "the way by dynamo gives a program"
    program.model.metadata_props.update(_about(blueprint))
    model = program.model_proto
    graph = model.graph
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]  # how torch came to it, with the folders of this machine
    content: bytes = model.SerializeToString()
    return content


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
