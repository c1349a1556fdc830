"""Listeners of a search: progress, weights, TensorBoard, other trackers."""
