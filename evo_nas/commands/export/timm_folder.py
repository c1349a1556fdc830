"""A classifier as a folder that timm loads: a package with the network's Python file, which registers it, and weights.

timm takes ``local-dir:FOLDER`` from ``config.json`` and ``model.safetensors`` in it, and looks the architecture up
among those that are registered; so the package is imported first.
"""

from __future__ import annotations

import json
from typing import Any, Final

from torch import nn

from evo_nas.commands.export.modules import BUILDERS, write_python
from evo_nas.commands.export.standalone import spell
from evo_nas.data.stream import CENTRE, MEAN, STD
from evo_nas.errors import UsageError
from evo_nas.phenotypes.blueprint import Blueprint, DetectorBlueprint

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
CARD: Final = "README.md"
"""Names that timm and the hub of Hugging Face look for."""

_PACKAGE: Final = '''\
"""Registers the network {name} with timm, which then loads this folder:

    import {name}
    network = timm.create_model("local-dir:PATH/{name}", pretrained=True)

Written by `python -m evo_nas export`; network.py is what --format module writes.
"""

import json
from pathlib import Path

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from .network import CLASSES, {builder}

_CHANNELS = {channels}
_CLASSIFIER = {classifier}

_HERE = Path(__file__).parent
_CONFIG = json.loads((_HERE / "{config}").read_text("utf-8"))["pretrained_cfg"]

default_cfgs = generate_default_cfgs({{"{name}": {{**_CONFIG, "file": str(_HERE / "{weights}")}}}})


def _build(num_classes=len(CLASSES), in_chans=_CHANNELS):
    """Build the network with random weights; other classes get a new last layer, 0 none."""
    if in_chans != _CHANNELS:
        raise ValueError(f"{name} takes images of {{_CHANNELS}} channels, not {{in_chans}}")
    network = {builder}()
    if num_classes != len(CLASSES):
        if _CLASSIFIER is None:
            raise ValueError(f"{name} has {{len(CLASSES)}} classes, and no last layer that could have others")
        path, _, last = _CLASSIFIER.rpartition(".")
        old = network.get_submodule(_CLASSIFIER)
        new = nn.Linear(old.in_features, num_classes, old.bias is not None) if num_classes else nn.Identity()
        setattr(network.get_submodule(path), last, new)
    network.num_classes = num_classes
    return network


@register_model
def {name}(pretrained=False, **options):
    """Build the network, with its trained weights if ``pretrained``."""
    return build_model_with_cfg(_build, "{name}", pretrained, **options)
'''

_USAGE: Final = """\
import sys

import timm

sys.path.insert(0, "PATH")  # the folder in which {name} lies
import {name}  # registers the network

network = timm.create_model("local-dir:PATH/{name}", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
"""


def write_folder(blueprint: Blueprint, name: str, weights: bytes, genotype: str | None = None) -> dict[str, bytes]:
    """Return the files of a folder by name, but for its card.

    ``name`` is that of the folder, the package and the architecture, ``weights`` the content of a safetensors file.

    Raises:
        UsageError: if the network is a detector, or no file of Python can hold it.
    """
    if isinstance(blueprint, DetectorBlueprint):
        raise UsageError("timm is for classifiers: write the detector as module, torch or onnx")
    classifier = _find_classifier(blueprint.ghost(), len(blueprint.classes))
    package = _PACKAGE.format(
        name=name,
        builder=BUILDERS[type(blueprint)],
        channels=blueprint.channels,
        classifier=spell(classifier),
        config=CONFIG,
        weights=WEIGHTS,
    )
    return {
        "__init__.py": package.encode(),
        "network.py": write_python(blueprint, genotype).encode(),
        CONFIG: (json.dumps(_configure(blueprint, name, classifier), indent=2) + "\n").encode(),
        WEIGHTS: weights,
    }


def spell_usage(name: str) -> str:
    """Return the Python code that loads such a folder."""
    return _USAGE.format(name=name)


def _configure(blueprint: Blueprint, name: str, classifier: str | None) -> dict[str, Any]:
    """Return the content of ``config.json``, with the preparation of images as the training's evaluation had it."""
    is_cut = (blueprint.mean, blueprint.std) == (MEAN, STD)  # as evo_nas.training.prediction knows streamed images
    shape = [blueprint.channels, blueprint.image, blueprint.image]
    return {
        "architecture": name,
        "num_classes": len(blueprint.classes),
        "label_names": list(blueprint.classes),
        "pretrained_cfg": {
            "architecture": name,
            "num_classes": len(blueprint.classes),
            "input_size": shape,
            "fixed_input_size": False,
            "interpolation": "bilinear" if is_cut else "box",
            "crop_pct": CENTRE if is_cut else 1.0,
            "crop_mode": "center" if is_cut else "squash",
            "mean": list(blueprint.mean),
            "std": list(blueprint.std),
            "first_conv": None,
            "classifier": classifier,
        },
    }


def _find_classifier(network: nn.Module, classes: int) -> str | None:
    """Return the name of the last linear layer that puts out so many classes; ``None`` if there is none."""
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    return found[-1] if found else None
