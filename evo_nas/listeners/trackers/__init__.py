"""Trackers of runs by other people's programs: MLflow, Weights & Biases, an Optuna storage."""
