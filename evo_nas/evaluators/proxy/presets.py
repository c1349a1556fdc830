"""The presets of the proxy trainer: one table of everything that decides a proxy training.

Every field can be overridden: ``--set evaluator.epochs=5``.
"""

from __future__ import annotations

from typing import Final

from evo_nas.training.recipes import Preset, Recipe

PRESETS: Final[dict[str, Preset]] = {
    "digits": Preset(
        about="seconds per candidate on one core, for demos and tests",
        image=8,
        cells_per_stack=1,
        filters=4,
        validation_images=280,
        recipe=Recipe(epochs=4, batch_size=32, learning_rate=0.1, padding=1, flip=False),
    ),
    # The small-scale experiments of Real et al. 2018, section 5, searched with N=1 and F=8 too.
    "cpu": Preset(
        about="10 to 25 seconds per candidate on one core",
        image=16,
        cells_per_stack=1,
        filters=8,
        train_images=5000,
        validation_images=2000,
        recipe=Recipe(epochs=2, batch_size=64, learning_rate=0.1, padding=2, flip=True),
    ),
    # Zoph et al. 2017: N=2, 20 epochs; Real et al. 2018: N=3, F=24, 25 epochs; 5,000 images held out in both. Their
    # batch size and initial learning rate are not stated: these are the ones of the final CIFAR-10 training.
    "gpu": Preset(
        about="the papers' search setting, for a GPU",
        image=32,
        cells_per_stack=2,
        filters=24,
        validation_images=5000,
        recipe=Recipe(epochs=20, batch_size=128, learning_rate=0.1, padding=4, flip=True),
    ),
    # Chosen by how well scores and its loss together rank cells of NAS-Bench-201: docs/measurements/truth.md.
    "blend": Preset(
        about="1 to 2 seconds per candidate on one core: the training of --evaluator blend",
        image=8,
        cells_per_stack=1,
        filters=8,
        train_images=2500,
        validation_images=1000,
        recipe=Recipe(epochs=1, batch_size=32, learning_rate=0.05, padding=0, flip=False),
    ),
}
"""Name, as ``--preset`` takes it -> settings."""
