"""Listeners of a search: progress, weights, trackers."""
