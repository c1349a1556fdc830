"""The space of the FCNet benchmarks: its size, its order, its readable form."""

from __future__ import annotations

from genotypes.spaces.fcnet import FCNetSpace

SPACE = FCNetSpace()


def test_there_are_as_many_configurations_as_published() -> None:
    assert SPACE.size == 62_208


def test_the_decisions_stand_in_the_order_of_the_published_tables() -> None:
    names = [decision.name for decision in SPACE.decisions]
    assert names == sorted(names)
    assert SPACE.decode(SPACE.genotype([0, 1, 3, 0, 2, 5, 1, 0, 5])) == {
        "activation_fn_1": "relu",
        "activation_fn_2": "tanh",
        "batch_size": "64",
        "dropout_1": "0.0",
        "dropout_2": "0.6",
        "init_lr": "0.1",
        "lr_schedule": "const",
        "n_units_1": "16",
        "n_units_2": "512",
    }
