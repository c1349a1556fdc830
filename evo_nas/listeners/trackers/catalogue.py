"""Trackers by name."""

from __future__ import annotations

from evo_nas.listeners.trackers.base import TrackedRun, Tracker


def build_tracker(name: str, run: TrackedRun) -> Tracker:
    """Return a tracker of a run; its library is imported when it is opened."""
    if name == "mlflow":
        from evo_nas.listeners.trackers.mlflow import MLflow

        return MLflow(run)
    if name == "wandb":
        from evo_nas.listeners.trackers.wandb import WeightsAndBiases

        return WeightsAndBiases(run)
    if name == "tensorboard":
        from evo_nas.listeners.trackers.tensorboard import TensorBoard

        return TensorBoard(run)
    assert name == "optuna"
    from evo_nas.listeners.trackers.optuna import OptunaStorage

    return OptunaStorage(run)
